"""How fast the epidemic and its gradients run: `python -m experiments.benchmark_simulator`."""
