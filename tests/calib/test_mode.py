import math

import pytest
import torch
from torch.distributions import Independent, LogNormal, Normal

from calib import FitError, Parameter, ParameterSpace, Source, calibrate
from calib._coordinates import Coordinates
from calib._mode import find_mode
from calib._observed import Evaluate

DIM = 6
G = torch.Generator().manual_seed(0)
DESIGN = torch.randn(20, DIM, generator=G, dtype=torch.float64)


def source(outputs, value, gradient="reverse", dim=DIM):
    space = ParameterSpace((Parameter("z", Normal(torch.zeros(dim), 1.0)),))
    return Source(lambda x, seed: outputs(x), value, Coordinates(space, natural=False), gradient, dim + 1)


@pytest.mark.parametrize("gradient", ["reverse", "forward"])
def test_linear_outputs_give_the_exact_posterior(gradient):
    data = DESIGN @ torch.full((DIM,), 2.5) + 0.1
    found = find_mode(
        source(lambda x: x @ DESIGN.T, lambda out: -0.5 * ((out - data) ** 2).sum(-1) / 0.04, gradient),
        budget=2000,
        seed=0,
    )
    information = DESIGN.T @ DESIGN / 0.04
    torch.testing.assert_close(found.information, information, atol=1e-8, rtol=1e-8)
    mean = torch.linalg.solve(torch.eye(DIM) + information, DESIGN.T @ data / 0.04)
    torch.testing.assert_close(found.z, mean, atol=2e-3, rtol=0)
    assert found.simulations == found.calls * (DIM + 1) <= 2000


def test_the_highest_of_two_modes_is_kept():
    """(x^2 - 4)^2 with a slope: from the centre either side may be found, from several starts the higher one is."""
    value = lambda out: -5.0 * (out[:, 0] ** 2 - 1.0) ** 2 + 3.0 * out[:, 0]  # noqa: E731
    found = find_mode(source(lambda x: x, value, dim=1), budget=400, seed=1)
    assert float(found.z) > 0.9
    assert found.heights[0] == max(found.heights)


def test_steps_stop_at_the_budget_and_failures_are_counted():
    value = lambda out: -0.5 * ((out - 3.0) ** 2).sum(-1)  # noqa: E731
    broken = lambda x: torch.where(x[:, :1] < 0, math.nan, x)  # noqa: E731
    found = find_mode(source(broken, value), budget=60, seed=0)
    assert found.simulations <= 60
    assert found.dropped > 0
    with pytest.raises(FitError, match="finite"):
        find_mode(source(lambda x: x * math.nan, value), budget=100, seed=0)
    with pytest.raises(ValueError, match="Jacobians"):
        find_mode(source(lambda x: x, value, "score"), budget=100, seed=0)


def test_a_mode_far_out_in_twenty_parameters_without_tuning():
    """Where new runs for every update (`vi`) end hundreds of nats away, and the verdict says so."""
    dim = 20
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(60, dim, generator=g) / dim**0.5
    truth = 1.8 * torch.nn.functional.normalize(torch.randn(dim, generator=g), dim=0) * dim**0.5
    curve = lambda theta, seed: torch.exp(2 * torch.tanh(theta["x"] @ mix.T))  # noqa: E731
    data = curve({"x": truth[None]}, 0)[0] * torch.exp(0.05 * torch.randn(60, generator=g))
    prior = {"x": Independent(Normal(torch.zeros(dim), 1.0), 1)}
    observed_with = lambda out: Independent(LogNormal(out.clamp_min(1e-9).log(), 0.05), 1)  # noqa: E731
    given = {"likelihood": observed_with, "budget": 4000, "seed": 1}
    found = calibrate(curve, prior, data, **given)
    assert found.report["method"].startswith("linearised-vi")
    assert found.report["simulations"] <= 4000
    assert found.report["k_hat"] < 0.7
    exact = find_mode(
        Source(lambda x, s: curve({"x": x}, s), Evaluate(observed_with, data), Coordinates(found.space), "reverse", 1),
        budget=200,
        seed=3,
    )
    scale = torch.linalg.inv(torch.eye(dim) + exact.information).diagonal().sqrt()
    draws = found.sample(4000, torch.Generator().manual_seed(0))["x"]
    assert float(((draws.mean(0) - exact.z) / scale).abs().max()) < 0.5
    torch.testing.assert_close(draws.std(0), scale, atol=0, rtol=0.35)
    assert calibrate(curve, prior, data, **given, method="vi").verdict.state in ("poor", "unfinished")
