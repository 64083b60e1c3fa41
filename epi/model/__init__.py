"""From parameters to rates, and from infections to expected observations."""
