"""Studies: figures, a model, a command line."""
