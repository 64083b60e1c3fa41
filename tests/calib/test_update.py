"""Going on with a calibration and bringing it up to date, against conjugate posteriors."""

import doctest

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Independent, Normal

import calib._continue
import calib._update
from calib import Calibration, calibrate, continue_calibration, update

WEEKS = torch.arange(6.0, dtype=torch.float64)
NOISE = 0.5
DATA = torch.tensor([1.1, 1.9, 2.4, 3.9, 4.7, 5.2], dtype=torch.float64)
PRIOR = {"level": Normal(0.0, 2.0), "slope": Normal(0.0, 1.0)}
DESIGN = torch.stack([torch.ones(6, dtype=torch.float64), WEEKS], 1)


def line(theta, seed):
    return theta["level"][:, None] + theta["slope"][:, None] * WEEKS


def likelihood(out):
    return Independent(Normal(out, NOISE), 1)


def until(week):
    """The data of the first weeks; NaN for the rest."""
    return torch.where(week > WEEKS, DATA, torch.nan)


def exact(data, scatter=0.0):
    """Mean and sds of the conjugate posterior; `scatter` is the sd of the simulator's own noise."""
    calls = ~data.isnan()
    design = DESIGN[calls]
    precision = torch.diag(torch.tensor([0.25, 1.0], dtype=torch.float64)) + design.T @ design / (NOISE**2 + scatter**2)
    covariance = torch.linalg.inv(precision)
    return covariance @ design.T @ data[calls] / (NOISE**2 + scatter**2), covariance.diagonal().sqrt()


def assert_exact(found, data, mean=0.1, sd=1.1, scatter=0.0):
    draws = found.sample(4000, seed=0)
    x = torch.stack([draws["level"], draws["slope"]], 1).double()
    true_mean, true_sd = exact(data, scatter)
    assert float(((x.mean(0) - true_mean) / true_sd).abs().max()) < mean
    assert float((x.std(0) / true_sd).log().abs().max().exp()) < sd


@pytest.fixture(scope="module")
def three_weeks():
    return calibrate(line, PRIOR, until(3), likelihood=likelihood, budget=400)


def test_a_new_week_by_weights_is_exact_and_near_a_refit(three_weeks):
    found = update(three_weeks, until(4))
    assert found.report["update"]["step"] == "reweighted"
    assert found.report["update"]["k_hat"] < 0.7
    assert found.verdict.state == "good"
    assert found.report["simulations"] < three_weeks.report["simulations"]
    assert_exact(found, until(4))
    refit = calibrate(line, PRIOR, until(4), likelihood=likelihood, budget=400, seed=1)
    one, two = found.summary(), refit.summary()
    assert float(((one["mean"] - two["mean"]) / two["sd"]).abs().max()) < 0.1


def test_week_after_week(three_weeks):
    found = three_weeks
    for week in (4, 5, 6):
        found = update(found, until(week))
        assert_exact(found, until(week))
        assert found.report["budget"] == 400


def test_a_revision_counts_once(three_weeks):
    revised = until(3)
    revised[0] += 0.3
    assert_exact(update(three_weeks, revised), revised)


def test_data_that_the_last_posterior_does_not_reach_take_new_runs(three_weeks):
    surprise = until(6)
    surprise[3:] += 8.0
    found = update(three_weeks, surprise)
    assert found.report["update"]["step"] != "reweighted"
    assert found.report["update"]["k_hat"] > 0.7 or found.report["update"]["effective"] < 100
    assert found.verdict.state in ("good", "usable")
    assert_exact(found, surprise)


def test_refit_where_a_few_new_runs_do_not_do(three_weeks, monkeypatch):
    monkeypatch.setattr(calib._update, "BELIEVED", ())
    found = update(three_weeks, until(4))
    assert found.report["update"]["step"] == "refit"
    assert_exact(found, until(4))


def test_a_fit_without_an_emulator_simulates_the_draws_it_weighs():
    before = calibrate(line, PRIOR, until(3), likelihood=likelihood, budget=5000, method="vi", gradient_cost=1)
    found = update(before, until(4))
    assert found.report["update"]["step"] == "reweighted"
    assert found.report["update"]["draws"] == 400
    assert_exact(found, until(4), mean=0.3, sd=1.3)


