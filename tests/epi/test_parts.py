"""Parts contribute what they say: venues, immunity, dated changes, importations, surveys, streams of the user's own."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

import epi
from epi import LogitNormal, LogNormal, Normal
from epi.data import load_data, observed
from epi.errors import DataError
from epi.inference.problem import observations_of
from epi.model import design_effect, make_rates, observation_distribution, rogan_gladen
from epi.model.community import reciprocal
from epi.model.delays import delay_matrix
from epi.model.disease import generation_profile
from epi.model.streams import apparent_prevalence
from epi.model.transmission import host_tables
from tests.epi.conftest import build
from tests.made_up.study import study

BANDS = study.ages.names


def with_parts(*parts, **fields):
    """The study with parts before the others, so that a venue may take its staff from the workplaces."""
    return replace(study, parts=(*parts, *study.parts), **fields)


def median(simulator, **changes):
    theta = simulator.space.to_theta(torch.zeros(1, simulator.space.dim))
    return theta | {name: torch.full_like(theta[name], value) for name, value in changes.items()}


def rates_of(simulator, theta):
    return make_rates(theta, host_tables(theta, simulator.context), simulator.context)


def test_the_made_up_study_simulates_the_same_twice(made_up):
    theta = median(made_up.simulator)
    one, two = (made_up.simulator.bind(3)(theta) for _ in range(2))
    assert set(one) == {"cases_county", "admissions_age", "infections_county"}
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert float(one["infections_county"].sum()) > 100


def test_a_layout_flattens_and_splits(made_up):
    layout = made_up.layout
    flat = torch.arange(layout.size, dtype=torch.float64)
    parts = layout.split(flat)
    assert torch.equal(layout.flat(parts), flat)
    assert len(layout.labels()) == layout.size
    assert layout.labels()[layout.slices["admissions_age"].start] == ("admissions_age", "2030-03-16", BANDS[0])
    assert parts["cases_county"].shape == (11, 2)


def test_the_jacobian_is_that_of_differences_in_what_is_observed(made_up):
    z = 0.1 * torch.randn(1, made_up.space.dim, generator=torch.Generator().manual_seed(2))
    _, slopes = made_up.simulator.jacobian(z, 7)
    for name in ("ascertainment_tests", "severity_level", "severity_age"):
        at = made_up.space.slice_of(name).start
        step = torch.zeros_like(z)
        step[:, at] = 1e-5
        ends = [made_up.layout.flat(made_up.simulator.bind(7)(made_up.space.to_theta(z + s * step))) for s in (1, -1)]
        torch.testing.assert_close(slopes[..., at], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(slopes).all()
    assert float(slopes[..., made_up.space.slice_of("transmission_community").start].abs().sum()) > 0


def test_the_generation_interval_has_the_mean_of_its_delays():
    """Mean of `P(L < t < L + I)`: E L + E I^2 / (2 E I)."""
    part = epi.NaturalHistory(epi.Gamma(2.5, 1.2), epi.Gamma(5.0, 2.0), days=60)
    profile = generation_profile(part)
    mean = (np.arange(1, 61) - 0.5) @ profile
    assert profile.sum() == pytest.approx(1.0)
    assert mean == pytest.approx(2.5 + (5.0**2 + 2.0**2) / (2 * 5.0), abs=0.01)


def test_a_venue_of_the_users_own_is_a_layer_with_residents_and_staff():
    home = epi.Venue("care_home", LogNormal(0.8, 0.5), {"60+": 0.2}, sizes=(20, 40), members_per_post=4)
    simulator = build(with_parts(home))
    people = simulator.population
    assert people.venue_names == ("care_home", "school", "workplace")
    inside = people.venues[0] >= 0
    band = people.group % 3
    residents = inside & (band == 2)
    assert residents.sum() == pytest.approx(0.2 * (band == 2).sum(), rel=0.05)
    assert (inside & (band == 1)).sum() > 0
    rates = rates_of(simulator, median(simulator, transmission_care_home=1.7))
    opened = study.calendar.day_of(study.calendar.opened)
    assert float(rates.transmission[0, 2, opened]) == pytest.approx(1.7)
    assert float(rates.transmission[0, 2, opened - 1]) == 0.0


@pytest.fixture
def doses(tmp_path):
    """The tables, and half of everybody with a dose."""
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = [(r, a, 0.5, 0.5) for r in study.region.names for a in BANDS]
    pd.DataFrame(rows, columns=["county", "age_band", "none", "one"]).to_csv(tmp_path / "vaccination.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("kind", ["leaky", "all-or-nothing"])
@pytest.mark.parametrize("efficacy", [0.0, 0.37, 1.0])
def test_immunity_lowers_mean_susceptibility_by_its_efficacy(doses, kind, efficacy):
    immunity = epi.Immunity(LogitNormal(0.0, 0.5), kind=kind)
    vaccination = epi.Vaccination(("none", "one"), (0.0, 100.0), date(2030, 3, 3))
    declared = replace(with_parts(vaccination), disease=epi.NaturalHistory(immunity=immunity), data=doses)
    simulator = build(declared)
    hosts = host_tables(median(simulator, efficacy_one=efficacy), simulator.context)
    susceptible = (hosts.susceptibility[..., None] * hosts.waning)[0, :, 0]
    share = simulator.observation.share
    assert torch.allclose(share @ susceptible, torch.full((3,), 1 - 0.5 * efficacy), atol=1e-12)
    if kind == "all-or-nothing":
        between = ((susceptible > 1e-9) & (susceptible < 1 - 1e-9)).sum()
        assert int(between) <= 3  # one class an age band is protected in part
    assert simulator.population.archetypes <= simulator.context.archetypes.count


def test_immunity_halves_in_its_half_life(doses):
    immunity = epi.Immunity(LogitNormal(0.0, 0.5), half_life=LogNormal(50.0, 0.2))
    vaccination = epi.Vaccination(("none", "one"), (0.0, 43.0), date(2030, 3, 3))
    declared = replace(with_parts(vaccination), disease=epi.NaturalHistory(immunity=immunity), data=doses)
    simulator = build(declared)
    hosts = host_tables(median(simulator, efficacy_one=0.8, efficacy_half_life=50.0), simulator.context)
    # the middle of the first period is day 7, 50 days after the dose
    assert float(hosts.waning[0, 1, 0]) == pytest.approx(1 - 0.4)
    assert float(hosts.waning[0, 0, 0]) == 1.0


def test_dated_changes_and_seasons_act_on_their_layers_and_days():
    shut = epi.Intervention("shut", LogNormal(0.5, 0.3), date(2030, 4, 1), date(2030, 4, 10), layers=("school", "work"))
    season = epi.SeasonalForcing(Normal(0.2, 0.1), peak=date(2030, 1, 15))
    plain, moved = build(study), build(with_parts(shut, season))
    base = rates_of(plain, median(plain)).transmission
    without = rates_of(moved, median(moved, effect_shut=1.0, seasonal_amplitude=0.0)).transmission
    assert torch.allclose(without, base)
    halved = rates_of(moved, median(moved, effect_shut=0.5, seasonal_amplitude=0.0)).transmission
    first, last = (study.calendar.day_of(date(2030, 4, d)) for d in (1, 10))
    expected = base.clone()
    expected[:, 2:, first : last + 1] *= 0.5
    assert torch.allclose(halved, expected)
    seasonal = rates_of(moved, median(moved, effect_shut=1.0, seasonal_amplitude=0.3)).transmission
    day = study.calendar.day_of(date(2030, 4, 1))
    ratio = np.exp(0.3 * np.cos(2 * np.pi * (day - study.calendar.day_of(date(2030, 1, 15))) / 365.25))
    assert float(seasonal[0, 1, day] / base[0, 1, day]) == pytest.approx(ratio)
    assert torch.equal(seasonal[:, 0], base[:, 0])


def test_importations_come_from_their_table(tmp_path):
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    pd.DataFrame([("2030-03-05", "South", 14.0)], columns=["date", "county", "infections"]).to_csv(
        tmp_path / "importations.csv", index=False
    )
    parts = tuple(p for p in study.parts if not isinstance(p, epi.Seeding))
    declared = replace(study, parts=(*parts, epi.Importations(LogNormal(1.0, 0.1))), data=tmp_path)
    simulator = build(declared)
    hazard = rates_of(simulator, median(simulator, importation_factor=2.0)).importation[0]
    people = torch.as_tensor(simulator.context.setting.data.population.ravel()).double()
    assert float((hazard * people).sum()) == pytest.approx(28.0)
    assert float((hazard[2, 3:] * people[3:]).sum()) == pytest.approx(28.0)


def test_contact_matrices_are_made_reciprocal(tmp_path):
    contacts, people = np.array([[3.0, 1.0], [2.0, 5.0]]), np.array([100.0, 400.0])
    both = reciprocal(contacts, people)
    total = both * people[:, None]
    assert np.allclose(total, total.T)
    assert total.sum() == pytest.approx((contacts * people[:, None]).sum())
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    matrix = pd.DataFrame([[6.0, 4, 1], [2, 7, 2], [1, 3, 3]], columns=list(BANDS)).assign(age_band=list(BANDS))
    matrix.to_csv(tmp_path / "contacts.csv", index=False)
    parts = tuple(p for p in study.parts if not isinstance(p, epi.Community))
    declared = replace(
        study, parts=(*parts, epi.Community(LogNormal(1.0, 0.3), contacts="contacts.csv")), data=tmp_path
    )
    simulator = build(declared)
    mixing = rates_of(simulator, median(simulator, **{"county_spread": 0.1})).mixing[0]
    assert float(mixing[:3, 3:].abs().sum()) == 0.0
    assert float(mixing[0, 0] / mixing[0, 2]) > 2.0


def survey(**fields):
    given = {
        "sensitivity": LogitNormal(2.2, 0.3),
        "specificity": LogitNormal(4.0, 0.5),
        "seroconversion": epi.Delay(12.0, 4.0),
    }
    return epi.Serosurvey(by="age", table="survey.csv", **(given | fields))


@pytest.fixture
def surveyed(tmp_path):
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = [(w, a, 100, 10) for w in ("2030-04-27", "2030-05-04") for a in BANDS]
    pd.DataFrame(rows, columns=["week_ending", "age_band", "tested", "positive"]).to_csv(
        tmp_path / "survey.csv", index=False
    )
    return tmp_path


def test_a_survey_expects_positives_by_its_accuracy(surveyed):
    declared = replace(study, streams=(*study.streams, survey()), data=surveyed)
    simulator = build(declared)
    theta = median(simulator, serosurvey_sensitivity=1.0, serosurvey_specificity=1.0)
    expected = simulator.bind(1)(theta)
    ever = expected["infections_county"].cumsum(1).sum(-1) / simulator.context.setting.data.population.sum()
    found = (expected["serosurvey_age"][0] / 100) @ torch.as_tensor(
        simulator.context.setting.data.population.sum(0) / simulator.context.setting.data.population.sum()
    )
    assert (found[3:] < ever[0, 3:]).all()  # antibody comes later
    assert float(found[-1]) > 0.3 * float(ever[0, -1])
    worse = median(simulator, serosurvey_sensitivity=0.8, serosurvey_specificity=0.95)
    p = expected["serosurvey_age"] / 100
    torch.testing.assert_close(simulator.bind(1)(worse)["serosurvey_age"], 100 * (0.8 * p + 0.05 * (1 - p)))


def test_antibody_wanes_in_its_half_life(surveyed):
    declared = replace(study, streams=(*study.streams, survey(half_life=LogNormal(60.0, 0.3))), data=surveyed)
    simulator = build(declared)
    runs = [
        simulator.bind(1)(
            median(simulator, serosurvey_sensitivity=1.0, serosurvey_specificity=1.0, serosurvey_half_life=h)
        )
        for h in (1e9, 30.0)
    ]
    kept, lost = (run["serosurvey_age"][0, -1] for run in runs)
    assert (lost < kept).all()
    assert (lost > 0.3 * kept).all()


def test_rogan_gladen_and_the_design_effect():
    p, se, sp = torch.tensor([0.0, 0.1, 0.6]), torch.tensor(0.85), torch.tensor(0.97)
    torch.testing.assert_close(rogan_gladen(apparent_prevalence(p, se, sp), se, sp), p)
    assert design_effect(20, 0.05) == pytest.approx(1.95)
    stream = survey(family=epi.BetaBinomial(LogitNormal(-3.0, 0.5)))
    mean, n, rho = torch.full((1, 1), 12.0), torch.full((1, 1), 40.0), torch.tensor(0.05)
    distribution = observation_distribution(stream, mean, {"dispersion_serosurvey_age": rho}, tested=n)
    binomial = 12.0 * (1 - 12.0 / 40.0)
    assert float(distribution.mean) == pytest.approx(12.0)
    assert float(distribution.variance) == pytest.approx(binomial * float(design_effect(40, 0.05)), rel=1e-3)
    total = sum(float(distribution.log_prob(torch.full((1, 1), float(k))).exp()) for k in range(41))
    assert total == pytest.approx(1.0)


def test_a_stream_of_the_users_own():
    def absent(theta, epidemic, setting):
        weekly = torch.einsum("wt,...tra->...wa", epidemic.fixed.week, epidemic.infections)
        return theta["sick_days"][..., None, None] * weekly

    own = epi.Parameter("sick_days", LogNormal(3.0, 0.2), observation=True)
    stream = epi.UserStream(
        by="age", name="absence_age", table="admissions_age.csv", column="admissions", expected=absent, own=(own,)
    )
    simulator = build(replace(study, streams=(*study.streams, stream)))
    run = simulator.bind(1)(median(simulator, sick_days=2.0))
    torch.testing.assert_close(run["absence_age"].sum(-1), 2 * run["infections_county"].sum(-1))
    wrong = replace(stream, expected=lambda theta, epidemic, setting: torch.zeros(3))
    bad = build(replace(study, streams=(*study.streams, wrong)))
    simulate, theta = bad.bind(1), median(bad)
    with pytest.raises(epi.StudyError, match="Stream 'absence_age': its function gave"):
        simulate(theta)


def test_delays_keep_their_mean_and_their_mass():
    delay = epi.Delay(6.0, 2.5)
    matrix = delay_matrix(80, delay)
    assert matrix[0].sum() == pytest.approx(1.0)
    assert matrix[0] @ np.arange(80) == pytest.approx(6.0, abs=0.01)
    assert matrix[75].sum() < 0.5  # reports after the last day are not there yet


def test_tables_must_hold_every_region(tmp_path):
    for file in study.data.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = pd.read_csv(study.data / "work.csv")
    table[table.county != "South"].to_csv(tmp_path / "work.csv", index=False)
    with pytest.raises(DataError, match=r"work.csv has no row for 'South'; add it"):
        load_data(study, tmp_path)
    cases = pd.read_csv(study.data / "cases_county.csv").replace("South", "Soth")
    (tmp_path / "work.csv").write_bytes((study.data / "work.csv").read_bytes())
    cases.to_csv(tmp_path / "cases_county.csv", index=False)
    with pytest.raises(DataError, match=r"cases_county.csv, line 3, column 'county': found 'Soth', expected 'South'"):
        load_data(study, tmp_path)


@pytest.mark.parametrize("mean", [1e200, torch.inf, 1e-200, 0.0])
def test_data_weigh_finitely_where_an_emulator_extrapolates(made_up, mean):
    """The weight by a mean whose square leaves the range of numbers is that in the limit: 1 / relative variance, or nothing."""
    observations = observations_of(made_up.space, made_up.observed, made_up.layout)
    z = torch.zeros(1, made_up.space.dim)
    count = len(observations.which)
    found = observations.weight(z, torch.full((1, count), mean))
    wanted = observations.weight(z, torch.full((1, count), 1e12 if mean > 1 else 1e-100))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-90)


def test_the_likelihood_uses_weeks_up_to_the_forecast(made_up):
    data = made_up.observed
    assert data.streams == ("cases_county", "admissions_age")
    assert int(data.in_likelihood["cases_county"].sum()) == 7 * 2
    none = observed(made_up.data, study.calendar.weeks(), ("cases",))
    assert none.streams == ("cases_county",)


@pytest.mark.parametrize("correlation", [None, LogitNormal(-3.0, 0.5)])
@pytest.mark.parametrize("streams", [("serosurvey",), ("cases", "admissions", "serosurvey")])
def test_the_emulator_takes_surveys_in_as_the_model_does(surveyed, correlation, streams):
    declared = replace(study, streams=(*study.streams, survey(family=epi.BetaBinomial(correlation))), data=surveyed)
    simulator = build(declared, last=study.calendar.forecast_from)
    data = observed(simulator.context.setting.data, simulator.observation.weeks, streams)
    observations = observations_of(simulator.space, data, simulator.layout)
    z = 0.2 * torch.randn(2, simulator.space.dim, generator=torch.Generator().manual_seed(5))
    flat, slopes = simulator.jacobian(z, 3)
    theta, expected = simulator.space.to_theta(z), simulator.layout.split(flat)
    wanted = torch.zeros(2)
    for name in data.streams:
        distribution = observation_distribution(
            declared.stream(name), expected[name], theta, tested=data.tested.get(name)
        )
        wanted = wanted + distribution.log_prob(data.counts[name].nan_to_num(1.0))[:, data.in_likelihood[name]].sum(1)
    mean = flat[:, observations.which]
    torch.testing.assert_close(observations.log_likelihood(z, mean), wanted)
    error = torch.full_like(mean, 0.1)
    assert bool((observations.weight(z, mean.clamp_min(0.05)) > 0).all())
    assert torch.isfinite(observations.log_likelihood(z, mean, error)).all()
    information = observations.information(z, flat, slopes)
    assert bool((torch.linalg.eigvalsh(information) > -1e-6).all())
