"""The local score against ghosts: both backends, transposes, exact inside households, and without the bias of the plain one."""

import pytest
import torch

import sim
from sim import EstimatorOptions, _compiled_ghosts, _reference, _reference_ghosts
from sim._columns import columns
from tests.sim.test_exactness import chain_binomial, chain_rates, enumerated_incidence
from tests.sim.worlds import random_tangents, small_population, some_rates

CPU = torch.device("cpu")
BACKENDS = {"reference": _reference_ghosts, "compiled": _compiled_ghosts}


@pytest.fixture(scope="module")
def world():
    torch.set_default_dtype(torch.float64)
    population = small_population(households=150)
    rates, c = some_rates(population), columns(population, CPU)
    assert min(c.pairs) > 3  # brothers and sisters in one school, whom a ghost has to tell from its own
    past = _reference.run(c, rates, 3, torch.arange(2))
    return population, rates, c, past._replace(ghosts=_reference_ghosts.ghosts(c, rates, past, 3, torch.arange(2), 2))


def test_backends_draw_the_same_ghosts(world):
    _, rates, c, past = world
    ours = _compiled_ghosts.ghosts(c, rates, past, 3, torch.arange(2), 2)
    assert torch.equal(ours, past.ghosts)
    caught = (ours != _reference.NEVER).sum(2)
    assert not torch.equal(ours[:, 0], ours[:, 1])
    assert ((caught / past.incidence.sum((1, 2))[:, None] - 1).abs() < 0.3).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_and_reverse_are_transposes(world, backend):
    population, rates, c, past = world
    tangents, kernels = random_tangents(rates, 5), BACKENDS[backend]
    cotangent = torch.randn(2, 20, population.groups, generator=torch.Generator().manual_seed(2))
    forward = torch.einsum("ptg,ptgq->q", cotangent, kernels.jvp(c, rates, tangents, past))
    bar = kernels.vjp(c, rates, past, cotangent)
    reverse = sum(
        (x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in zip(bar.tensors(), tangents.tensors(), strict=True)
    )
    torch.testing.assert_close(forward, reverse, rtol=1e-10, atol=1e-8)


def test_backends_agree_on_both_derivatives(world):
    _, rates, c, past = world
    tangents, cotangent = random_tangents(rates, 3), torch.randn_like(past.incidence)
    forward = [kernels.jvp(c, rates, tangents, past) for kernels in BACKENDS.values()]
    torch.testing.assert_close(*forward, rtol=1e-9, atol=1e-9)
    reverse = [kernels.vjp(c, rates, past, cotangent).tensors() for kernels in BACKENDS.values()]
    for a, b in zip(*reverse, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * max(a.abs().flatten().tolist(), default=0))


def test_the_epidemic_is_the_same_and_its_gradient_is_not(world):
    population, rates, *_ = world
    found = []
    for ghosts in (0, 1):
        leaves = rates.map(lambda x: x.clone().requires_grad_())
        x = sim.epidemic(population, leaves, 3, options=EstimatorOptions(ghosts=ghosts))
        x.sum().backward()
        found.append((x.detach(), leaves.transmission.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.isfinite(found[1][1]).all()
    assert not torch.allclose(found[0][1], found[1][1])
    jacobian = sim.jacobian(population, rates, random_tangents(rates, 1), 3, options=EstimatorOptions(ghosts=1))
    again = sim.jacobian(population, rates, random_tangents(rates, 1), 3, options=EstimatorOptions(ghosts=1))
    assert torch.equal(jacobian[0], found[0][0])
    assert torch.equal(jacobian[1], again[1])


@pytest.mark.parametrize("size", [2, 3])
def test_households_against_enumeration(size):
    """Alone in the world a household's gradient has no bias at all: there is no mean to subtract."""
    theta, weights = torch.tensor([0.9, 0.15, 1.4, 0.8], requires_grad=True), torch.tensor([1.0, 0.5, -0.3, 2.0])
    (truth,) = torch.autograd.grad(enumerated_incidence(size, theta) @ weights, theta)
    particles, households = 100, 20
    per_run = theta.detach().expand(particles, 4).clone().requires_grad_()
    rates = [chain_rates(row, 1) for row in per_run]
    batch = sim.Rates(*(torch.cat(x) for x in zip(*(r.tensors() for r in rates), strict=True)))
    x = sim.epidemic(chain_binomial(size, households), batch, 11, options=EstimatorOptions(ghosts=1))
    (gradient,) = torch.autograd.grad((x[..., 0] @ weights).sum() / households, per_run)
    assert ((gradient.mean(0) - truth).abs() < 4 * gradient.std(0) / particles**0.5).all()


def test_ghosts_remove_the_bias_of_a_small_district():
    """300 people, one district: the plain score is an eighth too low, the one against ghosts right within its error."""
    population = small_population(households=100, seed=4, regions=1, school=25, work=15)
    particles, step = 2_000, 0.1
    rates = some_rates(population, particles=1, days=40, level=1.0)
    rates.importation[:] = 0.0003
    rates = rates.map(lambda x: x.expand(particles, *x.shape[1:]).contiguous())

    def total(log_factor, ghosts):
        scaled = sim.Rates(
            **{**rates.__dict__, "transmission": rates.transmission * torch.exp(log_factor)[:, None, None]}
        )
        return sim.epidemic(population, scaled, 5, options=EstimatorOptions(ghosts=ghosts)).sum((1, 2))

    up, down = (total(torch.full((particles,), s), 0) for s in (step, -step))
    difference, found = (up - down) / (2 * step), {}
    for ghosts in (0, 1):
        log_factor = torch.zeros(particles, requires_grad=True)
        (gradient,) = torch.autograd.grad(total(log_factor, ghosts).sum(), log_factor)
        error = (gradient.var() / particles + difference.var() / particles).sqrt()
        found[ghosts] = (float(gradient.mean() / difference.mean() - 1), float(error / difference.mean()))
    assert found[0][0] < -0.05 - 2 * found[0][1]
    assert abs(found[1][0]) < 0.03 + 2 * found[1][1]


def test_what_does_not_go_with_ghosts_is_refused(world):
    population, rates, *_ = world
    with pytest.raises(ValueError, match="at least 0"):
        EstimatorOptions(ghosts=-1)
    waning = sim.Rates(**{**rates.__dict__, "reinfection": torch.zeros(2, population.archetypes, 9)})
    with pytest.raises(ValueError, match="ghosts are infected once"):
        sim.epidemic(population, waning, 3, options=EstimatorOptions(ghosts=1))
