"""How fast the epidemic and its gradients run: `python -m experiments.benchmark_simulator`."""

from experiments.benchmark_simulator._world import make_population as make_population
from experiments.benchmark_simulator._world import make_rates as make_rates
