"""What the answers of a calibrated study hang on: `python -m experiments.sensitivity --from results/nz_calibration`."""
