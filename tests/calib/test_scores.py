import json

import numpy as np
import pytest
import scoringrules

from calib._hub import HUB_COLUMNS, HUB_LEVELS, hub_rows, quantile_table
from calib._scores import Forecast, covered, score_forecast, score_run, weighted_interval_score

TAU = np.asarray(HUB_LEVELS)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def pinball(quantiles, observed):
    error = observed[..., None] - quantiles
    return np.maximum(TAU * error, (TAU - 1) * error)


def test_levels_are_the_hubs_23():
    assert len(HUB_LEVELS) == 23
    assert HUB_LEVELS[:3] == (0.01, 0.025, 0.05)
    assert HUB_LEVELS[11] == 0.5
    np.testing.assert_allclose(TAU, 1 - TAU[::-1])


def test_quantile_table_of_a_known_sample():
    draws = np.arange(101.0)[:, None, None] * np.ones((1, 2, 3))
    table = quantile_table(draws)
    assert table.shape == (2, 3, 23)
    np.testing.assert_allclose(table[0, 0], 100 * TAU)


def test_quantile_table_refuses_bad_draws():
    with pytest.raises(ValueError, match="1 of 4 predictive draws are not finite"):
        quantile_table(np.array([1.0, np.nan, 2.0, 3.0]))
    with pytest.raises(ValueError, match="at least one draw"):
        quantile_table(np.zeros((0, 3)))


def test_wis_is_twice_the_mean_pinball_loss_and_scoringrules_with_factor_one(rng):
    quantiles = np.sort(rng.normal(size=(4, 5, 23)), axis=-1)
    observed = rng.normal(size=(4, 5)) * 2
    score = weighted_interval_score(quantiles, observed)
    np.testing.assert_allclose(score.wis, 2 * pinball(quantiles, observed).mean(-1))
    lower, median, upper = quantiles[..., :11], quantiles[..., 11], quantiles[..., :11:-1]
    # the numba backend: the numpy backend of scoringrules 0.10 adds w_0 |median| in place of w_0 |y - median|
    theirs = scoringrules.weighted_interval_score(observed, median, lower, upper, 2 * TAU[:11], backend="numba")
    np.testing.assert_allclose(score.wis, theirs)


def test_parts_add_up_and_have_closed_forms():
    width = np.sort(np.linspace(-11, 11, 23))[None]
    exact = weighted_interval_score(width, np.zeros(1))
    assert exact.overprediction == pytest.approx(0)
    assert exact.underprediction == pytest.approx(0)
    # intervals of width 2k, k = 11..1, weighted by their lower levels
    assert exact.wis == pytest.approx(2 / 23 * np.sum(TAU[:11] * 2 * np.arange(11, 0, -1)))
    point = np.full((1, 23), 10.0)
    for observed, part in ((7.0, "overprediction"), (15.0, "underprediction")):
        score = weighted_interval_score(point, np.array([observed]))
        assert score.wis == pytest.approx(abs(observed - 10))  # a point forecast's WIS is its absolute error
        assert getattr(score, part) == pytest.approx(score.wis)


def test_wis_approximates_the_crps_of_a_normal():
    from scipy.stats import norm

    dense = (np.arange(999) + 0.5) / 999
    score = weighted_interval_score(norm.ppf(dense)[None], np.array([0.7]), levels=dense)
    assert score.wis == pytest.approx(scoringrules.crps_normal(0.7, 0.0, 1.0), rel=1e-3)


def test_wis_refuses_crossed_quantiles_wrong_shapes_and_lopsided_levels():
    good = np.arange(23.0)[None]
    with pytest.raises(ValueError, match="decrease"):
        weighted_interval_score(good[:, ::-1], np.zeros(1))
    with pytest.raises(ValueError, match=r"expected quantiles \[..., level\]"):
        weighted_interval_score(good, np.zeros(2))
    with pytest.raises(ValueError, match="symmetric"):
        weighted_interval_score(good[:, :3], np.zeros(1), levels=(0.1, 0.5, 0.8))


def test_coverage_counts_ends_and_skips_the_unknown():
    quantiles = np.tile(100 * TAU, (4, 1))
    inside = covered(quantiles, np.array([2.5, 97.6, 50, np.nan]), 0.95)
    np.testing.assert_array_equal(inside, [1, 0, 1, np.nan])
    with pytest.raises(ValueError, match="82%"):
        covered(quantiles, np.zeros(4), 0.82)


