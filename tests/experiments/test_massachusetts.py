"""Deaths of Massachusetts counties: no forecast knows what came later, and scores are what they say."""

import doctest
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

import experiments.massachusetts._data
from epi.data import load_data
from experiments._forecast_scores import errors, intervals, normalised_deviation
from experiments.massachusetts._covariates import covariates
from experiments.massachusetts._daily import Days
from experiments.massachusetts._data import FORECAST_WEEKS, SERIES, read, week_end
from experiments.massachusetts._models import MODELS, NUMBERS, Counted, EpidemicModel
from experiments.massachusetts._protocol import ALL, LEVELS, Forecast, forecast, rows, score, truth
from experiments.massachusetts._seirm import Seirm, delay_matrix, knot_matrix
from experiments.massachusetts.study import study

EARLY = 202014


@pytest.fixture(scope="module")
def whole():
    """The tables."""
    return read()


@pytest.fixture(scope="module")
def altered(whole):
    """The tables with other numbers after the first forecast week."""
    known, rng = whole.until(EARLY).days, np.random.default_rng(0)
    later = {}
    for name in SERIES:
        values = getattr(whole, name).copy()
        values[known:] = rng.poisson(50, values[known:].shape)
        later[name] = values
    return replace(whole, **later)


def test_examples():
    assert doctest.testmod(experiments.massachusetts._data).failed == 0


def test_tables_hold_the_weeks_of_the_protocol(whole):
    assert FORECAST_WEEKS == (202014, 202016, 202018, 202020, 202022, 202024, 202026, 202028, 202030)
    assert len(whole.counties) == 10
    assert week_end(202030) == date(2020, 7, 25)
    assert whole.last_day == date(2020, 8, 22)
    assert whole.until(EARLY).last_day == date(2020, 4, 4)
    assert whole.until(EARLY).weekly("deaths")[-1].sum() == 116
    with pytest.raises(ValueError, match="choose an earlier week"):
        whole.until(202040)


@pytest.mark.parametrize("name", ["main", "gru", "hub_baseline", "random_walk"])
def test_later_data_do_not_change_a_forecast(whole, altered, name, monkeypatch):
    """The same at two forecasts from tables that differ after the forecast week; and other at a table that differs before."""
    numbers = None
    if isinstance(MODELS[name], EpidemicModel):  # one fit is as good as many here
        monkeypatch.setattr("experiments.massachusetts._models.DRAWS", 50)
        numbers = NUMBERS
        monkeypatch.setitem(ALL, name, replace(MODELS[name], numbers_of="main"))
    one, other = (forecast(name, data, EARLY, 0, numbers) for data in (whole, altered))
    np.testing.assert_array_equal(one.daily, other.daily)
    np.testing.assert_array_equal(one.weekly, other.weekly)
    assert one.daily.shape == (10, 28, len(LEVELS))
    assert (np.diff(one.daily) >= 0).all()
    if name == "random_walk":
        before = replace(whole, deaths=whole.deaths * 2)
        assert (forecast(name, before, EARLY, 0).daily != one.daily).any()


@pytest.mark.slow
def test_later_data_do_not_change_the_agents_forecast(whole, altered):
    one, other = (forecast("agents", data, EARLY, 0) for data in (whole, altered))
    np.testing.assert_array_equal(one.daily, other.daily)


def test_the_study_of_agents_reads_its_tables():
    data = load_data(study)
    assert data.population.sum() == pytest.approx(4_377_000, rel=0.001)
    deaths = data.series["deaths_county"]
    assert deaths.loc["2020-04-04"].sum() == 116
    one = household_sizes(data)
    assert one[0] == pytest.approx(0.267, abs=0.02)  # drawn from the shares of the census
    assert (one * np.arange(1, len(one) + 1)).sum() == pytest.approx(2.55, abs=0.05)
    assert {p.name for p in study.parameters()} >= {"transmission_household", "effect_closing", "fatality_level"}


def household_sizes(data):
    """Share of households by size."""
    size = data.household_types.sum(1)
    counted = np.bincount(size, weights=data.household_counts)[1:]
    return counted / counted.sum()


def test_covariates_end_with_what_is_known(whole, altered):
    (one, names), (other, _) = (covariates(data.until(EARLY), 11) for data in (whole, altered))
    torch.testing.assert_close(one, other)
    assert "covid-like illness" not in names  # not reported yet
    assert one.shape == (10, 11, 4)
    assert len(covariates(whole, 31)[1]) == 5
    torch.testing.assert_close(one[:, 7], one[:, 10])


