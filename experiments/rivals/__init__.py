"""Former name of `experiments.method_comparison`."""
