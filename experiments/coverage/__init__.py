"""Coverage of the whole calibration over many synthetic epidemics (docs/diagnostics.md)."""
