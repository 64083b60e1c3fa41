"""The BA.5 study: its tables are read, its facts fit together, and its people hold the first wave's immunity."""

import numpy as np
import pandas as pd
import pytest
import torch

import epi
from epi.data import load_data, observed
from experiments.nz_ba5.study import study
from experiments.nz_calibration.study import study as first
from tests.epi.conftest import build


@pytest.fixture(scope="module")
def data():
    """The tables."""
    return load_data(study)


def test_weeks_fitted_end_at_the_forecast_date(data):
    given = observed(data, study.calendar.weeks(), study.default_options)
    assert given.in_likelihood["cases_district"][:6].all()
    assert not any(in_likelihood[6:].any() for in_likelihood in given.in_likelihood.values())
    assert set(given.streams) == {"cases_district", "cases_age", "admissions_age", "deaths_age", "border_cohort"}


def test_importations_end_when_people_meet(data):
    table = data.importations
    assert table.index[0] == pd.Timestamp(study.calendar.start)
    assert table.index[-1] == pd.Timestamp(study.calendar.opened) - pd.Timedelta(days=1)


def test_nearly_everybody_counts_once_among_the_prior_cases(data):
    cases = (data.prior_cases.share * data.population).sum()
    assert cases == pytest.approx(802_800, rel=0.001)
    assert float(data.prior_cases.classes.sum(-1).min()) == pytest.approx(1.0)
    assert ((data.prior_cases.days > 15) & (data.prior_cases.days < 40)).all()


def test_more_doses_than_in_the_first_wave(data):
    third = [(d.vaccination[..., 3] * d.population).sum() for d in (data, load_data(first))]
    assert 1.3 * third[1] < third[0] < 0.6 * data.population.sum()


def test_its_parameters_are_those_of_the_first_study_but_for_seeding_and_prior_infection():
    own, other = ({p.name for p in s.parameters()} for s in (study, first))
    assert own - other == {
        "importation_factor", "prior_ascertainment", "prior_protection", "prior_half_life", "prior_against_severe",
    }  # fmt: skip
    assert {"seed_level", "seed_spread", "seed_growth", "district_seed", "ascertainment_pcr"} <= other - own


def test_the_more_infections_were_missed_the_fewer_people_are_left(data):
    simulator = build(study, data, scale=0.002, last=study.calendar.first_week)
    median = simulator.space.to_theta(torch.zeros(1, simulator.space.dim))
    totals = []
    for share in (0.9, 0.3):
        theta = median | {"prior_ascertainment": torch.full((1,), share)}
        totals.append(float(simulator.bind(1)(theta)["infections_district"].sum()))
    assert totals[1] < totals[0]
    assert np.isfinite(totals).all()
    assert isinstance(study.part(epi.PriorInfection), epi.PriorInfection)
