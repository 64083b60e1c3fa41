"""Infection again as immunity wanes: the same epidemic in every backend, and a gradient that is right."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import sim
from sim import Population, Rates, _compiled, _reference
from sim._columns import columns
from tests.sim.worlds import random_tangents, small_population, some_rates

CPU = torch.device("cpu")


def waning_rates(population, particles=2, days=30, infectious_days=3) -> Rates:
    """Immune while infectious and three days longer, half susceptible from then on, wholly from day 10."""
    rates = some_rates(population, particles, days, infectious_days, level=1.3)
    after = torch.tensor([0.0] * (infectious_days + 3) + [0.5] * 3 + [1.1])
    jitter = 1 + 0.1 * torch.arange(particles * population.archetypes).reshape(particles, population.archetypes, 1)
    return replace(rates, reinfection=after * jitter)


@pytest.fixture(scope="module")
def world():
    torch.set_default_dtype(torch.float64)
    population = small_population(households=150)
    rates = waning_rates(population)
    c = columns(population, CPU)
    return population, rates, c, _reference.run(c, rates, 3, torch.arange(2))


def test_backends_draw_the_same_reinfections(world):
    population, rates, c, past = world
    ours = _compiled.run(c, rates, 3, torch.arange(2))
    for x, y in zip(ours, past, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
    assert len(past.reinfections) > 0.3 * population.agents
    first = _reference.first_infection(past)
    assert past.incidence.sum() == (first != _reference.NEVER).sum() + len(past.reinfections)
    assert (past.reinfections[:, 2] - past.reinfections[:, 3] > 6).all()


def test_nobody_reinfected_is_infected_once(world):
    population, rates, *_ = world
    never = replace(rates, reinfection=torch.zeros(2, population.archetypes, 5))
    once = replace(rates, reinfection=None)
    assert torch.equal(sim.epidemic(population, never, 3), sim.epidemic(population, once, 3))


def test_transposes_and_agreement(world):
    _, rates, c, past = world
    cotangent = torch.randn(past.incidence.shape, generator=torch.Generator().manual_seed(1))
    tangents = random_tangents(rates, 3)
    # the first days are zero by construction: no direction leads out of it
    tangents.reinfection[:, :, : rates.infectious_days] = 0
    bars, forwards = [], []
    for kernels in (_reference, _compiled):
        forwards.append(kernels.jvp(c, rates, tangents, past))
        bars.append(kernels.vjp(c, rates, past, cotangent))
        pairs = zip(bars[-1].tensors(), tangents.tensors(), strict=True)
        reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
        forward = torch.einsum("ptg,ptgq->q", cotangent, forwards[-1])
        torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(forwards[1], forwards[0], rtol=1e-9, atol=1e-8)
    for x, y in zip(bars[1].tensors(), bars[0].tensors(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9 * max(y.abs().flatten().tolist(), default=0))
    assert (bars[0].reinfection[:, :, rates.infectious_days + 3 :] != 0).all()


DAYS = 4


def household_rates(theta: torch.Tensor, particles: int) -> Rates:
    """theta: household rate, outside pressure, relative susceptibility two days after infection, and from three days on."""
    one = torch.ones(particles)
    return Rates(
        infectiousness=torch.full((particles, 1, 1), 0.8),
        susceptibility=one[:, None],
        transmission=torch.stack([theta[0], torch.tensor(0.0)])[:, None].expand(particles, 2, DAYS),
        mixing=torch.zeros(particles, 1, 1),
        importation=theta[1].expand(particles, DAYS, 1),
        aversion=0 * one,
        forgetting=0 * one,
        reinfection=torch.cat([torch.zeros(1), theta[2:]]).expand(particles, 1, 3),
    )


def enumerated(size: int, theta: torch.Tensor) -> torch.Tensor:
    """Expected infections by day `[DAYS]`: the sum over everything that can happen in one household."""

    def after(t: int, last: tuple[int | None, ...], p: torch.Tensor) -> torch.Tensor:
        if t == DAYS:
            return torch.zeros(DAYS)
        hazard = theta[0] * 0.8 * sum(x == t - 1 for x in last) + theta[1]
        relative = [1.0 if x is None else [0.0, theta[2], theta[3]][min(t - 1 - x, 2)] for x in last]
        total = torch.zeros(DAYS)
        for outcome in itertools.product((False, True), repeat=size):
            if any(n and x is not None and x == t - 1 for n, x in zip(outcome, last, strict=True)):
                continue
            chance = p
            for n, r in zip(outcome, relative, strict=True):
                chance = chance * (-torch.expm1(-r * hazard) if n else torch.exp(-r * hazard))
            now = tuple(t if n else x for n, x in zip(outcome, last, strict=True))
            total = total + sum(outcome) * chance * torch.eye(DAYS)[t] + after(t + 1, now, chance)
        return total

    return after(0, (None,) * size, torch.tensor(1.0))


@pytest.mark.parametrize("size", [2, 3])
def test_households_against_enumeration(size):
    theta = torch.tensor([0.9, 0.3, 0.4, 0.8], requires_grad=True)
    weights = torch.tensor([1.0, 0.5, -0.3, 2.0])
    exact = enumerated(size, theta) @ weights
    (truth,) = torch.autograd.grad(exact, theta)

    particles, households = 100, 300
    n = size * households
    population = Population(
        household_start=np.arange(0, n + 1, size),
        group=np.zeros(n, dtype=np.int16),
        archetype=np.zeros(n, dtype=np.int16),
        venues=np.full((0, n), -1, dtype=np.int32),
        venue_weight=(),
        household_weight=np.ones(households),
        region_of_group=np.zeros(1, dtype=np.int16),
        people_per_agent=np.ones(1),
    )
    per_run = theta.detach().expand(particles, 4).clone().requires_grad_()
    rates = [household_rates(row, 1) for row in per_run]
    batch = Rates(*(torch.cat(x) for x in zip(*(r.tensors() for r in rates), strict=True)))
    value = (sim.epidemic(population, batch, seed=5)[..., 0] @ weights) / households
    (gradient,) = torch.autograd.grad(value.sum(), per_run)
    assert abs(value.mean() - exact) < 4 * value.std() / particles**0.5
    # the subtracted mean costs a bias of order 1 / households
    assert ((gradient.mean(0) - truth).abs() < 4 * gradient.std(0) / particles**0.5 + truth.abs() / households).all()


def test_against_finite_differences_with_common_random_numbers():
    population = small_population(households=1200, seed=4, school=25, work=15)
    particles = 48
    one = waning_rates(population, particles=1, days=30)
    one = replace(one, reinfection=one.reinfection / 2)  # all removals know values up to 1
    rates = one.map(lambda x: x.expand(particles, *x.shape[1:]).contiguous())
    log_factor = torch.zeros(particles, requires_grad=True)
    varied = replace(rates, reinfection=rates.reinfection * torch.exp(log_factor)[:, None, None])
    (gradient,) = torch.autograd.grad(sim.epidemic(population, varied, 5).sum(), log_factor)
    up, down = (
        sim.epidemic(population, replace(rates, reinfection=rates.reinfection * np.exp(s)), 5).sum((1, 2))
        for s in (0.1, -0.1)
    )
    difference = (up - down) / 0.2
    error = float(((gradient.var() + difference.var()) / particles).sqrt())
    assert abs(float(gradient.mean() - difference.mean())) < 3.5 * error + 0.05 * float(difference.mean().abs())


@pytest.mark.parametrize("early", [torch.full((2, 4, 9), 0.5), torch.zeros(2, 4, 2)])
def test_reinfection_of_the_infectious_is_refused(world, early):
    population, rates, *_ = world
    with pytest.raises(ValueError, match="while an agent is infectious"):
        sim.epidemic(population, replace(rates, reinfection=early), 3)
    with pytest.raises(ValueError, match="straight-through"):
        sim.epidemic(population, rates, 3, estimator="straight-through")
