"""Calibration of a study: simulators, likelihood, emulator, chains."""
