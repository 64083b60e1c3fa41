"""The whole method on a problem of two fidelities with a closed form, stopped and resumed."""

import math

import pytest
import torch
from torch.distributions import LogNormal, Normal

from calib import FitConfig, Parameter, ParameterSpace
from calib.multifidelity import Fidelity, Problem, Recorder, Settings, Stream, observe, sample
from tests.conftest import double_precision

D, M = 3, 12
SETTINGS = Settings(
    warm_steps=5, warm_runs=4, level_runs=10, rounds=1, round_runs=24, round_jacobians=4, chain_draws=60, held_out_runs=20,
    fit=FitConfig(particles=32, max_steps=200),
)  # fmt: skip


def two_fidelities(quadratic=0.0):
    """Log outputs linear in three parameters; log-normal data; a low fidelity with Jacobians whose level is half of what it should be.

    Returns:
        The problem, and mean and standard deviation of the posterior in closed form; with `quadratic` not 0, squares of the parameters join
        the log outputs and there is no closed form.
    """
    g = torch.Generator().manual_seed(0)
    slope = 0.5 * torch.randn(M, D, generator=g, dtype=torch.float64)
    unit = Normal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    sd = LogNormal(torch.tensor(math.log(0.2), dtype=torch.float64), torch.tensor(0.01, dtype=torch.float64))
    space = ParameterSpace((*(Parameter(f"p{i}", unit) for i in range(D)), Parameter("sd", sd)))
    truth = torch.tensor([0.8, -0.5, 1.0], dtype=torch.float64)
    data = torch.exp(slope @ truth + 0.2 * torch.randn(M, generator=g, dtype=torch.float64)) * 5

    def simulate(z, seed, fidelity, first=0):
        chance = torch.stack([
            torch.randn(M, generator=torch.Generator().manual_seed(seed + first + i), dtype=torch.float64) for i in range(len(z))
        ])  # fmt: skip
        level = 5.0 if fidelity.name == "full" else 2.5
        return level * torch.exp(z[:, :D] @ slope.T + quadratic * z[:, :D].square() @ slope.T + 0.02 * chance)

    def jacobian(z, seed, fidelity, first=0):
        value = simulate(z, seed, fidelity, first)
        along = slope * (1 + 2 * quadratic * z[:, None, :D])
        return value, value[..., None] * torch.nn.functional.pad(along, (0, 1))

    stream = Stream(slice(0, M), data[:, None], "log-normal", "sd")
    precision = torch.eye(D, dtype=torch.float64) + slope.T @ slope / 0.2**2
    mean = torch.linalg.solve(precision, slope.T @ (data / 5).log() / 0.2**2)
    own = Problem(
        space, observe(space, [stream], floor=1e-3), simulate,
        (Fidelity("full", ("values",), 10.0), Fidelity("sample", ("start", "slopes"))), jacobian,
        floor=1e-3, people_per_agent=torch.full((M,), 1e4, dtype=torch.float64), fingerprint="two fidelities",
    )  # fmt: skip
    return own, mean, torch.linalg.inv(precision).diagonal().sqrt()


@pytest.fixture(scope="module")
def problem():
    return two_fidelities()


@pytest.fixture(scope="module")
def whole(problem):
    """A run that nothing stopped."""
    with double_precision():
        return sample(problem[0], SETTINGS)


def test_posterior_is_the_closed_form_with_the_level_of_the_high_fidelity(problem, whole):
    (_, mean, sd), found = problem, whole
    z = found.drawn.chains.z.flatten(0, 1)[:, :D]
    assert float(((z.mean(0) - mean) / sd).abs().max()) < 0.2
    assert float((z.std(0) / sd).log().abs().max()) < 0.15
    assert found.simulations["rounds"] == 24
    assert found.held_out["rms"] < 1.5


class Stopped(Recorder):
    """Stops where a round begins."""

    def phase(self, name):
        if name == "round_1":
            raise KeyboardInterrupt
        return super().phase(name)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(problem, whole, tmp_path):
    own = problem[0]
    with pytest.raises(KeyboardInterrupt):
        sample(own, SETTINGS, Stopped(tmp_path, own.fingerprint))
    second = sample(own, SETTINGS, Recorder(tmp_path, own.fingerprint))
    assert torch.equal(second.drawn.chains.z, whole.drawn.chains.z)