def test_a_pyro_model_by_weights_is_exact():
    def model(data):
        level = pyro.sample("level", dist.Normal(0.0, 2.0))
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        for i, value in enumerate(data):
            pyro.sample(f"week_{i}", dist.Normal(level + slope * i, NOISE), obs=value)

    before = calibrate(model, data=DATA[:3], budget=6000)
    found = update(before, DATA[:4])
    assert found.report["update"]["step"] == "reweighted"
    assert found.verdict.state in ("good", "usable")
    assert_exact(found, until(4), mean=0.15, sd=1.15)


def noisy(theta, seed):
    """A line whose whole level scatters from run to run would need a covariance: here every week scatters by itself."""
    clean = line(theta, seed)
    return clean + 0.4 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_simulator_with_noise_learns_from_the_kept_runs():
    before = calibrate(noisy, PRIOR, until(3), likelihood=likelihood, budget=1200)
    found = update(before, until(4))
    assert found.report["update"]["step"] in ("reweighted", "further")
    assert_exact(found, until(4), mean=0.4, sd=1.3, scatter=0.4)
    further = continue_calibration(before, budget=1000)
    assert further.report["simulations"] == before.report["simulations"] + 1000
    assert_exact(further, until(3), mean=0.4, sd=1.3, scatter=0.4)


def test_new_data_must_have_the_shape_of_those_before(three_weeks):
    with pytest.raises(ValueError, match=r"shape \(7,\), expected \(6,\)"):
        update(three_weeks, torch.ones(7))


def test_a_calibration_from_a_file_holds_no_simulator(three_weeks, tmp_path):
    three_weeks.save(tmp_path)
    with pytest.raises(ValueError, match="holds no simulator"):
        continue_calibration(Calibration.load(tmp_path), budget=100)


def test_going_on_spends_more_and_keeps_every_run():
    curved = lambda theta, seed: line(theta, seed).sinh()  # noqa: E731
    wide = lambda out: Independent(Normal(out, 1.0), 1)  # noqa: E731
    first = calibrate(curved, PRIOR, torch.tensor([0.5, 1.0, 2.0, 3.5, 7.0, 12.0]), likelihood=wide, budget=200)
    further = continue_calibration(first, budget=600)
    assert first.verdict.state == "unfinished"
    assert further.verdict.state in ("good", "usable")
    assert torch.equal(further.runs.z[: len(first.runs)], first.runs.z)
    assert 200 < further.report["simulations"] <= 800
    assert further.report["parts"] == 2


def test_chains_go_on_from_chains():
    def model(data):
        level = pyro.sample("level", dist.Normal(0.0, 2.0))
        pyro.sample("data", dist.Normal(level, 1.0).expand([3]).to_event(1), obs=data)

    first = calibrate(model, data=torch.tensor([1.0, 2.0, 1.5]), budget=500)
    further = continue_calibration(first, budget=2000)
    assert further.chains.z.shape[0] > first.chains.z.shape[0]
    assert further.report["sampler"]["effective"] > first.report["sampler"]["effective"]
    assert abs(float(further.sample(1000)["level"].mean()) - 1.5 / (1 + 1 / 12)) < 0.15


def test_time_ends_a_calibration_and_it_goes_on():
    first = calibrate(line, PRIOR, DATA, likelihood=likelihood, budget=5000, max_seconds=1e-3)
    assert first.report["stopped_because"] == "max_seconds"
    assert first.report["rounds"] == []
    assert first.verdict.state != "good"
    further = continue_calibration(first, budget=1000)
    assert further.verdict.state == "good"
    assert_exact(further, DATA)


@pytest.mark.parametrize("method", ["vi", "abc-regression"])
def test_time_ends_other_methods(method):
    simulate = noisy if method == "abc-regression" else line
    found = calibrate(simulate, PRIOR, DATA, likelihood=likelihood, budget=3000, max_seconds=1e-3, method=method)
    assert found.report["stopped_because"] == "max_seconds"
    assert found.report["simulations"] < 3000


def test_docstrings():
    for module in (calib._continue, calib._update):
        assert doctest.testmod(module).failed == 0
