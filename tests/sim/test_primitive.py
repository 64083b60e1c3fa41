"""Every backend through the same contract: same draws, same distribution, transposed derivatives, clear errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as fwAD

import sim
from sim import Rates, _compiled, _reference
from sim._columns import columns
from tests.sim.worlds import random_tangents, small_population, some_rates

BACKENDS = {"reference": _reference, "compiled": _compiled}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world():
    torch.set_default_dtype(torch.float64)
    population = small_population()
    return population, some_rates(population)


def test_backends_draw_the_same_epidemic(world):
    population, rates = world
    runs = [sim.epidemic(population, rates, 3, backend=b) for b in BACKENDS]
    assert runs[0].sum() > 100
    assert torch.equal(runs[0], runs[1])


def test_same_seed_same_epidemic_whatever_the_batch(world):
    population, rates = world
    both = sim.epidemic(population, rates, 3)
    second = sim.epidemic(population, rates.map(lambda x: x[1:]), 3, streams=torch.tensor([1]))
    assert torch.equal(both[1:], second)
    assert not torch.equal(both, sim.epidemic(population, rates, 4))


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_and_reverse_are_transposes(world, backend):
    population, rates = world
    tangents, cotangent = (
        random_tangents(rates, 5),
        torch.randn(2, 20, population.groups, generator=torch.Generator().manual_seed(2)),
    )
    kernels, c = BACKENDS[backend], columns(population, CPU)
    past = kernels.run(c, rates, 3, torch.arange(2))
    forward = torch.einsum("ptg,ptgq->q", cotangent, kernels.jvp(c, rates, tangents, past))
    bar = kernels.vjp(c, rates, past, cotangent)
    reverse = sum(
        (x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in zip(bar.tensors(), tangents.tensors(), strict=True)
    )
    torch.testing.assert_close(forward, reverse, rtol=1e-10, atol=1e-8)


def test_backends_agree_on_both_derivatives(world):
    population, rates = world
    tangents, c = random_tangents(rates, 3), columns(population, CPU)
    past = _reference.run(c, rates, 3, torch.arange(2))
    cotangent = torch.randn_like(past.incidence)
    torch.testing.assert_close(
        _compiled.jvp(c, rates, tangents, past),
        _reference.jvp(c, rates, tangents, past),
        rtol=1e-9,
        atol=1e-9,
    )
    for a, b in zip(
        _compiled.vjp(c, rates, past, cotangent).tensors(),
        _reference.vjp(c, rates, past, cotangent).tensors(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * max(b.abs().flatten().tolist(), default=0))


@pytest.mark.parametrize("estimator", ["removals", "local-score"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_autograd_binds_reverse_and_forward(world, backend, estimator):
    population, rates = world
    if backend == "reference" and estimator == "removals":  # plain Python
        population = small_population(households=20)
        rates = some_rates(population, days=8)
    beta = rates.transmission.clone().requires_grad_()
    total = sim.epidemic(population, replace(rates, transmission=beta), 3, backend=backend, estimator=estimator).sum()
    (gradient,) = torch.autograd.grad(total, beta)
    assert torch.isfinite(gradient).all()
    assert estimator == "removals" or (gradient[..., 5:] != 0).all()
    assert gradient.abs().sum() > 0

    with fwAD.dual_level():
        dual = fwAD.make_dual(rates.transmission, torch.ones_like(rates.transmission))
        total = sim.epidemic(
            population, replace(rates, transmission=dual), 3, backend=backend, estimator=estimator
        ).sum()
        tangent = fwAD.unpack_dual(total).tangent
    torch.testing.assert_close(tangent, gradient.sum(), rtol=1e-9, atol=1e-9)


def test_jacobian_columns_are_directional_derivatives(world):
    population, rates = world
    tangents = random_tangents(rates, 4)
    incidence, columns_ = sim.jacobian(population, rates, tangents, 3)
    one = sim.jacobian(population, rates, tangents.map(lambda x: x[..., 2:3].contiguous()), 3)[1]
    assert torch.equal(incidence, sim.epidemic(population, rates, 3))
    torch.testing.assert_close(columns_[..., 2:3], one, rtol=1e-9, atol=1e-9)


def test_single_precision_follows_double(world):
    population, rates = world
    single = sim.epidemic(population, rates.map(lambda x: x.float()), 3)
    assert single.dtype == torch.float32
    assert abs(float(single.sum() / sim.epidemic(population, rates, 3).sum()) - 1) < 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: replace(r, susceptibility=-r.susceptibility), "must be finite, not negative"),
        (lambda r: replace(r, importation=r.importation * float("nan")), "must be finite"),
        (lambda r: replace(r, mixing=r.mixing[:, :2]), "needs"),
        (
            lambda r: replace(r, infectiousness=r.infectiousness[:, :1], susceptibility=r.susceptibility[:, :1]),
            "archetypes",
        ),
        (lambda r: replace(r, forgetting=r.forgetting + 2), "0..1"),
    ],
)
def test_bad_rates_are_refused_before_any_kernel_runs(world, change, message):
    population, rates = world
    with pytest.raises(ValueError, match=message):
        sim.epidemic(population, change(rates), 3)


def test_unknown_backend_and_streams_are_refused(world):
    population, rates = world
    with pytest.raises(ValueError, match="choose one of"):
        sim.epidemic(population, rates, 3, backend="fast")
    with pytest.raises(ValueError, match="one stream for each"):
        sim.epidemic(population, rates, 3, streams=torch.arange(5))


def test_bad_population_is_refused(world):
    population, _ = world
    start = population.household_start.copy()
    start[3] = start[2]
    with pytest.raises(ValueError, match="Sort the agents by household"):
        replace(population, household_start=start)
    with pytest.raises(ValueError, match="group must lie in"):
        replace(population, group=np.full_like(population.group, 99))


def test_rates_must_match_days_of_the_rest(world):
    population, rates = world
    with pytest.raises(ValueError, match="importation"):
        sim.epidemic(population, Rates(**{**rates.__dict__, "importation": rates.importation[:, :5]}), 1)
