"""Simulators that bring their own Jacobian, here and by workers; progress from the first simulation."""

import doctest
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

import calib._brings_jacobian
from calib import BringsJacobian, EachDraw, Round, Spent, calibrate
from calib._simulator import Rows

DESIGN = np.array([[1.0, 0.5, -0.2], [0.3, -1.0, 0.4], [0.8, 0.8, 1.0]])
PRIOR = {"effect": Normal(torch.zeros(2), torch.ones(2)), "shift": Normal(0.0, 2.0)}
DATA = torch.tensor([0.4, -0.9, 1.2])


def likelihood(out):
    return Independent(Normal(out, 0.3), 1)


def linear(theta, seed):
    """Outputs and derivatives by numpy, which leaves torch's graph."""
    x = np.concatenate([np.asarray(theta["effect"]), np.asarray(theta["shift"])[:, None]], 1)
    jacobian = np.broadcast_to(DESIGN, (len(x), 3, 3))
    return x @ DESIGN.T, {"effect": jacobian[:, :, :2], "shift": jacobian[:, :, 2]}


def one(theta, seed):
    x = np.append(theta["effect"], theta["shift"])
    return DESIGN @ x, {"effect": DESIGN[:, :2], "shift": DESIGN[:, 2]}


def exact():
    design, prior = torch.tensor(DESIGN), torch.diag(torch.tensor([1.0, 1.0, 0.25], dtype=torch.float64))
    covariance = torch.linalg.inv(prior + design.T @ design / 0.09)
    return covariance @ design.T @ DATA.double() / 0.09, covariance.diagonal().sqrt()


def assert_exact(found):
    draws = found.sample(4000, seed=0)
    x = torch.cat([draws["effect"], draws["shift"][:, None]], 1).double()
    mean, sd = exact()
    assert float(((x.mean(0) - mean) / sd).abs().max()) < 0.1
    assert float((x.std(0) / sd).log().abs().max()) < 0.1


@pytest.mark.parametrize("model", [linear, EachDraw(one)])
def test_derivatives_reach_the_parameters(model):
    rows = Rows(BringsJacobian(model))
    theta = {"effect": torch.randn(4, 2, dtype=torch.float64), "shift": torch.randn(4, dtype=torch.float64)}
    assert rows(theta, 0).shape == (4, 3)
    for value in theta.values():
        value.requires_grad_()
    outputs = rows(theta, 0)
    by_effect, by_shift = torch.autograd.grad(outputs[:, 1].sum(), list(theta.values()))
    torch.testing.assert_close(by_effect, torch.tensor(DESIGN[1, :2]).expand(4, 2))
    torch.testing.assert_close(by_shift, torch.tensor(DESIGN[1, 2]).expand(4))


@pytest.mark.parametrize("method", ["auto", pytest.param("linearised-vi", marks=pytest.mark.slow)])
def test_a_calibration_with_the_simulators_own_jacobian_is_exact(method):
    found = calibrate(BringsJacobian(linear), PRIOR, DATA, likelihood=likelihood, budget=400, method=method)
    assert found.report["gradient"] == "reverse"
    assert_exact(found)


def test_by_workers_it_is_the_same_and_kept_in_a_folder(tmp_path):
    arguments = {"likelihood": likelihood, "budget": 300, "draws_per_task": 20}
    with ThreadPoolExecutor(2) as pool:
        model = BringsJacobian(EachDraw(one))
        first = calibrate(model, PRIOR, DATA, executor=pool, folder=tmp_path, **arguments)
        second = calibrate(model, PRIOR, DATA, executor=pool, folder=tmp_path, resume=True, **arguments)
    assert first.report["gradient"] == "reverse"
    assert_exact(first)
    assert second.report["from_folder"] > 0
    assert torch.equal(first.sample(20)["effect"], second.sample(20)["effect"])


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (lambda t, s: t["shift"], TypeError, "expected a pair"),
        (lambda t, s: (linear(t, s)[0], {"shift": linear(t, s)[1]["shift"]}), ValueError, "no derivatives by 'effect'"),
        (lambda t, s: (linear(t, s)[0], {"effect": np.ones((4, 3)), "shift": 1.0}), ValueError, r"shape \(4, 3\)"),
    ],
)
def test_what_does_not_fit_is_said(model, error, match):
    theta = {"effect": torch.zeros(4, 2), "shift": torch.zeros(4)}
    with pytest.raises(error, match=match):
        BringsJacobian(model)(theta, 0)


def test_progress_begins_with_the_first_simulation():
    calls = []
    with ThreadPoolExecutor(1) as pool:
        calibrate(
            EachDraw(lambda theta, seed: one(theta, seed)[0]), PRIOR, DATA, likelihood=likelihood, budget=200,
            executor=pool, progress=calls.append,
        )  # fmt: skip
    first = next(i for i, item in enumerate(calls) if isinstance(item, Round))
    before = [item.simulations for item in calls[:first]]
    assert all(isinstance(item, Spent) for item in calls[:first])
    assert before[0] == 1
    assert before == sorted(before)
    assert calls[-1].simulations <= 200


def test_docstring():
    assert doctest.testmod(calib._brings_jacobian).failed == 0
