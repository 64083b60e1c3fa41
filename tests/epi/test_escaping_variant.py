"""Two variants in one epidemic, the odds of their sequences, and reports that are still to come."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

import epi
from epi import LogitNormal
from epi.data import load_data, share_known
from epi.errors import DataError, StudyError
from epi.model import parameter_space
from epi.model.escaping_variant import TruncationModel, escaped, new_odds
from epi.model.setting import Setting, prepare
from epi.population import build_population
from experiments.nyc_omicron.study import study
from sim import PERIOD


@pytest.fixture(scope="module")
def setting():
    """New York's study with a few thousand people."""
    data = load_data(study)
    population, _ = build_population(data, 0.001, seed=0)
    return Setting(data, population, 120, study.calendar.weeks(), torch.device("cpu"), torch.float64)


@pytest.fixture(scope="module")
def hosts(setting):
    """The variant, its disease's and prior infections' tables, and median parameters with two variants that differ."""
    model = {type(m).__name__: m for m in (prepare(p, setting) for p in (study.disease, *study.parts)) if m is not None}
    space = parameter_space(study)
    theta = space.to_theta(torch.zeros(1, space.dim, dtype=torch.float64))
    tables = model["SeirModel"].hosts(theta)
    return model["EscapingVariantModel"], model["PriorInfectionModel"].changed_hosts(theta, tables), theta


def test_escape_lowers_the_log_odds_of_protection():
    left = torch.tensor([0.1, 0.5, 0.999, 1.0], dtype=torch.float64)
    odds = torch.log((1 - left[:3]) / left[:3])
    other = escaped(left, torch.tensor(1.8))
    torch.testing.assert_close(torch.log((1 - other[:3]) / other[:3]), odds - 1.8)
    assert float(other[3]) == 1  # who has no protection has none to lose
    torch.testing.assert_close(escaped(left, torch.tensor(0.0)), left)


def test_odds_are_those_of_two_variants_with_immunity_of_their_own():
    """In generations: each infects by its own transmissibility among those whom its own immunity leaves; nobody is depleted."""
    share = np.array([0.5, 0.3, 0.2])
    left = np.array([1.0, 0.4, 0.1])
    other = escaped(torch.tensor(left), torch.tensor(1.8)).numpy()
    old, new, beta = 1000.0, 1.0, (2.0, 3.0)
    advantage = beta[1] * (share @ other) / (beta[0] * (share @ left))
    found = []
    for _ in range(6):
        old, new = old * beta[0] * (share @ left), new * beta[1] * (share @ other)
        found.append(new / old)
    generation, day = 4.0, torch.arange(0.0, 24.0, 4.0, dtype=torch.float64)
    midpoint = torch.tensor(generation * np.log(1000.0) / np.log(advantage))
    torch.testing.assert_close(new_odds(torch.tensor(advantage), midpoint, generation, day), torch.tensor(found))


def test_the_mixture_is_that_of_the_hazards_of_both(hosts):
    model, tables, theta = hosts
    mixed = model.changed_hosts(theta, tables)
    share = model.among_new(theta)[0]
    assert float(share[0]) < 1e-4
    assert float(share[-1]) > 1 - 1e-4
    # long before: the former variant's; in the period of the part's day the mean over people is the former's
    torch.testing.assert_close(mixed.waning[..., 0], tables.waning[..., 0], atol=1e-3, rtol=0)
    weight = model.share * tables.susceptibility[0]
    torch.testing.assert_close(weight @ mixed.waning[0, :, model.at], weight @ tables.waning[0, :, model.at])
    # long after: boosted people are less protected, by the ratio that escape gives
    late = tables.waning.shape[-1] - 1
    first, last = tables.waning[0, :, late].argmin(), tables.waning[0, :, late].argmax()
    other = escaped(tables.waning[0, :, late], theta[f"{study.part(epi.EscapingVariant).key}_escape"][0])
    ratio = mixed.waning[0, first, late] / mixed.waning[0, last, late]
    assert float(ratio) == pytest.approx(float(other[first] / other[last]), rel=2e-3)
    assert float(ratio) > 1.5 * float(tables.waning[0, first, late] / tables.waning[0, last, late])


