"""Susceptibility that changes from period to period: every backend the same, and a gradient that is right."""

import itertools
from dataclasses import replace

import pytest
import torch

import sim
from sim import PERIOD, Rates, _batches, _compiled, _reference
from sim._columns import columns
from tests.sim.test_bad_input import Cramped
from tests.sim.test_exactness import chain_binomial
from tests.sim.test_reinfection import waning_rates
from tests.sim.worlds import by_threads, random_tangents, small_population, some_rates

CPU = torch.device("cpu")


def with_waning(rates: Rates, seed: int = 5) -> Rates:
    """Immunity that wanes, faster in some archetypes; one is immune in the first period."""
    periods = -(-rates.days // PERIOD)
    jitter = torch.rand(
        rates.particles, rates.susceptibility.shape[1], periods, generator=torch.Generator().manual_seed(seed)
    )
    waning = 0.4 + 0.4 * torch.arange(periods) + 0.3 * jitter
    waning[:, -1, 0] = 0
    return replace(rates, waning=waning)


@pytest.fixture(scope="module", params=["once", "again"])
def world(request):
    torch.set_default_dtype(torch.float64)
    population = small_population(households=150)
    plain = some_rates(population, days=33) if request.param == "once" else waning_rates(population, days=33)
    plain = replace(plain, importation=plain.importation + 0.005)
    rates, c = with_waning(plain), columns(population, CPU)
    past = _reference.run(c, rates, 3, torch.arange(2))
    assert past.incidence[:, PERIOD - 2 : PERIOD + 2].sum() > 20  # households are open where a period begins
    return population, rates, c, past


def close(ours: Rates, theirs: Rates) -> None:
    for x, y in zip(ours.tensors(), theirs.tensors(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9 * max(y.abs().flatten().tolist(), default=0))


def test_backends_draw_the_same_epidemic(world):
    population, rates, c, past = world
    ours = _compiled.run(c, rates, 3, torch.arange(2))
    for x, y in zip(ours, past, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
    assert not torch.equal(past.incidence, _reference.run(c, replace(rates, waning=None), 3, torch.arange(2)).incidence)
    immune = torch.as_tensor(population.archetype == population.archetypes - 1)
    assert (_reference.first_infection(past)[:, immune] >= PERIOD).all()


def test_transposes_and_agreement(world):
    _, rates, c, past = world
    cotangent = torch.randn(past.incidence.shape, generator=torch.Generator().manual_seed(1))
    tangents, bars, forwards = random_tangents(rates, 3), [], []
    for kernels in (_reference, _compiled):
        forwards.append(kernels.jvp(c, rates, tangents, past))
        bars.append(kernels.vjp(c, rates, past, cotangent))
        pairs = zip(bars[-1].tensors(), tangents.tensors(), strict=True)
        reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
        torch.testing.assert_close(torch.einsum("ptg,ptgq->q", cotangent, forwards[-1]), reverse, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(forwards[1], forwards[0], rtol=1e-9, atol=1e-8)
    close(bars[1], bars[0])
    assert bars[0].waning.shape == rates.waning.shape
    assert (bars[0].waning != 0).all()


@pytest.mark.parametrize("particles", [1, 2])
def test_threads_change_no_bit(particles):
    population = small_population(households=2_000)  # more agents than the kernels take at a time
    rates, c = with_waning(waning_rates(population, particles, days=17)), columns(population, CPU)
    runs, bars = by_threads(c, rates)
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))
    for x, y in zip(*(b.tensors() for b in bars), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-8)


def test_batches_and_finite_differences_know_it(world):
    population, rates, c, past = world
    cotangent = torch.ones_like(past.incidence)
    with pytest.warns(RuntimeWarning, match="batches of"):
        bar = _batches.vjp(Cramped(1, MemoryError()), c, rates, past, cotangent)
    close(bar, _compiled.vjp(c, rates, past, cotangent))
    leaf = rates.waning.clone().requires_grad_()
    total = sim.epidemic(population, replace(rates, waning=leaf), 3, estimator="finite-difference").sum()
    (gradient,) = torch.autograd.grad(total, leaf)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_constant_waning_of_one_is_none(world):
    population, rates, *_ = world
    rates, found = replace(rates, reinfection=rates.reinfection.clamp(max=1.0)), []
    for waning in (None, torch.ones_like(rates.waning)):
        leaves = replace(rates, waning=waning).map(lambda x: x.clone().requires_grad_())
        x = sim.epidemic(population, leaves, 3)
        x.square().sum().backward()
        tangents = random_tangents(leaves, 2).map(lambda x: x.detach())
        tangents.waning.zero_()
        found.append((x.detach(), leaves, sim.jacobian(population, leaves.map(lambda x: x.detach()), tangents, 3)[1]))
    (x, plain, forward), (y, waned, forward_waned) = found
    assert torch.equal(x, y)
    torch.testing.assert_close(forward_waned, forward, rtol=1e-9, atol=1e-8)
    sigmaG, waningG = waned.susceptibility.grad, waned.waning.grad
    torch.testing.assert_close(sigmaG, plain.susceptibility.grad, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(waningG.sum(2), sigmaG * waned.susceptibility, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(waned.transmission.grad, plain.transmission.grad, rtol=1e-9, atol=1e-8)


def test_a_taped_estimator_draws_the_same_epidemic(world):
    population, rates, *_ = world
    once = replace(rates, reinfection=None)
    taped = sim.epidemic(population, once, 3, estimator="straight-through")
    torch.testing.assert_close(taped, sim.epidemic(population, once, 3))


DAYS = PERIOD + 3


def household_rates(theta: torch.Tensor) -> Rates:
    """theta: household rate, outside pressure, susceptibility, and its waning in two periods; two days infectious."""
    one = torch.ones(1)
    return Rates(
        infectiousness=torch.tensor([[[0.5, 0.8]]]).expand(1, 2, 2),
        susceptibility=torch.stack([torch.tensor(1.0), theta[2]])[None],
        transmission=torch.stack([theta[0], torch.tensor(0.0)])[:, None].expand(1, 2, DAYS),
        mixing=torch.zeros(1, 1, 1),
        importation=theta[1].expand(1, DAYS, 1),
        aversion=0 * one,
        forgetting=0 * one,
        waning=torch.stack([torch.stack([theta[3], theta[4]]), torch.stack([torch.tensor(0.8), theta[4] ** 2])])[None],
    )


def enumerated(theta: torch.Tensor) -> torch.Tensor:
    """Expected infections by day `[DAYS]` in a household of two: the sum over every outcome."""
    rates = household_rates(theta)
    sigma, total = rates.susceptibility[0, :, None] * rates.waning[0], torch.zeros(DAYS)
    for outcome in itertools.product(range(DAYS + 1), repeat=2):  # day of infection of each member; DAYS = never
        log_p = torch.tensor(0.0)
        for t in range(DAYS):
            pressure = sum([0.5, 0.8][t - 1 - d] for d in outcome if 0 <= t - 1 - d < 2)
            hazard = theta[0] * 0.7 * pressure + theta[1]
            for i, d in enumerate(outcome):
                if d >= t:
                    x = sigma[i, t // PERIOD] * hazard
                    log_p = log_p + (torch.log(-torch.expm1(-x)) if d == t else -x)
        total = total + torch.exp(log_p) * torch.tensor([float(sum(d == t for d in outcome)) for t in range(DAYS)])
    return total


@pytest.mark.parametrize(
    ("backend", "estimator"), [("reference", "local-score"), ("compiled", "local-score"), ("compiled", "removals")]
)
def test_households_against_enumeration(backend, estimator):
    theta = torch.tensor([0.9, 0.04, 1.4, 0.5, 1.3], requires_grad=True)
    weights = torch.linspace(1.0, 2.0, DAYS)
    exact = enumerated(theta) @ weights
    (truth,) = torch.autograd.grad(exact, theta)
    particles, households = 100, 300
    per_run = theta.detach().expand(particles, 5).clone().requires_grad_()
    rows = [household_rates(row).tensors() for row in per_run]
    batch = Rates(*(torch.cat(x) for x in zip(*rows, strict=True)))
    x = sim.epidemic(chain_binomial(2, households), batch, seed=11, backend=backend, estimator=estimator)
    value = (x[..., 0] @ weights) / households
    (gradient,) = torch.autograd.grad(value.sum(), per_run)
    assert abs(value.mean() - exact) < 4 * value.std() / particles**0.5
    # the mean that the local score subtracts costs it a bias of order 1 / households
    assert ((gradient.mean(0) - truth).abs() < 4 * gradient.std(0) / particles**0.5 + truth.abs() / households).all()


@pytest.mark.parametrize("period", [0, 1])
def test_against_finite_differences_with_common_random_numbers(period):
    population = small_population(households=1200, seed=4, school=25, work=15)
    particles = 48
    rates = with_waning(some_rates(population, particles=1, days=24, level=0.9))
    rates = rates.map(lambda x: x.expand(particles, *x.shape[1:]).contiguous())
    which = torch.arange(2) == period

    def total(log_factor):
        return sim.epidemic(
            population, replace(rates, waning=rates.waning * torch.exp(log_factor[:, None, None] * which)), 5
        ).sum((1, 2))

    leaf = torch.zeros(particles, requires_grad=True)
    (gradient,) = torch.autograd.grad(total(leaf).sum(), leaf)
    difference = (total(torch.full((particles,), 0.1)) - total(torch.full((particles,), -0.1))) / 0.2
    error = float((gradient - difference).std() / particles**0.5)  # they share their luck
    assert abs(float((gradient - difference).mean())) < 3.5 * error + 0.02 * float(difference.mean().abs())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:, :, :2], r"waning has shape \(2, 4, 2\); this population needs \(2, 4, 3\), one value for each 14 of 33 days"),
        (lambda w: w[:, :3], "waning has shape"),
        (lambda w: -w, "must be finite, not negative"),
        (lambda w: w * float("inf"), "must be finite"),
    ],
)  # fmt: skip
def test_bad_waning_is_refused(world, change, message):
    population, rates, *_ = world
    with pytest.raises(ValueError, match=message):
        sim.epidemic(population, replace(rates, waning=change(rates.waning)), 3)
