"""Calibration on data that may not be pooled, shown on a study: sites, private releases, parties and phones."""
