"""Posteriors that are known: five tasks of sbibm, C2ST against budget."""
