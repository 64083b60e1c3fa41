"""What the within-host model costs beside an epidemic."""
