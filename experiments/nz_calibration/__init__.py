"""New Zealand's first Omicron wave, calibrated by district and age."""
