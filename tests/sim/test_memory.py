"""Peak memory of a forward and a backward pass must not grow with the number of days."""

import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import torch
import sim
from tests.sim.worlds import small_population, some_rates
torch.set_default_dtype(torch.float64)
backend, estimator = sys.argv[1:]
population = small_population(households=30_000, regions=4, ages=3, archetypes=4, school=60, work=15)
print(population.agents)
for days in (10, 120):  # the peak so far: the shorter run first
    rates = some_rates(population, particles=1, days=days).map(lambda x: x.requires_grad_())
    sim.epidemic(population, rates, 1, backend=backend, estimator=estimator).square().sum().backward()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.parametrize(
    ("backend", "estimator"),
    [
        pytest.param("reference", "local-score", marks=pytest.mark.slow),
        ("compiled", "local-score"),
        ("compiled", "removals"),
    ],
)
def test_memory_is_flat_in_days(backend, estimator):
    done = subprocess.run([sys.executable, "-c", PROBE, backend, estimator], capture_output=True, text=True, check=True)
    agents, short, long = (float(x) for x in done.stdout.split())
    # a tape keeps at least one number for each agent and day: 8 bytes x 90,000 agents x 110 days is 75 MiB
    assert long - short < 0.4 * 8 * agents * 110 / 2**20
