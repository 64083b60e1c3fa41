"""The compiled likelihood is the likelihood by emulator, common errors and distributions."""

import numba
import pytest
import torch

from calib.multifidelity._compiled_densities import log_gamma
from calib.multifidelity._compiled_kernel import log_density
from calib.multifidelity._compiled_likelihood import POINTS_PER_CALL, compile_likelihood
from calib.multifidelity._densities import log_counts, log_levels
from calib.multifidelity._emulator import Emulator, identity
from calib.multifidelity._quadratic_fit import fit_quadratic
from calib.multifidelity._shared_error import shared_error

RUNS, DIM, OBSERVATIONS, COUNTS, POINTS = 40, 60, 50, 38, 11
SMALLEST = 0.01


@pytest.fixture(scope="module")
def world():
    """An emulator with a quadratic term of observations of every size, counts (some in outbreaks) and levels, scattered by three parameters."""
    g = torch.Generator().manual_seed(3)
    kinds = {"generator": g, "dtype": torch.float64}
    slope = 0.1 * torch.randn(OBSERVATIONS, DIM, **kinds)
    x = torch.randn(RUNS, DIM, **kinds)
    residual = 0.2 * torch.randn(RUNS, OBSERVATIONS, **kinds)
    quadratic = fit_quadratic(x, 0.05 * (x[:, :1] * x[:, 1:2]) + 0.1 * x[:, 2:3] ** 2 + residual, slope)
    log_mean = torch.linspace(-6, 10, OBSERVATIONS, dtype=torch.float64)[torch.randperm(OBSERVATIONS, generator=g)]
    local = Emulator(torch.randn(DIM, **kinds), log_mean, slope, residual, identity, quadratic)
    observations = torch.cat([log_mean[:COUNTS].exp().round(), log_mean[COUNTS:].exp() * 1.2])
    which = torch.randint(0, 3, (OBSERVATIONS,), generator=g)
    scatter = torch.nn.functional.one_hot(which, 3).mT.double()
    clustered = torch.rand(COUNTS, generator=g) < 0.5
    errors = shared_error(local, torch.ones(OBSERVATIONS, dtype=torch.float64), torch.rand(OBSERVATIONS, **kinds), 12)
    z = local.centre + torch.randn(POINTS, DIM, **kinds)
    drawn = torch.randn(POINTS, errors.count, **kinds)
    width = torch.cat([0.5 + 4 * torch.rand(POINTS, 1, **kinds), 0.05 + 0.3 * torch.rand(POINTS, 3, **kinds)], 1)
    return local, errors, (observations, COUNTS, scatter, clustered), (z, drawn, width)


def defined(local, errors, families, z, drawn, width):
    """The same by the parts that define it."""
    observations, counts, scatter, clustered = families
    mean, predictive, noise = local.predict_factors(z)
    mean, left = (mean, predictive[:, None] * noise) if errors is None else errors.of(mean, predictive, drawn)
    mean, relative = torch.where(mean < SMALLEST, SMALLEST, mean), left + width[:, 1:] ** 2 @ scatter
    cluster = torch.where(clustered, width[:, :1].clamp_min(1.0), 1.0)
    return log_counts(observations[:counts], mean[:, :counts], cluster, relative[:, :counts]) + log_levels(
        observations[counts:], mean[:, counts:], relative[:, counts:]
    )


@pytest.mark.parametrize("shared", [True, False])
def test_value_and_derivatives_are_those_of_the_parts(world, shared):
    local, errors, families, given = world
    errors = errors if shared else None
    leaves = [x.clone().requires_grad_() for x in (given if shared else (given[0], given[1][:, :0], given[2]))]
    found, wanted = (
        compile_likelihood(local, errors, *families, SMALLEST)(*leaves),
        defined(local, errors, families, *leaves),
    )
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-8)
    weight = torch.linspace(1, 2, POINTS, dtype=torch.float64)
    slopes = [torch.autograd.grad((x * weight).sum(), leaves, materialize_grads=True) for x in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()) if other.numel() else 0)


def test_by_finite_differences(world):
    local, errors, families, given = world
    likelihood = compile_likelihood(local, errors, *families, SMALLEST)
    few = [x[:2].clone().requires_grad_() for x in given]
    assert torch.autograd.gradcheck(likelihood, few, eps=1e-6, atol=1e-3, rtol=1e-5)


def test_the_number_of_threads_changes_nothing(world):
    local, errors, families, given = world
    likelihood, before, found = compile_likelihood(local, errors, *families, SMALLEST), numba.get_num_threads(), []
    x = [a.numpy() for a in (local.feature_map(given[0]) - local.centre, *given[1:])]
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            found.append(log_density(likelihood.table, *x))
    finally:
        numba.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert (one == other).all()


def test_many_points_are_walked_in_even_parts(world):
    local, errors, families, given = world
    likelihood, many = compile_likelihood(local, errors, *families, SMALLEST), 2 * POINTS_PER_CALL // POINTS + 1
    found = likelihood(*(x.repeat(many, 1) for x in given))
    assert torch.equal(found, likelihood(*given).repeat(many))


def test_a_point_that_ran_away_is_nan_and_the_others_are_not(world):
    local, errors, families, given = world
    z = given[0].clone()
    z[3], z[4, 0] = 1e6, torch.nan
    found = compile_likelihood(local, errors, *families, SMALLEST)(z, *given[1:])
    finite = torch.isfinite(found)
    assert not finite[3]
    assert not finite[4]
    assert int(finite.sum()) == POINTS - 2


def test_a_straight_mean_is_refused(world):
    local, errors, families, _ = world
    straight = Emulator(local.centre, local.intercept, local.slope, local.residual, identity)
    with pytest.raises(ValueError, match="fit it with one first"):
        compile_likelihood(straight, errors, *families, SMALLEST)


def test_log_gamma_and_its_derivative():
    x = torch.cat([torch.logspace(-8, 9, 400, dtype=torch.float64), torch.linspace(0.5, 30, 400, dtype=torch.float64)])
    found = torch.tensor([log_gamma(float(v)) for v in x], dtype=torch.float64)
    torch.testing.assert_close(found[:, 0], x.lgamma(), rtol=1e-13, atol=5e-14)
    torch.testing.assert_close(found[:, 1], x.digamma(), rtol=1e-13, atol=5e-14)
    assert all(v != v for wrong in (0.0, -1.0, float("nan"), float("inf")) for v in log_gamma(wrong))
