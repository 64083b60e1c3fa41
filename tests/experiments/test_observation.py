"""From infections to reports: closed forms."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.nz_calibration import _calendar as calendar
from experiments.nz_calibration._errors import StudyError
from experiments.nz_calibration._model import CLUSTERED, SIGNALS, SMALLEST_MEAN, count_variance, counts
from experiments.nz_calibration._observation import (
    LONGEST_DELAY,
    REPORT_DELAY,
    Expected,
    delay_matrix,
    observe,
    severity,
)

DAYS = calendar.days_until(calendar.LAST_WEEK)
FIRST_COUNTED = calendar.day_of(calendar.FIRST_WEEK) - 6


@pytest.fixture
def theta():
    values = {
        "ascertainment_pcr": 1.0, "ascertainment_rat": 1.0,
        "severity_level": 0.01, "severity_age": 0.0, "severity_dose": 0.0,
    }  # fmt: skip
    return {name: torch.tensor(x) for name, x in values.items()} | {"severity_band": torch.zeros(8)}


def one_day(day, group=5, agents=3.0):
    incidence = torch.zeros(DAYS, 160)
    incidence[day, group] = agents
    return incidence


def test_delays_are_shares_of_the_days_that_follow():
    delay = delay_matrix(60, *REPORT_DELAY)
    assert np.all(delay >= 0)
    assert np.all(np.tril(delay, -1) == 0)
    total = delay.sum(1)
    np.testing.assert_allclose(total[: 60 - LONGEST_DELAY], 1.0, rtol=1e-12)
    assert np.all(np.diff(total[-12:]) < 0)
    assert total[-1] < 0.01  # nearly nobody is reported on the day of infection
    lag = np.arange(60)
    # whole days that have passed: half a day below the mean of the continuous delay
    assert delay[0] @ lag == pytest.approx(REPORT_DELAY[0] - 0.5, abs=0.02)
    spread = np.sqrt(delay[0] @ lag**2 - (delay[0] @ lag) ** 2)
    assert spread == pytest.approx(REPORT_DELAY[1], abs=0.05)


@pytest.mark.parametrize("day", [FIRST_COUNTED, 40, DAYS - 1 - LONGEST_DELAY])
def test_every_infection_is_reported_when_ascertainment_is_one(tiny, theta, day):
    expected = observe(theta, one_day(day), tiny.full.observation)
    people = 3.0 * tiny.population.people_per_agent[0]
    for signal in ("cases_district", "cases_age", "infections_district"):
        assert float(getattr(expected, signal).sum()) == pytest.approx(people)
    assert float(expected.cases_district[:, 0].sum()) == pytest.approx(people)
    assert float(expected.cases_age[:, 5].sum()) == pytest.approx(people)
    assert float(expected.admissions_age[:, 5].sum()) == pytest.approx(0.01 * people)


def test_late_infections_are_reported_in_part(tiny, theta):
    expected = observe(theta, one_day(DAYS - 4), tiny.full.observation)
    share = float(expected.cases_district.sum() / expected.infections_district.sum())
    assert share == pytest.approx(float(tiny.full.observation.report[DAYS - 4].sum()))
    assert 0 < share < 0.5


def test_ascertainment_changes_with_the_date_of_report_and_not_of_infection(tiny, theta):
    theta = theta | {"ascertainment_pcr": torch.tensor(0.2), "ascertainment_rat": torch.tensor(0.5)}
    o, change = tiny.full.observation, calendar.day_of(calendar.RAPID_TESTS)
    day = change - 4
    before = float(o.report[day, :change].sum())
    expected = observe(theta, one_day(day), o)
    people = 3.0 * tiny.population.people_per_agent[0]
    assert 0.1 < before < 0.9
    assert float(expected.cases_district.sum()) == pytest.approx(people * (0.2 * before + 0.5 * (1 - before)))


def test_a_week_holds_its_seven_days(tiny, theta):
    sunday = calendar.day_of(calendar.FORECAST_DATE)
    for day, week in ((sunday, 5), (sunday - 6, 5), (sunday + 1, 6), (sunday - 7, 4)):
        weekly = observe(theta, one_day(day), tiny.full.observation).infections_district[:, 0]
        assert weekly.nonzero().flatten().tolist() == [week]


def test_a_batch_is_its_rows(tiny):
    z = torch.randn(2, 3, tiny.space.dim, generator=torch.Generator().manual_seed(0))
    theta = tiny.space.to_theta(z)
    incidence = torch.rand(2, 3, DAYS, 160, generator=torch.Generator().manual_seed(1))
    whole = observe(theta, incidence, tiny.full.observation)
    row = observe({name: x[1, 2] for name, x in theta.items()}, incidence[1, 2], tiny.full.observation)
    for field in dataclasses.fields(Expected):
        torch.testing.assert_close(getattr(whole, field.name)[1, 2], getattr(row, field.name))
    torch.testing.assert_close(whole.cases_district.sum(-1), whole.cases_age.sum(-1))
    again = Expected.from_flat(whole.flat(), tiny.full.weeks)
    assert all(torch.equal(getattr(again, f.name), getattr(whole, f.name)) for f in dataclasses.fields(Expected))


def test_severity_in_closed_form(tiny, theta):
    o = tiny.full.observation
    torch.testing.assert_close(severity(theta, o), torch.full((8,), 0.01))
    older = severity(theta | {"severity_age": torch.tensor(0.5)}, o)
    torch.testing.assert_close(older[1:] / older[:-1], torch.full((7,), 0.5).exp())
    assert float(older[3]) == pytest.approx(0.01)  # 35 years is the reference
    band = torch.tensor([0.0, 2.0, 0, 0, 0, 0, 0, 0])
    lifted = severity(theta | {"severity_band": band}, o)
    torch.testing.assert_close(lifted / 0.01, torch.exp(0.5 * band))


def test_severity_falls_with_every_dose(tiny, theta):
    theta = theta | {"severity_dose": torch.tensor(0.7)}
    o = tiny.full.observation
    by_dose = []
    for dose in range(4):
        share = torch.zeros(8, 4)
        share[:, dose] = 1.0
        by_dose.append(severity(theta, dataclasses.replace(o, doses=share)))
    for dose in range(3):
        torch.testing.assert_close(by_dose[dose + 1] / by_dose[dose], torch.full((8,), -0.7).exp())
    protected = [severity(theta | {"severity_dose": torch.tensor(x)}, o) for x in (0.0, 0.3, 0.9)]
    assert bool((protected[0] > protected[1]).all())
    assert bool((protected[1] > protected[2]).all())
    torch.testing.assert_close(o.doses.sum(1), torch.ones(8))


NOISE = {
    "cluster_size": torch.tensor(5.0), "dispersion_district": torch.tensor(0.15),
    "dispersion_age": torch.tensor(0.1), "dispersion_admissions": torch.tensor(0.2),
}  # fmt: skip


@pytest.mark.parametrize("error", [None, 0.3])
@pytest.mark.parametrize(
    ("signal", "relative"), [("cases_district", 0.15), ("cases_age", 0.1), ("admissions_age", 0.2)]
)
def test_counts_have_the_stated_mean_and_variance(signal, relative, error):
    mean = torch.tensor([[0.3, 20.0], [400.0, 9000.0]])
    law = counts(signal, mean, NOISE, None if error is None else torch.full((2, 2), error))
    cluster = 5.0 if signal in CLUSTERED else 1.0
    expected = cluster * mean + (relative**2 + (error or 0.0) ** 2) * mean**2
    torch.testing.assert_close(law.mean, mean)
    torch.testing.assert_close(law.variance, expected)
    torch.manual_seed(0)
    draws = law.sample((100_000,))
    torch.testing.assert_close(draws.mean(0), mean, rtol=0.05, atol=0)
    torch.testing.assert_close(draws.var(0), expected, rtol=0.15, atol=0)


def test_clusters_of_less_than_one_do_not_make_counts_narrower_than_single_cases():
    mean = torch.tensor([[10.0]])
    narrow = NOISE | {"cluster_size": torch.tensor(0.2)}
    assert set(SIGNALS) >= set(CLUSTERED)
    for signal in SIGNALS:
        assert float(count_variance(signal, mean, narrow)) > 10.0


def test_small_means_are_lifted_and_failed_ones_stay_failed():
    law = counts("cases_age", torch.tensor([[0.0, float("nan")]]), NOISE)
    assert float(law.mean[0, 0]) == pytest.approx(SMALLEST_MEAN)
    assert bool(law.log_prob(torch.tensor([[3.0, 3.0]])).isfinite()[0, 0])
    assert bool(law.log_prob(torch.tensor([[3.0, 3.0]])).isnan()[0, 1])


def test_weeks_and_days_of_the_study():
    weeks = calendar.weeks()
    matrix = calendar.week_matrix(DAYS, weeks)
    assert matrix.shape == (17, DAYS)
    assert np.all(matrix.sum(1) == 7)
    assert np.all(matrix.sum(0) <= 1)
    assert calendar.day_of(calendar.LAST_WEEK) + 1 == DAYS
    fitted = weeks[calendar.fitted_weeks(weeks)]
    assert [d.date().isoformat() for d in fitted] == [
        "2022-02-06", "2022-02-13", "2022-02-20", "2022-03-06", "2022-03-13",
    ]  # fmt: skip


def test_must_fail_when_a_week_lies_beyond_the_days():
    with pytest.raises(StudyError, match=r"2022-05-29 lies beyond the 129 simulated days; simulate at least 130"):
        calendar.week_matrix(DAYS - 1, calendar.weeks())
    early = pd.DatetimeIndex(["2022-01-23"])
    assert calendar.week_matrix(10, early).sum() == 4  # the week began before day 0
