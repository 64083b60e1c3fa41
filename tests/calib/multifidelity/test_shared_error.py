"""Errors that outputs share: a closed form, and the over-confidence of taking them for independent noise."""

import pytest
import torch

from calib import make_flow
from calib._hamiltonian import sample_chains
from calib.multifidelity._emulator import Emulator, identity
from calib.multifidelity._shared_error import WithErrors, shared_error

D, M, RUNS = 2, 12, 4000
SCATTER = 0.1
"""Standard deviation of the data around the outputs, log scale."""


@pytest.fixture
def case():
    """A mean known from many runs that residual together (sd 0.3) and by themselves (sd 0.05), log outputs linear in z."""
    g = torch.Generator().manual_seed(0)
    slope = torch.stack([torch.ones(M), 0.3 * torch.randn(M, generator=g)], 1)
    shape = torch.stack([torch.ones(M), torch.linspace(-1, 1, M)], 1) * torch.tensor([0.3, 0.1])
    residual = torch.randn(RUNS, 2, generator=g) @ shape.mT + 0.05 * torch.randn(RUNS, M, generator=g)
    local = Emulator(torch.zeros(D), torch.zeros(M), slope, residual, identity)
    return local, slope, shape @ shape.mT + 0.05**2 * torch.eye(M)


def test_components_and_rest_are_the_covariance_of_the_residuals(case):
    local, _, covariance = case
    found = shared_error(local, torch.ones(M), torch.zeros(M), 2)
    assert found.count == 2
    torch.testing.assert_close(found.loading @ found.loading.mT + found.rest.diag(), covariance, atol=0.008, rtol=0)
    assert float(found.rest.mean()) == pytest.approx(
        0.05**2 * (M - 2) / M, rel=0.1
    )  # two of M directions are components


def test_outputs_are_moved_by_the_errors_of_the_mean_and_of_the_system(case):
    local, *_ = case
    found = shared_error(local, torch.ones(M), torch.full((M,), 0.75), 2)
    e = torch.tensor([[1.0, -0.5]])
    mean, left = found.of(torch.full((1, M), 5.0), torch.tensor([0.25]), e)
    torch.testing.assert_close(mean, 5 * torch.exp(e @ found.loading.mT))  # 0.25 + 0.75: the variance of one run
    torch.testing.assert_close(left[0], found.rest)


def test_fewer_runs_than_components():
    local = Emulator(torch.zeros(D), torch.zeros(M), torch.ones(M, D), torch.randn(4, M), identity)
    assert shared_error(local, torch.ones(M), torch.zeros(M), 48).count == 4


def posterior(local, slope, data, count):
    """Chains for log data around `exp(slope z)` as of one run: errors drawn along, or (count 0) taken for independent noise."""
    errors = shared_error(local, torch.ones(M), torch.ones(M), count)

    def log_density(both):
        z, e = both.split([D, errors.count], -1)
        mean, left = errors.of(local(z), torch.zeros(len(z)), e)
        variance = SCATTER**2 + left
        fit = ((data - mean.log()) ** 2 / variance + variance.log()).sum(1)
        return -0.5 * (fit + both.square().sum(1))

    return sample_chains(
        log_density, WithErrors(make_flow("gaussian", D, seed=0), errors.count), chains=64, warmup=100, draws=150,
        generator=torch.Generator().manual_seed(1),
    ).z.flatten(0, 1)[:, :D]  # fmt: skip


def test_posterior_is_that_of_correlated_errors_and_not_of_independent_noise(case):
    local, slope, covariance = case
    total = covariance + SCATTER**2 * torch.eye(M)
    truth = torch.tensor([0.7, -0.4])
    data = truth @ slope.mT + torch.linalg.cholesky(total) @ torch.randn(M, generator=torch.Generator().manual_seed(2))
    precision = torch.eye(D) + slope.mT @ torch.linalg.solve(total, slope)
    wanted = torch.linalg.inv(precision)
    centre = wanted @ slope.mT @ torch.linalg.solve(total, data)
    together, alone = (posterior(local, slope, data, count) for count in (2, 0))
    torch.testing.assert_close(together.mean(0), centre, atol=0.02, rtol=0)
    torch.testing.assert_close(together.mT.cov(), wanted, rtol=0.15, atol=2e-3)
    # as much noise in each output, but taken for independent: factor of what only the common error could tell
    assert float(alone[:, 0].std()) < 0.6 * float(wanted[0, 0].sqrt())
