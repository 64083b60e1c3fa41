"""Simulators that fail in a region, and simulators that fail by chance."""

import doctest

import torch
from torch.distributions import Independent, LogNormal, Normal

import calib._reachable
from calib import Calibration, calibrate
from calib._reachable import Reachable


def test_failures_by_chance_make_no_holes():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    chance = torch.rand(400, generator=generator) < 0.3
    assert not Reachable(z[~chance], z[chance], torch.eye(3, dtype=torch.float64)).region
    edge = z[:, 0] + z[:, 1] > 1
    learnt = Reachable(z[~edge], z[edge], torch.eye(3, dtype=torch.float64))
    fresh = torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    assert float((learnt(fresh) == (fresh[:, 0] + fresh[:, 1] <= 1)).double().mean()) > 0.93


def cut(theta, seed):
    """Outputs below an edge through the posterior."""
    out = torch.stack([theta["a"] * theta["b"], theta["a"] + theta["b"]], -1)
    return torch.where((out[:, 1] < 2.6)[:, None], out, torch.nan)


def test_a_posterior_that_ends_where_the_simulator_fails(tmp_path):
    prior = {"a": LogNormal(0.0, 0.4), "b": LogNormal(0.0, 0.4)}
    likelihood = lambda out: Independent(Normal(out, 0.4, validate_args=False), 1)  # noqa: E731
    data = torch.tensor([1.2, 2.4])
    axis = torch.linspace(0.1, 2.6, 300, dtype=torch.float64)
    a, b = (x.flatten() for x in torch.meshgrid(axis, axis, indexing="ij"))
    log = likelihood(cut({"a": a, "b": b}, 0)).log_prob(data) + prior["a"].log_prob(a) + prior["b"].log_prob(b)
    weight = torch.softmax(log.nan_to_num(nan=-torch.inf), 0)
    mean = weight @ a
    sd = (weight @ (a - mean) ** 2).sqrt()
    found = calibrate(cut, prior, data, likelihood=likelihood, budget=1500)
    assert found.verdict.state in ("good", "usable")
    draws = found.sample(4000)
    assert abs(float(draws["a"].double().mean() - mean)) < 0.1 * sd
    assert abs(float(draws["a"].double().std() / sd) - 1) < 0.1
    assert float((draws["a"] + draws["b"] > 2.7).double().mean()) < 0.05
    found.save(tmp_path)
    second = Calibration.load(tmp_path, likelihood=likelihood)
    assert torch.equal(second.sample(50)["a"], found.sample(50)["a"])


def test_docstring():
    assert doctest.testmod(calib._reachable, extraglobs={"torch": torch}).failed == 0
