"""Every gradient estimator through one contract: the same epidemic, a finite gradient for every rate, transposed modes, clear errors."""

from dataclasses import replace

import pytest
import torch
import torch.autograd.forward_ad as fwAD

import sim
from sim import ESTIMATORS, EstimatorOptions, Rates
from tests.sim.test_exactness import chain_binomial, chain_rates, enumerated_incidence
from tests.sim.worlds import random_tangents, small_population, some_rates

NAMES = ["removals", "local-score", "auto", *ESTIMATORS]
SOFT = EstimatorOptions(hard=False)
EVERY_ENTRY = EstimatorOptions(entries=10_000)


@pytest.fixture(scope="module")
def world():
    torch.set_default_dtype(torch.float64)
    population = small_population(60, ages=1, archetypes=2)
    return population, some_rates(population, days=8, infectious_days=3, level=1.5)


def test_the_registry_holds_what_the_interface_promises():
    assert set(ESTIMATORS) == {"straight-through", "gumbel-softmax", "score-function", "finite-difference"}


@pytest.mark.parametrize("estimator", NAMES)
def test_infections_are_those_of_the_reference_bit_for_bit(world, estimator):
    population, rates = world
    reference = sim.epidemic(population, rates, 3, backend="reference")
    assert reference.sum() > 30
    assert torch.equal(sim.epidemic(population, rates, 3, estimator=estimator), reference)


@pytest.mark.parametrize("segment", [0, 3])
@pytest.mark.parametrize("estimator", NAMES)
def test_the_gradient_of_every_rate_is_a_finite_number_and_repeats(world, estimator, segment):
    population, rates = world
    options = replace(EVERY_ENTRY, segment=segment)

    def gradients():
        leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
        sim.epidemic(population, leaves, 3, estimator=estimator, options=options).square().sum().backward()
        return leaves.map(lambda x: x.grad)

    first, second = gradients(), gradients()
    for name, x, y in zip(Rates.__annotations__, first.tensors(), second.tensors(), strict=True):
        if x.numel():
            assert torch.isfinite(x).all(), name
            assert x.abs().sum() > 0, name
        assert torch.equal(x, y), name


@pytest.mark.parametrize("options", [EstimatorOptions(), SOFT, EstimatorOptions(segment=3)])
@pytest.mark.parametrize("estimator", ["straight-through", "gumbel-softmax", "score-function"])
def test_forward_and_reverse_are_transposes(world, estimator, options):
    population, rates = world
    if estimator != "gumbel-softmax" and options is SOFT:
        pytest.skip("only the relaxation has soft draws")
    tangents = random_tangents(rates, 2)
    leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
    x = sim.epidemic(population, leaves, 3, estimator=estimator, options=options)
    cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    bar = torch.autograd.grad((x * cotangent).sum(), leaves.tensors(), materialize_grads=True)
    reverse = sum((g[..., None] * dx).flatten(0, -2).sum(0) for g, dx in zip(bar, tangents.tensors(), strict=True))
    if options.segment:  # checkpoints have no forward mode; the gradient must be that of the whole tape
        options = EstimatorOptions()
    incidence, columns = sim.jacobian(population, rates, tangents, 3, estimator=estimator, options=options)
    assert torch.equal(incidence, x)
    torch.testing.assert_close(torch.einsum("ptg,ptgq->q", cotangent, columns), reverse, rtol=1e-9, atol=1e-8)


def test_soft_draws_are_another_epidemic(world):
    population, rates = world
    soft = sim.epidemic(population, rates, 3, estimator="gumbel-softmax", options=SOFT)
    assert not torch.equal(soft, sim.epidemic(population, rates, 3))
    cold = EstimatorOptions(hard=False, temperature=1e-4)
    nearly = sim.epidemic(population, rates, 3, estimator="gumbel-softmax", options=cold)
    torch.testing.assert_close(nearly, sim.epidemic(population, rates, 3), rtol=0, atol=0.3)


