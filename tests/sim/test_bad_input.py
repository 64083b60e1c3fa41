"""Bad input is refused before any kernel runs, in a sentence; memory that runs out costs time, not the result."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sim
from sim import _batches, _compiled, _primitive
from sim._columns import columns
from tests.sim.worlds import random_tangents, small_population, some_rates


@pytest.fixture(scope="module")
def world():
    torch.set_default_dtype(torch.float64)
    population = small_population(households=60)
    return population, some_rates(population, particles=5, days=12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, household_start=p.household_start[::-1].copy()), "Sort the agents by household"),
        (lambda p: replace(p, household_start=p.household_start * 1.0), "whole numbers"),
        (lambda p: replace(p, household_start=p.household_start[:-1]), "Sort the agents by household"),
        (lambda p: replace(p, archetype=p.archetype[1:]), "one entry for each"),
        (lambda p: replace(p, archetype=p.archetype - 1), "archetype must lie in"),
        (lambda p: replace(p, venues=p.venues + 1000), r"venues\[0\] must lie in"),
        (lambda p: replace(p, region_of_group=p.region_of_group + 7), "region_of_group must lie in"),
        (lambda p: replace(p, venue_weight=p.venue_weight[:1]), "as many weight arrays"),
        (lambda p: replace(p, venue_weight=(-p.venue_weight[0], p.venue_weight[1])), "not negative"),
        (lambda p: replace(p, household_weight=p.household_weight * np.nan), "finite"),
        (lambda p: replace(p, people_per_agent=-p.people_per_agent), "not negative"),
    ],
)
def test_bad_population(world, change, message):
    with pytest.raises(ValueError, match=message):
        change(world[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: replace(r, importation=r.importation * float("inf")), r"importation\[0, 0, 0\] is inf"),
        (lambda r: replace(r, aversion=-r.aversion), "not negative"),
        (lambda r: replace(r, aversion=r.aversion.long()), "floating point"),
        (lambda r: replace(r, mixing=r.mixing[:1]), "needs"),
        (lambda r: replace(r, transmission=r.transmission[:, :3]), "transmission has shape"),
        (lambda r: r.map(lambda x: x[:0]), "at least one of each"),
        (
            lambda r: replace(
                r,
                transmission=torch.zeros(5, 4, 32_001),
                importation=torch.zeros(1, 1, 1).expand(5, 32_001, r.mixing.shape[1]),
            ),
            "do not fit the 16-bit day",
        ),
    ],
)
def test_bad_rates_are_refused_before_any_kernel_runs(world, change, message, monkeypatch):
    population, rates = world

    def never(*_):
        raise AssertionError("a kernel ran")

    monkeypatch.setattr(_compiled, "run", never)
    with pytest.raises(ValueError, match=message):
        sim.epidemic(population, change(rates), 3)


class Cramped:
    """The compiled kernels on a machine that holds so many particles at once."""

    def __init__(self, holds: int, error: Exception) -> None:
        self.holds, self.error, self.batches = holds, error, []

    def _admit(self, rates: sim.Rates) -> None:
        if rates.particles > self.holds:
            raise self.error
        self.batches.append(rates.particles)

    def run(self, c, rates, seed, streams, start=None):
        self._admit(rates)
        return _compiled.run(c, rates, seed, streams, start)

    def vjp(self, c, rates, epidemic, cotangent):
        self._admit(rates)
        return _compiled.vjp(c, rates, epidemic, cotangent)

    def jvp(self, c, rates, tangents, epidemic):
        self._admit(rates)
        return _compiled.jvp(c, rates, tangents, epidemic)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError("no room"),
        RuntimeError("DefaultCPUAllocator: no room"),
    ],
)
def test_out_of_memory_halves_the_batch_and_says_so(world, error, monkeypatch):
    population, rates = world
    once = sim.epidemic(population, rates, 3)
    leaves = [rates.map(lambda x: x.clone().requires_grad_()) for _ in range(2)]
    expected = torch.autograd.grad(
        sim.epidemic(population, leaves[0], 3, estimator="local-score").square().sum(), leaves[0].transmission
    )[0]

    cramped = Cramped(2, error)
    monkeypatch.setattr(_primitive, "_backend", lambda *_: cramped)
    with pytest.warns(RuntimeWarning, match="5 particles at once"):
        batched = sim.epidemic(population, leaves[1], 3, estimator="local-score")
    assert torch.equal(batched, once)
    assert cramped.batches == [2, 1, 2]
    with pytest.warns(RuntimeWarning, match="batches of"):
        gradient = torch.autograd.grad(batched.square().sum(), leaves[1].transmission)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)
    with pytest.warns(RuntimeWarning, match="batches of"):
        _, tangents = sim.jacobian(population, rates, random_tangents(rates, 2), 3, estimator="local-score")
    assert tangents.shape == (*once.shape, 2)


def test_reinfections_of_batches_keep_their_particle(world):
    population, rates = world
    after = torch.tensor([0.0] * rates.infectious_days + [1.0]).expand(5, population.archetypes, -1)
    rates, c = replace(rates, reinfection=after), columns(population, torch.device("cpu"))
    whole = _compiled.run(c, rates, 3, torch.arange(5))
    with pytest.warns(RuntimeWarning):
        batched = _batches.run(Cramped(2, MemoryError()), c, rates, 3, torch.arange(5))
    assert len(whole.reinfections) > 0
    assert all(torch.equal(x, y) for x, y in zip(whole, batched, strict=True))
    cotangent = torch.ones_like(whole.incidence)
    with pytest.warns(RuntimeWarning):
        bar = _batches.vjp(Cramped(2, MemoryError()), c, rates, whole, cotangent)
    for x, y in zip(bar.tensors(), _compiled.vjp(c, rates, whole, cotangent).tensors(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_memory_too_small_for_one_particle_and_other_errors_are_raised(world, monkeypatch):
    population, rates = world
    monkeypatch.setattr(_primitive, "_backend", lambda *_: Cramped(0, MemoryError("no room")))
    with pytest.warns(RuntimeWarning), pytest.raises(MemoryError):
        sim.epidemic(population, rates, 3)
    monkeypatch.setattr(_primitive, "_backend", lambda *_: Cramped(0, RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        sim.epidemic(population, rates, 3)


@pytest.mark.parametrize("backend", ["auto", "reference", "compiled", "triton"])
@pytest.mark.parametrize("level", [1e10, 1e12, 1e300])
@pytest.mark.parametrize(
    "name", ["transmission", "infectiousness", "susceptibility", "mixing", "importation", "aversion"]
)
def test_absurd_rates_are_refused_by_every_backend(world, backend, level, name):
    population, rates = world
    absurd = replace(rates, **{name: getattr(rates, name) * 0 + level})
    assert not absurd.in_range().any()
    for call in (
        lambda: sim.epidemic(population, absurd, 3, backend=backend),
        lambda: sim.jacobian(population, absurd, random_tangents(rates, 1), 3, backend=backend),
        lambda: sim.state_after(population, absurd, 3, backend=backend),
    ):
        with pytest.raises(ValueError, match=f"rates.{name}.*at most 1e[+]08"):
            call()


@pytest.mark.parametrize("names", [("transmission", "infectiousness"), ("susceptibility", "importation")])
def test_rates_that_multiply_to_an_absurd_hazard_are_refused(world, names):
    population, rates = world
    absurd = replace(rates, **{name: getattr(rates, name) * 0 + 1e6 for name in names})
    with pytest.raises(ValueError, match="multiply to a hazard of"):
        sim.epidemic(population, absurd, 3)


def test_the_gradient_holds_up_to_the_bound(world):
    """Just below the bound compiled kernels give the reference's gradient; the local score, whose sums lose digits first."""
    population, rates = world
    high = rates.transmission.clone()
    high[:, sim.VENUES] *= 1e7
    assert replace(rates, transmission=high).in_range().all()
    found = []
    for backend in ("reference", "compiled"):
        leaves = replace(rates, transmission=high).map(lambda x: x.clone().requires_grad_())
        total = sim.epidemic(population, leaves, 3, backend=backend, estimator="local-score").sum()
        found.append(torch.autograd.grad(total, leaves.susceptibility)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-6)
