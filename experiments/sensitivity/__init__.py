"""What the answers of a calibrated study depend on: `python -m experiments.sensitivity --from results/nz_calibration`."""
