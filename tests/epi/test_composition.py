"""Age compositions as odds, syndromic visits, surveys by wider ages, and household types by region."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

import epi
from epi import LogNormal, StudyError
from epi.data import load_data, odds_of_ages
from epi.errors import DataError
from epi.model.composition import odds_against_younger
from epi.population import build_population
from tests.epi.conftest import build
from tests.made_up.study import study

BANDS, REGIONS = study.ages.names, study.region.names
GROUPS = {"0-59": BANDS[:2], "60+": BANDS[2:]}
COMPOSITION = epi.AgeComposition(of="admissions_age", groups=GROUPS, table="ages.csv.odds")
VISITS = epi.SyndromicVisits(
    by="county",
    option="emergency",
    per_infection=LogNormal(0.05, 0.5),
    baseline=LogNormal(40.0, 0.3),
    delay=epi.Delay(8.0, 3.0),
)
SURVEY = epi.Serosurvey(
    by="survey_age",
    name="survey",
    age_groups={"20+": BANDS[1:]},
    sensitivity=epi.Beta(90.0, 10.0),
    specificity=epi.Beta(99.0, 1.0),
    seroconversion=epi.Delay(14.0, 5.0),
)
WIDER = replace(study, streams=(*study.streams[:-1], COMPOSITION, VISITS, SURVEY, study.streams[-1]))


@pytest.fixture
def folder(tmp_path):
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    counts = pd.DataFrame([[30, 12], [20, 10]], list(REGIONS), list(GROUPS))
    odds_of_ages(counts, date(2030, 4, 20), "admissions_age").to_csv(tmp_path / "ages.csv.odds", index=False)
    rows = [(str(w.date()), r, 40.0) for w in study.calendar.weeks() for r in REGIONS]
    pd.DataFrame(rows, columns=["week_ending", "county", "visits"]).to_csv(tmp_path / "visits_county.csv", index=False)
    survey = pd.DataFrame({"week_ending": ["2030-05-04"], "survey_age": ["20+"], "positive": [60], "tested": [500]})
    survey.to_csv(tmp_path / "survey.csv", index=False)
    return tmp_path


@pytest.fixture
def simulated(folder):
    simulator = build(WIDER, load_data(WIDER, folder))
    theta = simulator.space.to_theta(torch.zeros(1, simulator.space.dim))
    expected, epidemic = simulator.simulate(theta, 3)
    return simulator, theta, expected, epidemic


def test_odds_against_younger_give_the_composition_back():
    share = torch.tensor([0.2, 0.5, 0.3])
    odds = odds_against_younger(1000 * share)
    back = [1.0]
    for o in odds.tolist():
        back.append(o * sum(back))
    np.testing.assert_allclose(np.array(back) / sum(back), share.numpy())


def test_expected_odds_are_those_of_all_admissions_so_far(simulated):
    simulator, _, expected, epidemic = simulated
    risk = epidemic.infections * epidemic.admitted[..., None, :]
    admitted = torch.einsum("tu,ptra->pura", simulator.observation.admit, risk)
    last = study.calendar.day_of(study.calendar.weeks()[5].date())
    until = admitted[0, : last + 1].sum(0)
    odds = until[:, 2] / until[:, :2].sum(1)
    torch.testing.assert_close(expected["ages_of_admissions_age"][0, 5], odds)


def test_visits_are_those_of_the_epidemic_and_a_level(simulated):
    _, theta, expected, _ = simulated
    visits = expected["visits_county"][0]
    assert float(visits.min()) >= 40.0 - 1e-9
    more = theta["emergency_per_infection"] * 1e5 * expected["infections_county"][0].sum()
    people = simulated[0].observation.inhabitants
    found = ((visits - 40.0) * people).sum()
    assert 0.7 * float(more) < float(found) < float(more)


def test_a_survey_by_wider_ages_counts_their_people(simulated):
    simulator, theta, expected, epidemic = simulated
    people = torch.as_tensor(simulator.context.setting.data.population[:, 1:].sum())
    ever = float(epidemic.infections[..., 1:].sum() / people)
    positive = float(expected["survey"][0, -1, 0]) / 500
    se, sp = float(theta["serosurvey_sensitivity"]), float(theta["serosurvey_specificity"])
    assert 1 - sp < positive < ever * se + (1 - ever) * (1 - sp)


def test_the_jacobian_of_the_odds_moves_with_severity_by_age(simulated):
    simulator = simulated[0]
    z = torch.zeros(1, simulator.space.dim)
    _, slopes = simulator.jacobian(z, 3)
    at, rows = simulator.space.slice_of("severity_age").start, simulator.layout.slices["ages_of_admissions_age"]
    step = torch.zeros_like(z)
    step[:, at] = 1e-5
    ends = [simulator.layout.flat(simulator.bind(3)(simulator.space.to_theta(z + s * step))) for s in (1, -1)]
    torch.testing.assert_close(slopes[0, rows, at], ((ends[0] - ends[1]) / 2e-5)[0, rows], rtol=1e-5, atol=1e-7)


def test_groups_that_leave_out_a_band_are_refused():
    wrong = replace(COMPOSITION, groups={"0-19": BANDS[:1], "60+": BANDS[2:]})
    with pytest.raises(StudyError, match="each once in this order"):
        replace(WIDER, streams=(*study.streams[:-1], wrong, study.streams[-1]))


def test_more_positive_than_tested_is_one_sentence(folder):
    file = folder / "survey.csv"
    file.write_text(file.read_text().replace(",60,", ",600,"))
    with pytest.raises(DataError, match=r"has 600 positive of 500 tested for '20\+'.*no more positive than tested"):
        load_data(WIDER, folder)


def test_household_types_may_be_counted_by_region(folder):
    file = folder / "households.csv"
    table = pd.read_csv(file)
    table["North"] = np.where(table[list(BANDS)].sum(axis=1) <= 2, table["households"], 0) + 1
    table["South"] = np.where(table[list(BANDS)].sum(axis=1) > 2, table["households"], 0) + 1
    table.drop(columns="households").to_csv(file, index=False)
    data = load_data(study, folder)
    assert data.household_counts.shape == (2, len(table))
    population, _ = build_population(data, 0.5, 0)
    size = np.diff(population.household_start)
    region = population.group[population.household_start[:-1]] // len(BANDS)
    assert size[region == 0].mean() < size[region == 1].mean()
