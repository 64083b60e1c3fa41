"""Influenza-like illness of Massachusetts: no forecast knows what came later, and scores are what they say."""

import doctest
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import experiments.ili._data
from experiments._forecast_scores import normalised_deviation
from experiments.ili._data import FORECAST_WEEKS, epiweek_at, place, read, without
from experiments.ili._models import MODELS, EpidemicModel, extended
from experiments.ili._protocol import Forecast, forecast, rows, score

AT = place(201802) + 1


@pytest.fixture(scope="module")
def whole():
    """The tables."""
    return read()


def test_examples():
    assert doctest.testmod(experiments.ili._data).failed == 0


def test_weeks_of_the_protocol(whole):
    assert len(FORECAST_WEEKS) == 13
    assert (FORECAST_WEEKS[0], FORECAST_WEEKS[-1]) == (201746, 201818)
    assert [epiweek_at(place(w)) for w in FORECAST_WEEKS] == list(FORECAST_WEEKS)
    assert place(201502) == 15  # 2014 had 53 weeks
    assert whole.past.shape == (7, 35)
    assert whole.weeks == 35
    assert np.isfinite(whole.past[:, :33]).all()


@pytest.mark.parametrize("name", ["main", "gru", "gru_this_season", "hub_baseline", "random_walk"])
def test_later_data_do_not_change_a_forecast(whole, name):
    later = replace(whole, ill=whole.ill.copy(), searches=whole.searches.copy())
    later.ill[AT:] = 9.0
    later.searches[AT:] = 7.0
    one, other = (forecast(name, data, AT, 0) for data in (whole, later))
    np.testing.assert_array_equal(one.quantiles, other.quantiles)
    earlier = replace(whole, ill=whole.ill * np.linspace(1.0, 2.0, whole.weeks))
    assert (forecast(name, earlier, AT, 0).quantiles != one.quantiles).any()


def test_a_mean_field_epidemic_of_every_season(whole):
    """Illness is at least its background, and more susceptible people make a larger epidemic."""
    composed = EpidemicModel().composed(whole.until(AT))
    z = torch.zeros(2, composed.space.dim, dtype=torch.float64)
    theta = composed.theta_of(composed.physical(z))
    theta["susceptible"] = theta["susceptible"] + torch.tensor([0.0, 0.3]).double()[:, None, None]
    log_ill = EpidemicModel().log_ill(theta)
    assert log_ill.shape == (2, 8, 35)
    assert (log_ill >= theta["level"][:, None, None] - 1e-9).all()
    assert (log_ill[1].amax(1) > log_ill[0].amax(1)).all()


def test_searches_go_on_as_they_were(whole):
    found = extended(whole.until(AT))
    torch.testing.assert_close(found[AT], found[-1])
    torch.testing.assert_close(found[AT], torch.as_tensor(np.log(whole.searches[AT - 2 : AT] + 0.05)).mean(0))


def test_validation_leaves_the_season_out(whole):
    own = without(whole, 2)
    assert own.past.shape == (6, 35)
    np.testing.assert_array_equal(own.ill, whole.past[2, :33])
    assert not (own.past == own.ill[5]).any()


def test_scores(whole):
    truth = whole.ill[AT : AT + 4]
    perfect = Forecast("perfect", 201802, np.repeat(truth[:, None], 23, 1), float("nan"), 0, 0.0)
    table = score([perfect], whole)
    assert (table["nd"] == 0.0).all()
    assert (table["relative_wis"] == 0.0).all()
    made = rows([perfect])
    assert list(made.columns) == ["model", "forecast_epiweek", "state", "epiweek", "quantile", "value"]
    assert list(made["epiweek"].unique()) == [201803, 201804, 201805, 201806]


def test_committed_results_are_of_the_protocol():
    folder = experiments.ili._data.HERE / "results"
    made, scores, data = pd.read_csv(folder / "forecasts.csv"), pd.read_csv(folder / "scores.csv"), read()
    assert set(made["model"]) == set(MODELS)
    middle = made[(made["model"] == "main") & (made["quantile"] == 0.5)]
    assert len(middle) == 13 * 4
    nd = [
        normalised_deviation(group["value"].to_numpy(), data.ill[place(w) + 1 : place(w) + 5])
        for w, group in middle.groupby("forecast_epiweek")
    ]
    mean = scores[(scores["model"] == "main") & (scores["forecast_epiweek"] == "mean")]
    assert float(mean["nd"].iloc[0]) == pytest.approx(np.mean(nd), rel=1e-5)
