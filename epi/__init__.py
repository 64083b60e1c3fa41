"""What every epidemic calibration shares: study, data, population, model, inference, outputs, reporting, scenarios, sensitivity."""
