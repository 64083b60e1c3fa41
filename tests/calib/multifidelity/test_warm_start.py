"""Gauss-Newton on emulators against closed forms, with and without simulator noise."""

import pytest
import torch

from calib._flows import make_flow
from calib._gaussian_start import start_flow
from calib.multifidelity._emulator import EmulatorSettings
from calib.multifidelity._warm_start import Outputs, cold_start, gauss_newton
from tests.calib.multifidelity.emulators import fit_emulator

DIM, OUT, SD = 4, 12, 0.1


def log_linear(noise=0.0, broken=False):
    """Outputs exp(a z + chance), data log-normal around their mean: the posterior is Gaussian and known."""
    g = torch.Generator().manual_seed(0)
    a = 0.3 * torch.randn(OUT, DIM, generator=g)
    log_y = a @ torch.tensor([1.0, -0.5, 2.0, 0.3]) + SD * torch.randn(OUT, generator=g)
    precision = torch.eye(DIM) + a.T @ a / SD**2
    mean = torch.linalg.solve(precision, a.T @ log_y / SD**2)

    def jacobian(z, seed):
        chance = noise * torch.randn(len(z), OUT, generator=torch.Generator().manual_seed(seed))
        value = torch.exp(z @ a.T + chance - 0.5 * noise**2)
        value = value * float("nan") if broken else value
        return value, value[..., None] * a

    outputs = Outputs(
        jacobian,
        lambda z, m: -0.5 * ((log_y - m.log()) ** 2).sum(-1) / SD**2,
        lambda z, m, j: torch.einsum("pmd,pme->pde", j / m[..., None], j / m[..., None]) / SD**2,
        EmulatorSettings(1e-6),
    )
    return outputs, mean, precision


def walk(outputs, iterations, particles=4, dispersion=0.0):
    state = cold_start(DIM, torch.zeros(1))
    for _ in range(iterations):
        state = gauss_newton(outputs, state, particles=particles, seed=3, dispersion=dispersion)
    return state


def test_reaches_the_mode_and_its_covariance():
    outputs, mean, precision = log_linear()
    state = walk(outputs, 6)
    torch.testing.assert_close(state.z, mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(state.covariance, torch.linalg.inv(precision), rtol=1e-3, atol=1e-6)
    assert state.simulations == 24


@pytest.mark.parametrize("dispersion", [0.0, 1.0])
def test_the_pool_averages_chance_away(dispersion):
    """Single runs scatter by 0.5, five times the noise of the data; the mean of the pool does not."""
    outputs, mean, precision = log_linear(noise=0.5)
    off = [float((walk(outputs, n, particles=8, dispersion=dispersion).z - mean).norm()) for n in (2, 12)]
    sd = torch.linalg.inv(precision).diagonal().sqrt()
    assert off[1] < 4 * float(sd.norm())
    assert off[1] < off[0]


def test_steps_stay_inside_the_radius():
    outputs, _, _ = log_linear()
    assert float(walk(outputs, 1).z.abs().max()) <= 1.0 + 1e-9


def test_local_mean_is_exact_for_log_linear_outputs():
    outputs, _, _ = log_linear()
    z = torch.randn(6, DIM, generator=torch.Generator().manual_seed(1))
    local = fit_emulator(z, *outputs.jacobian(z, 0), floor=1e-9)
    there = torch.randn(3, DIM, generator=torch.Generator().manual_seed(2))
    value, jacobian = outputs.jacobian(there, 0)
    torch.testing.assert_close(local(there), value)
    torch.testing.assert_close(local.jacobian(there), jacobian)
    assert float(local.standard_error.max()) < 1e-9


def test_relative_error_of_the_local_mean_is_the_scatter():
    outputs, _, _ = log_linear(noise=0.3)
    z = torch.zeros(400, DIM)
    local = fit_emulator(z, *outputs.jacobian(z, 0), floor=1e-9)
    expected = (torch.tensor(0.3**2).exp() - 1).sqrt() / 20
    torch.testing.assert_close(local.standard_error, expected.expand(OUT), rtol=0.25, atol=0)
    assert float(((local(z[:1])[0] - 1) / local.standard_error).abs().max()) < 4


@pytest.mark.parametrize("name", ["gaussian", "gaussian-nsf"])
def test_flow_starts_at_the_approximation(name):
    outputs, mean, precision = log_linear()
    flow = make_flow(name, DIM, seed=0)
    start_flow(flow, (warm := walk(outputs, 8)).z, warm.covariance)
    z = flow.sample(4000, torch.Generator().manual_seed(1))
    sd = torch.linalg.inv(precision).diagonal().sqrt()
    assert float(((z.mean(0) - mean) / sd).abs().max()) < 0.1
    torch.testing.assert_close(z.std(0) / sd, torch.ones(DIM), rtol=0.05, atol=0)


def test_must_fail_without_finite_runs_or_a_full_rank_layer():
    with pytest.raises(ValueError, match="finite"):
        walk(log_linear(broken=True)[0], 1)
    with pytest.raises(ValueError, match="no full-rank layer"):
        start_flow(make_flow("maf", DIM, seed=0), torch.zeros(DIM), torch.eye(DIM))
    with pytest.raises(ValueError, match="at least 2"):
        fit_emulator(torch.zeros(1, 2), torch.ones(1, 3), torch.ones(1, 3, 2), floor=1.0)
