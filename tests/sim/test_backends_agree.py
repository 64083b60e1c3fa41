"""One distribution, whatever computes it: threads change no bit, and backends that draw with different random numbers agree within 1 %."""

from dataclasses import replace

import pytest
import torch

import sim
from sim._columns import columns
from tests.sim.interpreter import interpreted
from tests.sim.test_triton import PRELUDE
from tests.sim.worlds import by_threads, small_population, some_rates


@pytest.mark.parametrize("particles", [1, 2, 3])
def test_threads_change_no_bit(particles):
    population = small_population(households=2_000)  # more agents than the kernels take at a time
    rates, c = some_rates(population, particles, days=15), columns(population, torch.device("cpu"))
    runs, bars = by_threads(c, rates)
    assert runs[0].incidence.sum() > 100
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))
    for x, y in zip(*(b.tensors() for b in bars), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize(("particles", "enough"), [(120, 0.005), pytest.param(800, 0.0025, marks=pytest.mark.slow)])
def test_backends_agree_in_distribution(particles, enough):
    """Unlike seeds, so that the draws have nothing in common; in the longer test a difference of 1 % would show."""
    population = small_population(households=600)
    one = some_rates(population, particles=1, days=16, level=1.5)
    one = replace(one, importation=4 * one.importation)
    rates = one.map(lambda x: x.expand(particles, *x.shape[1:]))
    a, b = (sim.epidemic(population, rates, i, backend=x).sum((1, 2)) for i, x in enumerate(["compiled", "reference"]))
    error = ((a.var() + b.var()) / particles).sqrt() / a.mean()
    assert error < enough, error
    assert (a.mean() / b.mean() - 1).abs() < 3.5 * error


@pytest.mark.slow
def test_the_gpu_kernels_have_the_same_distribution():
    """With the same seeds the noise cancels: only draws within 1e-7 of their probability may fall otherwise."""
    interpreted(
        PRELUDE
        + """
population = small_population(120, ages=1, archetypes=2, school=40, work=40)
one = some_rates(population, particles=1, days=8, infectious_days=3, level=2.0)
rates = one.map(lambda x: x.expand(20, *x.shape[1:]).contiguous())
a, b = (sim.epidemic(population, rates, 1, backend=x).sum((1, 2)) for x in ("triton", "reference"))
assert b.std() > 1 and b.sum() > 1000
assert (a.sum() / b.sum() - 1).abs() < 1e-3 and (a - b).abs().max() <= 1
"""
    )
