"""Gradients against the truth: enumeration where that is possible, differences with common random numbers elsewhere."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import sim
from sim import HOUSEHOLD, Population, Rates
from tests.sim.worlds import small_population, some_rates

DAYS, INFECTIOUS_DAYS = 4, 2


def chain_binomial(size: int, households: int) -> Population:
    n = size * households
    return Population(
        household_start=np.arange(0, n + 1, size),
        group=np.zeros(n, dtype=np.int16),
        archetype=(np.arange(n) % size % 2).astype(np.int16),
        venues=np.full((0, n), -1, dtype=np.int32),
        venue_weight=(),
        household_weight=np.full(households, 0.7),
        region_of_group=np.zeros(1, dtype=np.int16),
        people_per_agent=np.ones(1),
    )


def chain_rates(theta: torch.Tensor, particles: int) -> Rates:
    """theta: household rate, outside pressure, susceptibility of archetype 1, infectiousness on the second day."""
    one = torch.ones(particles)
    infectiousness = torch.stack([torch.tensor(0.5), theta[3]]).expand(2, 2)
    return Rates(
        infectiousness=infectiousness.expand(particles, 2, 2),
        susceptibility=torch.stack([torch.tensor(1.0), theta[2]]).expand(particles, 2),
        transmission=torch.stack([theta[0], torch.tensor(0.0)])[:, None].expand(2, DAYS).expand(particles, 2, DAYS),
        mixing=torch.zeros(particles, 1, 1),
        importation=theta[1].expand(particles, DAYS, 1),
        aversion=0 * one,
        forgetting=0 * one,
    )


def enumerated_incidence(size: int, theta: torch.Tensor) -> torch.Tensor:
    """Expected infections by day in one household: the sum over every outcome of its probability. `[DAYS]`."""
    rates = chain_rates(theta, 1)
    rho, sigma = rates.infectiousness[0], rates.susceptibility[0]
    expected = torch.zeros(DAYS)
    for outcome in itertools.product(range(DAYS + 1), repeat=size):  # day of infection of each member; DAYS = never
        log_p = torch.tensor(0.0)
        for t in range(DAYS):
            pressure = sum(
                (rho[j % 2, t - 1 - d] for j, d in enumerate(outcome) if 0 <= t - 1 - d < INFECTIOUS_DAYS),
                torch.tensor(0.0),
            )
            hazard = theta[0] * 0.7 * pressure + theta[1]
            for i, d in enumerate(outcome):
                if d == t:
                    log_p = log_p + torch.log(-torch.expm1(-sigma[i % 2] * hazard))
                elif d > t:
                    log_p = log_p - sigma[i % 2] * hazard
        days = torch.tensor([float(sum(d == t for d in outcome)) for t in range(DAYS)])
        expected = expected + torch.exp(log_p) * days
    return expected


@pytest.mark.parametrize("estimator", ["removals", "local-score"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_households_against_enumeration(size, estimator):
    theta = torch.tensor([0.9, 0.15, 1.4, 0.8], requires_grad=True)
    weights = torch.tensor([1.0, 0.5, -0.3, 2.0])
    exact = enumerated_incidence(size, theta) @ weights
    (truth,) = torch.autograd.grad(exact, theta)

    particles, households = 200, 200
    population = chain_binomial(size, households)
    per_run = theta.detach().expand(particles, 4).clone().requires_grad_()
    rates = [chain_rates(row, 1) for row in per_run]
    batch = Rates(*(torch.cat(x) for x in zip(*(r.tensors() for r in rates), strict=True)))
    incidence = sim.epidemic(population, batch, seed=11, backend="compiled", estimator=estimator)
    value = (incidence[..., 0] @ weights) / households
    (gradient,) = torch.autograd.grad(value.sum(), per_run)

    assert abs(value.mean() - exact) < 4 * value.std() / particles**0.5
    standard_error = gradient.std(0) / particles**0.5
    # the mean that the local score subtracts costs it a bias of order 1 / households
    bias = truth.abs() / households if estimator == "local-score" else 0.0
    assert ((gradient.mean(0) - truth).abs() < 4 * standard_error + bias).all()


def total(population, rates, name, factor):
    return sim.epidemic(population, scaled(rates, name, factor), 5).sum((1, 2))


def scaled(rates, name, factor):
    if name.startswith("transmission"):
        transmission = rates.transmission.clone()
        transmission[:, int(name[-1])] *= factor
        return replace(rates, transmission=transmission)
    return replace(rates, **{name: getattr(rates, name) * factor})


def in_log(rates, gradient, name):
    """Derivative in the log of a factor on a rate, `[P]`, from the gradient in all its entries."""
    field = name.rstrip("0123456789")
    product = getattr(rates, field) * getattr(gradient, field)
    return (product[:, int(name[-1])] if field == "transmission" else product).reshape(rates.particles, -1).sum(1)


PARAMETERS = [f"transmission{HOUSEHOLD}", "transmission1", "transmission2", "transmission3", "susceptibility",
              "infectiousness", "importation", "mixing", "aversion", "forgetting"]  # fmt: skip


@pytest.fixture(scope="module")
def districts():
    """Two districts of 2,300 people, 150 runs, and their gradients."""
    torch.set_default_dtype(torch.float64)
    population = small_population(households=1500, seed=4, school=25, work=15)
    rates = some_rates(population, particles=1, days=25, level=0.9)
    rates = replace(rates, aversion=rates.aversion * 2).map(lambda x: x.expand(150, *x.shape[1:]).contiguous())
    leaves = rates.map(lambda x: x.clone().requires_grad_())
    sim.epidemic(population, leaves, 5).sum().backward()
    return population, rates, leaves.map(lambda x: torch.zeros_like(x) if x.grad is None else x.grad)


@pytest.mark.parametrize("name", PARAMETERS)
def test_against_finite_differences_with_common_random_numbers(districts, name):
    population, rates, gradient = districts
    step = 0.08
    up, down = (total(population, rates, name, float(np.exp(s))) for s in (step, -step))
    difference, found = (up - down) / (2 * step), in_log(rates, gradient, name)
    error = float((found - difference).std() / rates.particles**0.5)  # they share their random numbers
    # the difference's own error is of order step^2
    assert abs(float((found - difference).mean())) < 3.5 * error + 0.005 * abs(float(difference.mean()))
