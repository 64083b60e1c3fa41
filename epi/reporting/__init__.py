"""Plots, verdicts, sentences and the report page of a run, from its files alone."""
