"""From infections to reports: closed forms."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from epi.errors import StudyError
from epi.model.delays import delay_matrix, stay_matrix
from epi.model.distributions import SMALLEST_MEAN, observation_distribution, variance
from epi.model.immunity import periods
from epi.model.observation import fatality, infected_kinds, observe, severity
from epi.model.transmission import HostTables, host_tables
from epi.study import Delay
from sim import PERIOD
from tests.experiments import nz

REPORT = nz.STREAMS["cases_district"].delay
LONGEST_DELAY = REPORT.longest
DAYS = nz.CALENDAR.days
PERIODS = periods(DAYS)
FIRST_COUNTED = nz.CALENDAR.day_of(nz.FIRST_WEEK) - 6


@pytest.fixture
def theta():
    values = {
        "ascertainment_pcr": 1.0, "ascertainment_rat": 1.0, "severity_level": 0.01, "severity_age": 0.0,
        "fatality_level": 0.001, "fatality_age": 0.0, "hospital_days": 5.0, "wastewater_level": 2.0, "border_ratio": 1.0,
    }  # fmt: skip
    effects = {"severity_band": torch.zeros(8), "wastewater_area_effect": torch.zeros(len(nz.AREAS))}
    return {name: torch.tensor(x) for name, x in values.items()} | effects


@pytest.fixture
def hosts():
    """Kinds that are all alike: severity and susceptibility 1, everything shed on the third day."""
    shedding = torch.zeros(32, 14)
    shedding[:, 2] = 1.0
    return HostTables(
        torch.ones(32, 14), torch.ones(32), torch.ones(32, PERIODS), torch.zeros(32, DAYS), torch.ones(32, PERIODS), shedding,
        torch.tensor(True),
    )  # fmt: skip


def one_day(day, group=5, agents=3.0):
    incidence = torch.zeros(DAYS, 160)
    incidence[day, group] = agents
    return incidence


def test_delays_are_shares_of_the_days_that_follow():
    delay = delay_matrix(60, REPORT)
    assert np.all(delay >= 0)
    assert np.all(np.tril(delay, -1) == 0)
    total = delay.sum(1)
    np.testing.assert_allclose(total[: 60 - LONGEST_DELAY], 1.0, rtol=1e-12)
    assert np.all(np.diff(total[-12:]) < 0)
    assert total[-1] < 0.01  # nearly nobody is reported on the day of infection
    lag = np.arange(60)
    # both ends lie anywhere in their days: the mean is kept, the variance grows by that of two uniform numbers
    assert delay[0] @ lag == pytest.approx(REPORT.mean, abs=0.001)
    sd = np.sqrt(delay[0] @ lag**2 - (delay[0] @ lag) ** 2)
    assert sd == pytest.approx(np.sqrt(REPORT.sd**2 + 1 / 6), abs=0.003)


@pytest.mark.parametrize("day", [FIRST_COUNTED, 40, DAYS - 1 - LONGEST_DELAY])
def test_every_infection_is_reported_when_ascertainment_is_one(tiny, theta, hosts, day):
    expected = observe(theta, hosts, one_day(day), tiny.full.observation)
    people = 3.0 * tiny.population.people_per_agent[0]
    for stream in ("cases_district", "cases_age", "infections_district"):
        assert float(expected[stream].sum()) == pytest.approx(people)
    assert float(expected["cases_district"][:, 0].sum()) == pytest.approx(people)
    assert float(expected["cases_age"][:, 5].sum()) == pytest.approx(people)
    assert float(expected["admissions_age"][:, 5].sum()) == pytest.approx(0.01 * people)


def test_late_infections_are_reported_in_part(tiny, theta, hosts):
    expected = observe(theta, hosts, one_day(DAYS - 4), tiny.full.observation)
    share = float(expected["cases_district"].sum() / expected["infections_district"].sum())
    assert share == pytest.approx(float(tiny.full.observation.streams["cases_district"].delay[DAYS - 4].sum()))
    assert 0 < share < 0.5


def test_ascertainment_changes_with_the_date_of_report_and_not_of_infection(tiny, theta, hosts):
    theta = theta | {"ascertainment_pcr": torch.tensor(0.2), "ascertainment_rat": torch.tensor(0.5)}
    o, change = tiny.full.observation, nz.CALENDAR.day_of(nz.RAPID_TESTS)
    day = change - 4
    before = float(o.streams["cases_district"].delay[day, :change].sum())
    expected = observe(theta, hosts, one_day(day), o)
    people = 3.0 * tiny.population.people_per_agent[0]
    assert 0.1 < before < 0.9
    assert float(expected["cases_district"].sum()) == pytest.approx(people * (0.2 * before + 0.5 * (1 - before)))


def test_a_week_holds_its_seven_days(tiny, theta, hosts):
    sunday = nz.CALENDAR.day_of(nz.FORECAST_DATE)
    for day, week in ((sunday, 5), (sunday - 6, 5), (sunday + 1, 6), (sunday - 7, 4)):
        weekly = observe(theta, hosts, one_day(day), tiny.full.observation)["infections_district"][:, 0]
        assert weekly.nonzero().flatten().tolist() == [week]


def test_a_batch_is_its_rows(tiny):
    z = torch.randn(2, 3, tiny.space.dim, generator=torch.Generator().manual_seed(0))
    theta = tiny.space.to_theta(z)
    hosts = host_tables(theta, tiny.full.context)
    incidence = torch.rand(2, 3, DAYS, 160, generator=torch.Generator().manual_seed(1))
    whole = observe(theta, hosts, incidence, tiny.full.observation)
    one = HostTables(*(getattr(hosts, f.name)[1, 2] for f in dataclasses.fields(hosts)))
    row = observe({name: x[1, 2] for name, x in theta.items()}, one, incidence[1, 2], tiny.full.observation)
    for name in nz.PLACES:
        torch.testing.assert_close(whole[name][1, 2], row[name])
    torch.testing.assert_close(whole["cases_district"].sum(-1), whole["cases_age"].sum(-1))
    layout = tiny.full.layout
    second = layout.split(layout.flat(whole))
    assert all(torch.equal(second[name], whole[name]) for name in nz.PLACES)


def mean_over_people(slope, reference):
    """Of exp(slope * decades) over the people of each age band, from the table itself."""
    table = nz.tables().ages
    risk = np.exp(slope * (table["from_age"] + 2.5 - reference) / 10) * table["people"]
    return torch.tensor(
        (risk.groupby(table["age_band"]).sum() / table.groupby("age_band")["people"].sum())[
            list(nz.AGE_BANDS)
        ].to_numpy()
    )


def test_severity_in_closed_form(tiny, theta, hosts):
    o = tiny.full.observation
    torch.testing.assert_close(severity(theta, hosts, o), torch.full((PERIODS, 8), 0.01))
    older = severity(theta | {"severity_age": torch.tensor(0.5)}, hosts, o)[3]
    assert float(older[3]) == pytest.approx(0.01, rel=0.05)  # 35 years is the reference
    torch.testing.assert_close(older, 0.01 * mean_over_people(0.5, 35.0))
    band = torch.tensor([0.0, 2.0, 0, 0, 0, 0, 0, 0])
    lifted = severity(theta | {"severity_band": band}, hosts, o)[0]
    torch.testing.assert_close(lifted / 0.01, torch.exp(0.5 * band))


def test_severity_is_the_mean_over_who_is_infected(tiny, theta, hosts):
    """Two kinds in an age band: one half as susceptible, and a tenth as severe, as the other."""
    share = torch.zeros(8, 32)
    share[:, 0], share[:, 1] = 0.5, 0.5
    o = dataclasses.replace(tiny.full.observation, share=share)
    sigma, risk = torch.ones(32), torch.ones(32, PERIODS)
    sigma[1], risk[1] = 0.5, 0.1
    waning = torch.ones(32, PERIODS)
    waning[1, 4] = 2.0  # in the fifth period both are as susceptible
    mixed = dataclasses.replace(hosts, susceptibility=sigma, severity=risk, waning=waning)
    kinds, half = infected_kinds(mixed, o)[..., :2], torch.full((8, 2), 0.5)
    torch.testing.assert_close(kinds[3], torch.tensor([[2 / 3, 1 / 3]]).expand(8, -1))
    torch.testing.assert_close(kinds[4], half)
    for distribution, level in ((severity, 0.01), (fatality, 0.001)):
        expected = torch.full((PERIODS, 8), level * (2 / 3 + 0.1 / 3))
        expected[4] = level * 0.55
        torch.testing.assert_close(distribution(theta, mixed, o), expected)
    # infections are admitted by the risk of the day of the infection
    day = 4 * PERIOD
    before, after = (observe(theta, mixed, one_day(d), o)["admissions_age"].sum() for d in (day - 1, day))
    assert float(after / before) == pytest.approx(0.55 / (0.7))


def test_severity_falls_with_antibody(tiny):
    """The within-host tables themselves: every dose protects from severe disease beyond infection."""
    theta = tiny.space.to_theta(torch.zeros(1, tiny.space.dim))
    hosts = host_tables(theta, tiny.full.context)
    by_dose = hosts.severity[0, :, 1].reshape(8, 4)
    assert bool((by_dose[:, 1:3] < by_dose[:, :1]).all())
    assert bool((by_dose[:, 3] < by_dose[:, 2]).all())
    stronger = host_tables(theta | {"severity_shift": torch.tensor([-1.5])}, tiny.full.context)
    assert bool((stronger.severity[0, :, 1].reshape(8, 4)[:, 1:] < by_dose[:, 1:]).all())
    later = hosts.severity[0, :, -1].reshape(8, 4)
    assert bool((later[:, 3] > 1.5 * by_dose[:, 3]).all())  # antibody has waned
    torch.testing.assert_close(tiny.full.observation.share.sum(1), torch.ones(8))


def test_deaths_follow_infections_by_their_delay(tiny, theta, hosts):
    o, day = tiny.full.observation, FIRST_COUNTED
    deaths = observe(theta, hosts, one_day(day), o)["deaths_age"][:, 5]
    people = 3.0 * tiny.population.people_per_agent[0]
    assert float(deaths.sum()) == pytest.approx(0.001 * people)
    mean = float((deaths * torch.arange(len(deaths))).sum() / deaths.sum())
    assert 1.5 < mean < 3.5  # some nineteen days
    steeper = fatality(theta | {"fatality_age": torch.tensor(1.2)}, hosts, o)[0]
    torch.testing.assert_close(steeper, 0.001 * mean_over_people(1.2, 75.0))
    assert 1.9 < float(steeper[7]) / 0.001 < 2.1  # people of 70 and more die twice as often as those of 75


def test_an_admission_is_in_hospital_for_its_days(tiny, theta, hosts):
    stay = stay_matrix(60, Delay(5.0, 5.0))
    np.testing.assert_allclose(stay[:20].sum(1), 1.0, rtol=1e-12)
    assert np.all(np.diff(stay[0]) <= 1e-15)
    o, day = tiny.full.observation, nz.CALENDAR.day_of(nz.FORECAST_DATE) + 1
    there = observe(theta, hosts, one_day(day), o)["occupancy_district"][:, 0]
    # five days of one person, as the mean over weeks of seven days
    people = 3.0 * tiny.population.people_per_agent[0]
    assert float(7 * there.sum()) == pytest.approx(0.01 * people * 5.0)
    on = o.streams["occupancy_district"].day
    counted = on[:, : nz.CALENDAR.day_of(nz.OCCUPANCY_FROM)].sum(1)
    assert float(on[5].sum()) == 3.0
    assert bool((counted[5:] == 0).all())


def test_wastewater_holds_what_is_shed(tiny, theta, hosts):
    """Everything on the third day after infection, per person of the area."""
    o, sunday = tiny.full.observation, nz.CALENDAR.day_of(nz.FORECAST_DATE)
    for day, week in ((sunday - 3, 5), (sunday - 2, 6)):
        found = observe(theta, hosts, one_day(day, group=1 * 8 + 5), o)["wastewater_area"]  # Waitemata
        people = 3.0 * float(tiny.population.people_per_agent[1])
        inhabitants = float((o.inhabitants[1:4]).sum())
        assert found[:, 1].nonzero().flatten().tolist() == [week]
        assert float(found[week, 1]) == pytest.approx(2.0e3 * people / inhabitants / 7, rel=1e-6)
        assert float(found.sum()) == pytest.approx(float(found[week, 1]))
    torch.testing.assert_close(o.streams["wastewater_area"].weight.sum(1), torch.ones(len(nz.AREAS)))


def test_border_workers_are_infected_as_people_of_working_age(tiny, theta, hosts):
    """If one in ten of each group is infected on a day, a hundred in a thousand workers are found after it."""
    o, epidemic_data = tiny.full.observation, nz.tables()
    agents = torch.as_tensor(epidemic_data.population, dtype=torch.float64) / o.people
    incidence = torch.zeros(DAYS, 160)
    incidence[40] = 0.1 * agents.flatten()
    found = observe(theta, hosts, incidence, o)["border_cohort"]
    assert float(found.sum()) == pytest.approx(100.0)
    children = torch.zeros(DAYS, 20, 8)
    children[40, :, :2] = 1.0
    assert float(observe(theta, hosts, children.flatten(1), o)["border_cohort"].sum()) == 0.0


def test_levels_are_log_normal():
    mean = torch.tensor([[0.5, 20.0]])
    distribution = observation_distribution(nz.STREAMS["wastewater_area"], mean, NOISE, torch.full((1, 2), 0.3))
    torch.manual_seed(0)
    logs = distribution.sample((100_000,)).log()
    torch.testing.assert_close(logs.mean(0), mean.log(), rtol=0, atol=0.01)
    torch.testing.assert_close(logs.var(0), torch.full((1, 2), 0.7**2 + 0.3**2), rtol=0.02, atol=0)
    wild = observation_distribution(nz.STREAMS["wastewater_area"], torch.tensor([[float("inf"), float("nan")]]), NOISE)
    assert not bool(torch.isfinite(wild.log_prob(torch.ones(1, 2))).any())


NOISE = {
    "cluster_size": torch.tensor(5.0), "dispersion_district": torch.tensor(0.15),
    "dispersion_age": torch.tensor(0.1), "dispersion_admissions": torch.tensor(0.2),
    "dispersion_deaths": torch.tensor(0.25), "dispersion_occupancy": torch.tensor(0.3),
    "dispersion_wastewater": torch.tensor(0.7), "dispersion_border": torch.tensor(0.2),
}  # fmt: skip


@pytest.mark.parametrize("error", [None, 0.3])
@pytest.mark.parametrize(
    ("stream", "relative"),
    [("cases_district", 0.15), ("cases_age", 0.1), ("admissions_age", 0.2), ("deaths_age", 0.25)],
)
def test_counts_have_the_stated_mean_and_variance(stream, relative, error):
    mean = torch.tensor([[0.3, 20.0], [400.0, 9000.0]])
    distribution = observation_distribution(
        nz.STREAMS[stream], mean, NOISE, None if error is None else torch.full((2, 2), error)
    )
    cluster = 5.0 if nz.STREAMS[stream].clustered else 1.0
    expected = cluster * mean + (relative**2 + (error or 0.0) ** 2) * mean**2
    torch.testing.assert_close(distribution.mean, mean)
    torch.testing.assert_close(distribution.variance, expected)
    torch.manual_seed(0)
    draws = distribution.sample((100_000,))
    torch.testing.assert_close(draws.mean(0), mean, rtol=0.05, atol=0)
    torch.testing.assert_close(draws.var(0), expected, rtol=0.15, atol=0)


def test_clusters_of_less_than_one_do_not_make_counts_narrower_than_single_cases():
    mean = torch.tensor([[10.0]])
    narrow = NOISE | {"cluster_size": torch.tensor(0.2)}
    for stream in nz.STREAMS.values():
        assert not stream.counts or float(variance(stream, mean, narrow)) > 10.0


def test_small_means_are_lifted_and_failed_ones_stay_failed():
    distribution = observation_distribution(nz.STREAMS["cases_age"], torch.tensor([[0.0, float("nan")]]), NOISE)
    assert float(distribution.mean[0, 0]) == pytest.approx(SMALLEST_MEAN)
    assert bool(distribution.log_prob(torch.tensor([[3.0, 3.0]])).isfinite()[0, 0])
    assert bool(distribution.log_prob(torch.tensor([[3.0, 3.0]])).isnan()[0, 1])


def test_weeks_and_days_of_the_study():
    weeks = nz.CALENDAR.weeks()
    matrix = nz.CALENDAR.week_matrix(DAYS, weeks)
    assert matrix.shape == (17, DAYS)
    assert np.all(matrix.sum(1) == 7)
    assert np.all(matrix.sum(0) <= 1)
    assert nz.CALENDAR.day_of(nz.LAST_WEEK) + 1 == DAYS
    fitted = weeks[nz.CALENDAR.fitted_weeks(weeks)]
    assert [d.date().isoformat() for d in fitted] == [
        "2022-02-06", "2022-02-13", "2022-02-20", "2022-03-06", "2022-03-13",
    ]  # fmt: skip


def test_must_fail_when_a_week_lies_beyond_the_days():
    with pytest.raises(StudyError, match=r"2022-05-29 lies beyond the 129 simulated days; simulate at least 130"):
        nz.CALENDAR.week_matrix(DAYS - 1, nz.CALENDAR.weeks())
    early = pd.DatetimeIndex(["2022-01-23"])
    assert nz.CALENDAR.week_matrix(10, early).sum() == 4  # the week began before day 0