def test_severity_goes_from_that_of_one_variant_to_that_of_the_other(hosts):
    model, _, theta = hosts
    factor = model.severity_factor(theta)[0]
    assert float(factor[0]) == pytest.approx(1.0, abs=1e-3)
    assert float(factor[-1]) == pytest.approx(float(theta["variant_severity"]), abs=1e-3)
    assert bool((factor.diff() < 0).all())


def test_rates_depend_on_it_in_derivatives_too():
    names = {p.name for p in study.host_parameters()}
    assert {"variant_advantage", "variant_midpoint", "variant_escape", "prior_protection", "efficacy_doses_3"} <= names


def test_known_counts_are_expected_ones_times_the_share_known():
    part = epi.RightTruncation("cases", (date(2021, 12, 18), date(2021, 12, 25)), (LogitNormal(1.0, 1.0),) * 2)
    model = TruncationModel(part, (1, 2))
    theta = {"known_cases_1218": torch.tensor([0.9]), "known_cases_1225": torch.tensor([0.5])}
    found = model.reported(theta, torch.full((1, 4, 2), 100.0))
    assert found[0, :, 0].tolist() == pytest.approx([100.0, 90.0, 50.0, 100.0])
    # a shorter run has not all of these weeks
    assert TruncationModel(part, (1, -1)).reported(theta, torch.full((1, 2, 2), 100.0))[
        0, :, 0
    ].tolist() == pytest.approx([100.0, 90.0])


def test_share_known_is_that_of_the_reports():
    """Every week is reported as 60, 85 and 100 % of its number, whatever the number."""
    numbers, cumulative = np.array([1000.0, 3000.0, 9000.0, 20000.0]), (0.6, 0.85, 1.0)
    table = np.full((6, 4), np.nan)
    for week, number in enumerate(numbers):
        for report, part in enumerate(cumulative):
            table[week + report, week] = number * part
    found = share_known(pd.DataFrame(table, index=range(6)), 2)
    np.testing.assert_allclose(found["known"], cumulative)
    assert found["log_sd"].iloc[:2].between(1e-4, 0.05).all()  # no scatter between weeks but that of chance
    with pytest.raises(DataError, match="out of order"):
        share_known(pd.DataFrame(table, index=[1, 0, 2, 3, 4, 5]), 2)
    with pytest.raises(DataError, match="No week has a report 4"):
        share_known(pd.DataFrame(table, index=range(6)), 3)


def test_what_does_not_fit_is_one_sentence():
    variant = study.part(epi.EscapingVariant)
    with pytest.raises(StudyError, match="leaky immunity"):
        replace(study, disease=replace(study.disease, immunity=replace(study.disease.immunity, kind="all-or-nothing")))
    with pytest.raises(StudyError, match="put it after that part"):
        replace(study, parts=(variant, *(p for p in study.parts if p is not variant)))
    with pytest.raises(StudyError, match="one share a week"):
        epi.RightTruncation("cases_borough", (date(2021, 12, 25),), ())
    with pytest.raises(StudyError, match="no stream 'rain'"):
        replace(
            study, parts=(*study.parts, epi.RightTruncation("rain", (date(2021, 12, 25),), (LogitNormal(0.0, 1.0),)))
        )


def test_periods_of_the_mixture_are_means_over_their_days(hosts):
    model, tables, theta = hosts
    sure = theta | {"variant_escape": torch.full((1,), 50.0, dtype=torch.float64)}
    mixed = model.changed_hosts(sure, tables).waning[0]
    share = model.among_new(sure)[0]
    s = model.at
    new = float(share[s * PERIOD : (s + 1) * PERIOD].mean())
    weight = model.share * tables.susceptibility[0]
    mean = float(weight @ tables.waning[0, :, s] / weight.sum())
    k = int(tables.waning[0, :, s].argmin())
    assert float(mixed[k, s]) == pytest.approx((1 - new) * float(tables.waning[0, k, s]) + new * mean, rel=1e-6)