def test_calibrated_forecasts_cover_as_they_say(rng):
    from scipy.stats import gamma

    quantiles = np.tile(gamma.ppf(TAU, 5, scale=20), (11, 400, 1))
    observed = rng.gamma(5, 20, size=(11, 400))
    scores = score_forecast(quantiles, observed, quantiles, "x", [str(i) for i in range(400)])
    mean = scores.mean()
    assert mean["coverage_50"] == pytest.approx(0.5, abs=0.03)
    assert mean["coverage_95"] == pytest.approx(0.95, abs=0.015)
    assert mean["relative_wis"] == pytest.approx(1)
    assert mean["cells"] == 4400


def test_relative_score_is_the_ratio_of_means_over_known_cells():
    forecast = np.full((2, 2, 23), 10.0)
    baseline = np.full((2, 2, 23), 20.0)
    observed = np.array([[11.0, 14.0], [np.nan, 10.0]])
    scores = score_forecast(forecast, observed, baseline, "x", ["a", "b"], horizons=[3, 7])
    assert scores.mean()["wis"] == pytest.approx((1 + 4 + 0) / 3)
    assert scores.mean()["relative_wis"] == pytest.approx(5 / (9 + 6 + 10))
    summary = scores.summary(periods=((1, 4), (5, 11)))
    assert [row["horizon"] for row in summary["by_horizon"]] == [3, 7]
    assert summary["by_horizon"][1]["wis"] == pytest.approx(0)
    assert summary["by_place"][0]["cells"] == 1
    assert summary["overall"]["1-4"]["wis"] == pytest.approx(2.5)
    assert summary["overall"]["5-11"]["cells"] == 1
    assert scores.log.wis[0, 0] == pytest.approx(np.log(12 / 11))


def test_scores_without_any_observation_are_none():
    table = np.full((1, 1, 23), 1.0)
    scores = score_forecast(table, np.array([[np.nan]]), table, "x", ["a"])
    assert scores.mean()["wis"] is None
    assert scores.mean()["relative_wis"] is None
    json.dumps(scores.summary(), allow_nan=False)


def cells_by_hand(rng, horizons=3, places=4):
    """Quantiles and observations; counts at p0 are a thousand times those elsewhere, so that it decides any mean."""
    size = np.array([1e5, 100.0, 100.0, 100.0])
    observed = np.round(size * rng.uniform(0.9, 1.1, (horizons, places)))
    quantiles = size[:, None] * np.linspace(0.8, 1.2, 23) * np.ones((horizons, 1, 1))
    return quantiles, observed, [f"p{i}" for i in range(places)]


@pytest.mark.parametrize("gap", ["forecast", "baseline", "both"])
def test_equal_forecasts_have_relative_score_one_whatever_is_missing(rng, gap):
    quantiles, observed, places = cells_by_hand(rng)
    forecast, baseline = quantiles.copy(), quantiles.copy()
    if gap != "baseline":
        forecast[:, 0] = np.nan
    if gap != "forecast":
        baseline[0, 1, 7] = np.nan
    scored = 9 if gap != "baseline" else 12
    if gap == "baseline":
        scores = score_forecast(forecast, observed, baseline, "x", places)
    else:
        with pytest.warns(UserWarning, match=r"missing in 3 of 12 cells with an observation \(p0\)"):
            scores = score_forecast(forecast, observed, baseline, "x", places)
    mean = scores.mean()
    assert mean["relative_wis"] == pytest.approx(1, abs=1e-12)
    assert mean["relative_wis_log"] == pytest.approx(1, abs=1e-12)
    assert mean["cells"] == scored
    assert mean["missing_forecast"] == 12 - scored
    assert mean["missing_baseline"] == (gap != "forecast")
    assert mean["compared"] == scored - (gap != "forecast")
    json.dumps(scores.summary(), allow_nan=False)


def test_a_missing_forecast_is_not_a_miss_of_its_interval(rng):
    quantiles, observed, places = cells_by_hand(rng)
    forecast = quantiles.copy()
    forecast[1, 2] = np.nan
    with pytest.warns(UserWarning, match="missing in 1 of 12"):
        scores = score_forecast(forecast, observed, quantiles, "x", places)
    assert np.isnan(scores.inside_95[1, 2])
    assert scores.mean()["coverage_95"] == 1
    assert scores.mean((1, 2))["wis"] is None
    # a cell that lacks a single quantile has no score and no part of one
    part = weighted_interval_score(np.where(np.arange(23) == 11, np.nan, np.arange(23.0))[None], np.zeros(1))
    assert np.isnan([part.wis, part.dispersion, part.overprediction, part.underprediction]).all()


