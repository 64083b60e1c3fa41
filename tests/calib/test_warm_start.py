"""Gauss-Newton against linear-Gaussian closed forms, with and without simulator noise."""

import pytest
import torch

from calib._flows import make_flow
from calib._warm_start import Linearised, cold_start, gauss_newton, start_flow

DIM = 4


def linear_gaussian(noise=0.0):
    g = torch.Generator().manual_seed(0)
    a = torch.randn(12, DIM, generator=g)
    y = a @ torch.tensor([1.0, -0.5, 2.0, 0.3]) + 0.1 * torch.randn(12, generator=g)
    precision = torch.eye(DIM) + a.T @ a / 0.01
    mean = torch.linalg.solve(precision, a.T @ y / 0.01)

    def linearise(z, seed):
        jitter = noise * torch.randn(len(z), 12, generator=torch.Generator().manual_seed(seed))
        residual = y - z @ a.T - jitter
        return Linearised(
            -0.5 * (residual**2).sum(-1) / 0.01, residual @ a / 0.01, (a.T @ a / 0.01).expand(len(z), DIM, DIM)
        )

    return linearise, mean, precision


def walk(linearise, iterations, particles=4):
    state = cold_start(DIM, torch.zeros(1))
    for _ in range(iterations):
        state = gauss_newton(linearise, state, particles=particles, seed=3)
    return state


def test_reaches_the_mode_and_its_covariance():
    linearise, mean, precision = linear_gaussian()
    state = walk(linearise, 8)
    torch.testing.assert_close(state.z, mean)
    torch.testing.assert_close(state.covariance, torch.linalg.inv(precision))
    assert state.simulations == 32


def test_noise_is_averaged_over_particles():
    linearise, mean, _ = linear_gaussian(noise=0.3)
    assert float((walk(linearise, 8, particles=64).z - mean).abs().max()) < 0.2


def test_steps_stay_inside_the_radius():
    linearise, _, _ = linear_gaussian()
    assert float(walk(linearise, 1).z.abs().max()) <= 1.0 + 1e-9


@pytest.mark.parametrize("name", ["gaussian", "gaussian-nsf"])
def test_flow_starts_at_the_approximation(name):
    linearise, mean, precision = linear_gaussian()
    flow = make_flow(name, DIM, seed=0)
    start_flow(flow, walk(linearise, 8))
    z = flow.sample(4000, torch.Generator().manual_seed(1))
    sd = torch.linalg.inv(precision).diagonal().sqrt()
    assert float(((z.mean(0) - mean) / sd).abs().max()) < 0.1
    torch.testing.assert_close(z.std(0) / sd, torch.ones(DIM), rtol=0.05, atol=0)


def test_must_fail_without_a_finite_particle_or_a_full_rank_layer():
    linearise, _, _ = linear_gaussian()

    def broken(z, seed):
        at = linearise(z, seed)
        return at._replace(value=at.value * float("nan"))

    with pytest.raises(ValueError, match="finite"):
        walk(broken, 1)
    with pytest.raises(ValueError, match="no full-rank layer"):
        start_flow(make_flow("maf", DIM, seed=0), walk(linearise, 1))
