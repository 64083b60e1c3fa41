"""An epidemic in parts is that of the whole population, infection by infection; its gradient to rounding."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from sim import epidemic
from sim.parts import PartRun, split
from tests.sim.worlds import small_population, some_rates


def ranges(households, parts):
    edges = [households * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def added(parts, vectors, shared):
    """Sums over parts of what they give by venue, then by everything that all share: the caller's work, in the open."""
    size = 1 + max(int(part.venues.max()) for part in parts)
    P, rest = len(vectors[0]), vectors[0][:, len(parts[0].venues) :].shape[1]
    venues, others = np.zeros((P, size), vectors[0].dtype), np.zeros((P, rest), vectors[0].dtype)
    for part, x in zip(parts, vectors, strict=True):
        venues[:, part.venues] += x[:, : len(part.venues)]
        others += x[:, len(part.venues) :]
    return [np.concatenate([venues[:, part.venues], others], 1) for part in parts]


def forward(parts, rates, seed, streams):
    runs = [PartRun(part, rates, seed, streams) for part in parts]
    for t in range(rates.days):
        totals = added(parts, [r.pressures(t) for r in runs], None)
        caught = sum(r.infect(t, total) for r, total in zip(runs, totals, strict=True))
        for r in runs:
            r.remember(t, caught)
    return runs


def world(reinfected):
    population = small_population(households=400, regions=2, seed=3)
    rates = some_rates(population, particles=2, days=30, level=1.6)
    if reinfected:
        days = rates.infectious_days
        wane = torch.cat([torch.zeros(days), torch.linspace(0.2, 0.9, 9)]).expand(2, rates.infectiousness.shape[1], -1)
        waning = torch.linspace(1.0, 1.3, 3).expand(2, rates.infectiousness.shape[1], -1)
        rates = replace(rates, reinfection=wane.contiguous(), waning=waning.contiguous())
    return population, rates


@pytest.mark.parametrize("reinfected", [False, True])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_infections_are_those_of_the_whole(number, reinfected):
    population, rates = world(reinfected)
    streams = torch.tensor([4, 9])
    parts = split(population, ranges(population.households, number))
    runs = forward(parts, rates, 7, streams)
    wanted = epidemic(population, rates, 7, streams=streams, backend="compiled").numpy()
    assert wanted.sum() > 500
    for run in runs:
        assert np.array_equal(run.incidence, wanted.astype(np.float64))


@pytest.mark.parametrize("reinfected", [False, True])
@pytest.mark.parametrize("number", [1, 3])
def test_the_gradient_is_that_of_the_whole(number, reinfected):
    population, rates = world(reinfected)
    rates = rates.map(lambda x: x.double().requires_grad_())
    streams = torch.arange(2)
    found = epidemic(population, rates, 7, streams=streams, backend="compiled", estimator="local-score")
    cotangent = torch.randn(found.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.autograd.grad((found * cotangent).sum(), rates.tensors(), allow_unused=True)
    free = rates.map(torch.Tensor.detach)
    parts = split(population, ranges(population.households, number))
    runs = forward(parts, free, 7, streams)
    for run in runs:
        run.begin_reverse(cotangent)
    for t in range(rates.days - 1, -1, -1):
        totals = added(parts, [r.hazards(t) for r in runs], None)
        centre = sum(r.carry(t, total) for r, total in zip(runs, totals, strict=True))
        for r in runs:
            r.recentre(centre)
    total = sum(r.own_gradient() for r in runs)
    for run in runs:
        for x, y in zip(run.gradient(total).tensors(), wanted, strict=True):
            assert torch.allclose(x, torch.zeros_like(x) if y is None else y, rtol=1e-8, atol=1e-8)


def test_parts_must_cover_all_households():
    population, _ = world(False)
    with pytest.raises(ValueError, match="expected ranges one after the other"):
        split(population, [slice(0, 10), slice(11, population.households)])