def test_finite_differences_are_differences(world):
    population, rates = world
    options = EstimatorOptions(step=0.1, replicates=2)
    leaf = rates.susceptibility.clone().requires_grad_()
    varied = replace(rates, susceptibility=leaf)
    total = sim.epidemic(population, varied, 3, estimator="finite-difference", options=options).sum()
    (gradient,) = torch.autograd.grad(total, leaf)
    h = 0.1 * torch.maximum(rates.susceptibility, rates.susceptibility.mean(1, keepdim=True))[:, 1]
    ends = []
    for sign in (1, -1):
        moved = rates.susceptibility.clone()
        moved[:, 1] += sign * h
        runs = [
            sim.epidemic(population, replace(rates, susceptibility=moved), 3, streams=torch.arange(2) + k * 2**40)
            for k in range(2)
        ]
        ends.append(sum(r.sum((1, 2)) for r in runs) / 2)
    torch.testing.assert_close(gradient[:, 1], (ends[0] - ends[1]) / (2 * h))


def test_a_rate_of_nought_is_varied_upwards_alone(world):
    population, rates = world
    leaf = torch.zeros_like(rates.aversion).requires_grad_()
    total = sim.epidemic(population, replace(rates, aversion=leaf), 3, estimator="finite-difference").sum()
    (gradient,) = torch.autograd.grad(total, leaf)
    assert torch.isfinite(gradient).all()
    with fwAD.dual_level():
        dual = fwAD.make_dual(torch.zeros(2), torch.ones(2))
        x = sim.epidemic(population, replace(rates, aversion=dual), 3, estimator="finite-difference")
        tangent = fwAD.unpack_dual(x).tangent
    torch.testing.assert_close(tangent.sum((1, 2)), gradient)


def household_gradients(estimator, size, particles, households=40, **settings):
    """Gradients per household and run, `[particles, 4]`, and the truth by enumeration."""
    theta = torch.tensor([0.9, 0.15, 1.4, 0.8], requires_grad=True)
    (truth,) = torch.autograd.grad(enumerated_incidence(size, theta).sum(), theta)
    per_run = theta.detach().expand(particles, 4).clone().requires_grad_()
    rates = [chain_rates(row, 1) for row in per_run]
    batch = Rates(*(torch.cat(x) for x in zip(*(r.tensors() for r in rates), strict=True)))
    population = chain_binomial(size, households)
    x = sim.epidemic(population, batch, 5, estimator=estimator, options=EstimatorOptions(**settings))
    (gradient,) = torch.autograd.grad(x.sum() / households, per_run)
    return gradient, truth


def test_the_score_function_is_unbiased_and_straight_through_is_not():
    gradient, truth = household_gradients("score-function", 2, 300, 20)
    error = gradient.std(0) / len(gradient) ** 0.5
    assert ((gradient.mean(0) - truth).abs() < 4 * error).all()
    gradient, truth = household_gradients("straight-through", 4, 50)
    error = gradient.std(0) / len(gradient) ** 0.5
    assert gradient.mean(0)[1] - truth[1] > max(10 * error[1], 0.5 * truth[1])  # the echo


def test_a_baseline_takes_noise_away():
    plain, _ = household_gradients("score-function", 2, 100, baseline=0)
    centred, _ = household_gradients("score-function", 2, 100, baseline=4)
    assert (centred.std(0) < 0.5 * plain.std(0)).all()


def test_unfit_choices_are_refused(world):
    population, rates = world
    with pytest.raises(ValueError, match="choose one of removals, local-score, auto, straight-through"):
        sim.epidemic(population, rates, 3, estimator="reinforce")
    with pytest.raises(ValueError, match="keeps a tape over plain tensors"):
        sim.epidemic(population, rates, 3, backend="compiled", estimator="straight-through")
    reinfecting = replace(rates, reinfection=torch.full((2, 2, 9), 0.1) * (torch.arange(9) >= 3))
    with pytest.raises(ValueError, match="lets people be infected again"):
        sim.epidemic(population, reinfecting, 3, estimator="straight-through")
    x = sim.epidemic(population, reinfecting, 3, estimator="finite-difference")
    assert torch.equal(x, sim.epidemic(population, reinfecting, 3))
    with pytest.raises(ValueError, match="temperature is 0, but a number above 0"):
        EstimatorOptions(temperature=0.0)
    with pytest.raises(ValueError, match="replicates is 0"):
        EstimatorOptions(replicates=0)
    leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
    x = sim.epidemic(population, leaves, 3, estimator="finite-difference", options=EstimatorOptions(entries=5))
    with pytest.raises(ValueError, match="at most 5 are allowed"):
        x.sum().backward()
