"""Studies: data, a model, a command line."""
