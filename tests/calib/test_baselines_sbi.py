import importlib.util
import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from calib import Calibration, Parameter, ParameterSpace, calibrate
from calib._baselines_sbi import BASELINES, baseline, train_baseline

HERE = importlib.util.find_spec("sbi") is not None
DESIGN = torch.tensor([[1.0, 0.5], [0.3, -1.0], [0.8, 0.8]], dtype=torch.float64)
DATA = torch.tensor([0.9, -0.4, 0.7], dtype=torch.float64)
SPACE = ParameterSpace((Parameter("effect", Independent(Normal(torch.zeros(2), 2.0), 1)),))
COVARIANCE = torch.linalg.inv(torch.eye(2, dtype=torch.float64) / 4 + DESIGN.T @ DESIGN / 0.09)
MEAN = COVARIANCE @ DESIGN.T @ DATA / 0.09


def linear(theta, seed):
    return theta["effect"] @ DESIGN.T


def observed_with(outputs):
    return Independent(Normal(outputs, 0.3), 1)


def run(method, **more):
    return calibrate(
        linear, SPACE, DATA, **{"likelihood": observed_with, "budget": 2000, "seed": 1, "method": method} | more
    )


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="needs the extra sbi")
@pytest.mark.parametrize("method", BASELINES)
def test_a_method_of_sbi_by_the_same_call(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # sbi would leave a folder of logs here
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    found = run(method)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002
    assert torch.get_default_dtype() == torch.float64
    assert not list(tmp_path.iterdir())
    assert found.report["method"] == method
    assert found.report["simulations"] <= 2000
    draws = found.sample(4000, torch.Generator().manual_seed(0))["effect"]
    sd = COVARIANCE.diagonal().sqrt()
    wide = 6.0 if method == "smc-abc" else 1.0  # rejection widens, networks of 1,900 simulations are off by some tenths
    assert float(((draws.mean(0) - MEAN) / sd).abs().max()) < wide
    assert ((draws.std(0) / sd > 0.6) & (draws.std(0) / sd < 8 * wide)).all()
    assert "k-hat" in str(found.verdict)
    found.save(tmp_path / "c")
    second = Calibration.load(tmp_path / "c").sample(5, torch.Generator().manual_seed(2))["effect"]
    torch.testing.assert_close(second, found.sample(5, torch.Generator().manual_seed(2))["effect"])


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="needs the extra sbi")
def test_same_seed_same_draws():
    draws = [run("nle", budget=500).sample(20, torch.Generator().manual_seed(0))["effect"] for _ in range(2)]
    torch.testing.assert_close(*draws, atol=0, rtol=0)


@pytest.mark.skipif(not HERE, reason="needs the extra sbi")
def test_trained_once_asked_for_many_data():
    before = torch.get_rng_state()
    trained = train_baseline("npe", linear, SPACE, likelihood=observed_with, budget=400, seed=3)
    first, second = trained.draw(DATA, 500, 3), trained.draw(DATA + 3 * DESIGN[:, 0], 500, 3)
    assert torch.equal(before, torch.get_rng_state())
    assert first.simulations == trained.simulations == 400
    moved = second.theta["effect"].mean(0) - first.theta["effect"].mean(0)
    torch.testing.assert_close(moved, torch.tensor([3.0, 0.0], dtype=torch.float64), atol=0.8, rtol=0)
    at_once = baseline("npe", linear, SPACE, DATA, likelihood=observed_with, budget=400, draws=500, seed=3)
    torch.testing.assert_close(at_once.theta, first.theta, atol=0, rtol=0)
    torch.testing.assert_close(trained.draw(DATA, 500, 3).theta, first.theta, atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="needs the extra sbi")
def test_simulations_that_fail_are_left_out_and_counted():
    broken = lambda theta, seed: torch.where(theta["effect"][:, :1] < -2.0, math.nan, linear(theta, seed))  # noqa: E731
    found = calibrate(broken, SPACE, DATA, likelihood=observed_with, budget=600, method="npe")
    assert 0 < found.report["dropped"] < 300


def test_what_a_method_of_sbi_needs():
    with pytest.raises(ValueError, match="no amortised baseline is called 'smc-abc'"):
        train_baseline("smc-abc", linear, SPACE, likelihood=observed_with, budget=100, seed=0)
    with pytest.raises(ValueError, match="likelihood="):
        run("npe", likelihood=None)
    with pytest.raises(ValueError, match="loss_weight"):
        run("npe", loss_weight=0.5)
    with pytest.raises(ValueError, match="no method is called"):
        run("snpe")


@pytest.mark.skipif(HERE, reason="sbi is installed")
def test_missing_sbi_is_named():
    with pytest.raises(ModuleNotFoundError, match="posterity\\[sbi\\]"):
        run("npe")
