"""Sensitivity of a calibrated study's outputs: local, all rates, global."""