def test_a_worse_forecast_stays_worse_with_gaps(rng):
    quantiles, observed, places = cells_by_hand(rng)
    forecast = quantiles * 1.5
    forecast[:, 0] = np.nan
    with pytest.warns(UserWarning, match="missing"):
        mean = score_forecast(forecast, observed, quantiles, "x", places).mean()
    assert mean["relative_wis"] > 5


def test_negative_counts_leave_both_scales_alike(rng):
    quantiles, observed, places = cells_by_hand(rng)
    observed[0, 1], observed[2, 3] = -0.5, -40
    with pytest.warns(UserWarning, match=r"2 observations of x are negative \(p1, p3\)"):
        scores = score_forecast(quantiles, observed, quantiles, "x", places)
    np.testing.assert_array_equal(np.isnan(scores.natural.wis), np.isnan(scores.log.wis))
    mean = scores.mean()
    assert (mean["cells"], mean["negative_observed"], mean["missing_forecast"]) == (10, 2, 0)
    assert np.isfinite([mean["wis"], mean["wis_log"]]).all()


def test_infinite_values_are_refused():
    table = np.full((1, 1, 23), np.inf)
    with pytest.raises(ValueError, match="23 quantiles and 0 observations are infinite"):
        score_forecast(table, np.zeros((1, 1)), np.zeros((1, 1, 23)), "x", ["a"])


def test_score_run_counts_cells_without_draws(rng):
    draws = rng.poisson(100, size=(200, 4, 3)).astype(float)
    draws[:, :, 1] = np.nan
    forecast = Forecast(draws, rng.poisson(100, size=(4, 3)), 100 + rng.normal(size=(6, 3)), ["a", "b", "c"])
    with pytest.warns(UserWarning, match=r"\(b\)"):
        result = score_run({"x": forecast}, np.random.default_rng(0))["x"]
    assert result["overall"]["1-4"]["missing_forecast"] == 4
    assert result["by_place"][1]["relative_wis"] is None
    draws[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 2400 predictive draws are not finite"):
        score_run({"x": forecast}, np.random.default_rng(0))


def test_score_refuses_negative_quantiles_and_wrong_axes():
    table = np.zeros((1, 2, 23))
    with pytest.raises(ValueError, match="negative"):
        score_forecast(table - 1, np.zeros((1, 2)), table, "x", ["a", "b"])
    with pytest.raises(ValueError, match=r"\[horizon, place\]"):
        score_forecast(table, np.zeros((1, 2)), table, "x", ["a"])


def test_score_run_writes_the_agreed_dictionary(rng):
    draws = rng.poisson(100, size=(200, 11, 3)).astype(float)
    history = 100 + rng.normal(size=(6, 3)) * 30
    forecast = Forecast(draws, rng.poisson(100, size=(11, 3)), history, ["a", "b", "c"])
    result = score_run({"cases_district": forecast}, np.random.default_rng(0))
    assert set(result["cases_district"]) == {"by_horizon", "by_place", "overall"}
    assert set(result["cases_district"]["overall"]) == {"1-4", "5-11"}
    keys = {"horizon", "wis", "baseline_wis", "relative_wis", "coverage_50", "coverage_95"}
    assert keys <= set(result["cases_district"]["by_horizon"][0])
    assert result["cases_district"]["by_place"][2]["place"] == "c"
    json.dumps(result, allow_nan=False)
    assert result == score_run({"cases_district": forecast}, np.random.default_rng(0))


def test_hub_rows():
    quantiles = np.arange(2 * 3 * 23.0).reshape(2, 3, 23)
    rows = hub_rows(quantiles, "2022-03-13", "cases", ["a", "b", "c"], horizons=[1, 5])
    assert tuple(rows.columns) == HUB_COLUMNS
    assert len(rows) == 138
    last = rows.iloc[-1]
    assert (last.horizon, last.target_end_date, last.location) == (5, "2022-04-17", "c")
    assert (last.output_type, last.output_type_id, last.value) == ("quantile", 0.99, 137)
    with pytest.raises(ValueError, match=r"expected \[horizon, location, level\]"):
        hub_rows(quantiles, "2022-03-13", "cases", ["a", "b"])