def test_the_epidemic_grows_at_the_rate_of_its_generation_time():
    """With exponential periods R = (1 + 3 r)(1 + 2.5 r); by daily steps, which round up, to a few per cent."""
    epidemic = Seirm(torch.tensor([1e9]).double(), torch.tensor([0.01]).double(), 10)
    theta = {"first": torch.tensor([0.9]), "closed": torch.tensor([0.9]), "seed_level": torch.tensor([0.0])}
    theta |= {"seed": torch.zeros(1, 1, 1), "transmission": torch.zeros(1, 1, 10)}
    new = epidemic.incidence({k: v.double() for k, v in theta.items()}, 40)[0, :, 0]
    rate = float((new[39] / new[38]).log())
    expected = float(torch.tensor(0.9).exp())
    assert (np.expm1(rate) * 3 + 1) * (np.expm1(rate) * 2.5 + 1) == pytest.approx(expected, rel=0.02)


def test_delays_and_knots_are_shares():
    matrix = delay_matrix((21.0, 9.0), 120)
    assert float(matrix[:, 0].sum()) == pytest.approx(1.0, abs=1e-6)
    mean = float((matrix[:, 0] * torch.arange(120)).sum())
    assert mean == pytest.approx(20.5, abs=0.1)  # a day is cut at its end
    torch.testing.assert_close(knot_matrix(5, 40).sum(1), torch.ones(40, dtype=torch.float64))


def test_days_of_a_week_sum_to_its_expectation(whole):
    days = Days.learn(whole.until(202018))
    assert days.profile.sum() == pytest.approx(1.0)
    drawn = days.draw(np.full((400, 4, 2), 30.0), np.random.default_rng(0))
    assert drawn.shape == (3200, 2, 28)
    assert drawn.reshape(3200, 2, 4, 7).sum(3).mean() == pytest.approx(30.0, rel=0.01)
    variance = drawn.var(0).mean() / drawn.mean()
    assert variance == pytest.approx(days.dispersion, rel=0.05)


def test_information_is_one_over_the_variance(whole):
    observed = Counted.of(whole.until(EARLY), ("deaths", "cases"), NUMBERS)
    mean = torch.full((140,), 20.0, dtype=torch.float64)
    found = observed(mean[None])
    known = observed.information(mean)[~observed.data.isnan()]
    torch.testing.assert_close(known, (1 / found.variance[0])[~observed.data.isnan()])


def test_scores(whole):
    days = truth(whole, EARLY)
    assert normalised_deviation(days, days) == 0.0
    assert normalised_deviation(np.zeros_like(days), np.abs(days)) == 1.0
    assert errors(np.array([1.0, 5.0]), np.array([2.0, 3.0]))["nd"] == pytest.approx(3 / 5)
    levels = (0.025, 0.25, 0.5, 0.75, 0.975)
    quantiles = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    found = intervals(quantiles, np.array([3.5]), quantiles + 10.0, levels)
    # twice the mean pinball loss: 2/5 (0.025 3.5 + 0.25 2.5 + 0.5 1.5 + 0.75 0.5 + 0.025 0.5)
    assert found["wis"] == pytest.approx(0.4 * (0.0875 + 0.625 + 0.75 + 0.375 + 0.0125))
    assert found["coverage_50"] == 0.0
    assert found["coverage_95"] == 1.0
    assert found["relative_wis"] < 1.0
    perfect = Forecast(
        "perfect", EARLY, np.repeat(days[..., None], len(LEVELS), 2),
        np.repeat(days.reshape(10, 4, 7).sum(2).T[..., None], 23, 2), float("nan"), 0, 0.0, "",
    )  # fmt: skip
    table = score([perfect], whole)
    assert list(table["forecast_epiweek"]) == ["202014", "mean"]
    assert (table[["nd", "nd_weekly", "relative_wis_weekly"]] == 0.0).all(axis=None)
    assert (table["coverage_95_daily"] == 1.0).all()
    made = rows([perfect], whole)
    assert list(made.columns) == ["model", "forecast_epiweek", "county", "date", "quantile", "value"]
    assert len(made) == 10 * 28 * len(LEVELS)
    assert made["date"].min() == "2020-04-05"


def test_committed_results_are_of_the_protocol():
    folder = experiments.massachusetts._data.HERE / "results"
    made = pd.read_csv(folder / "forecasts.csv", dtype={"county": str})
    scores = pd.read_csv(folder / "scores.csv")
    assert {"main", "hub_baseline", "random_walk", "seirm", "agents"} <= set(made["model"])
    own = made[made["model"] == "main"]
    assert len(own) == 9 * 10 * 28 * len(LEVELS)
    middle = own[own["quantile"] == 0.5]
    data = read()
    nd = []
    for epiweek, group in middle.groupby("forecast_epiweek"):
        wide = group.pivot(index="county", columns="date", values="value").loc[list(data.counties)]
        nd.append(normalised_deviation(wide.to_numpy(), truth(data, epiweek)))
    mean = scores[(scores["model"] == "main") & (scores["forecast_epiweek"] == "mean")]
    assert float(mean["nd"].iloc[0]) == pytest.approx(np.mean(nd), rel=1e-5)
