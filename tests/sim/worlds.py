"""Small populations and rates for the tests of the epidemic."""

import numba
import numpy as np
import pytest
import torch

from sim import Population, Rates, _compiled


def small_population(
    households=300, seed=0, regions=2, ages=3, archetypes=4, school=12, work=8, size=None
) -> Population:
    rng = np.random.default_rng(seed)
    sizes = np.full(households, size) if size else rng.integers(1, 6, households)
    start = np.concatenate([[0], np.cumsum(sizes)])
    n = start[-1]
    region = np.repeat(np.sort(rng.integers(0, regions, households)), sizes)
    region[: sizes[0]], region[-sizes[-1] :] = 0, regions - 1
    group = (region * ages + rng.integers(0, ages, n)).astype(np.int16)
    venues = np.full((2, n), -1, dtype=np.int32)
    counts = []
    for layer, (share, mean) in enumerate([(0.4, school), (0.5, work)]):
        offset = 0
        for r in range(regions):
            members = np.flatnonzero((region == r) & (rng.random(n) < share))
            number = max(1, len(members) // mean)
            venues[layer, members] = offset + rng.integers(0, number, len(members))
            offset += number
        counts.append(offset)
    weights = []
    for layer in range(2):
        in_group = np.bincount(venues[layer][venues[layer] >= 0], minlength=counts[layer])
        weights.append(1.0 / np.maximum(in_group - 1, 1))
    return Population(
        household_start=start.astype(np.int64),
        group=group,
        archetype=rng.integers(0, archetypes, n).astype(np.int16),
        venues=venues,
        venue_weight=tuple(weights),
        household_weight=1.0 / np.maximum(sizes - 1, 1) ** 0.8,
        region_of_group=np.repeat(np.arange(regions), ages).astype(np.int16),
        people_per_agent=np.ones(regions),
        venue_names=("school", "work"),
    )


def some_rates(population, particles=2, days=20, infectious_days=6, seed=0, level=1.0) -> Rates:
    g = torch.Generator().manual_seed(seed)
    groups, archetypes = population.groups, population.archetypes

    def around(center, *shape):
        return center * (0.7 + 0.6 * torch.rand(*shape, generator=g))

    importation = around(0.01, particles, days, groups)
    importation[:, 5:] = 0.001
    return Rates(
        infectiousness=around(1.0 / infectious_days, particles, archetypes, infectious_days),
        susceptibility=around(1.0, particles, archetypes),
        transmission=level * around(1.0, particles, 4, days) * torch.tensor([1.0, 0.5, 0.4, 0.4])[:, None],
        mixing=around(1.0 / groups, particles, groups, groups),
        importation=importation,
        aversion=around(0.1, particles),
        forgetting=around(0.1, particles),
    )


def random_tangents(rates, directions, seed=1) -> Rates:
    g = torch.Generator().manual_seed(seed)
    return rates.map(lambda x: x[..., None] * torch.randn(*x.shape, directions, generator=g))


def by_threads(columns, rates):
    """Runs and reverse gradients of the compiled kernels by one thread and by two."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread is all there is")
    before, runs, bars = numba.get_num_threads(), [], []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            runs.append(_compiled.run(columns, rates, 3, torch.arange(rates.particles)))
            bars.append(_compiled.vjp(columns, rates, runs[-1], torch.ones_like(runs[-1].incidence)))
    finally:
        numba.set_num_threads(before)
    return runs, bars
