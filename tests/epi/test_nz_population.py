"""The population of New Zealand holds its margins at every scale."""

import dataclasses

import numpy as np
import pytest

from epi.errors import StudyError
from epi.population.build import build_population, main, population_tables, venue_tables
from epi.population.members import Members, split
from tests.experiments import nz


@pytest.fixture(scope="module")
def epidemic_data():
    return nz.tables()


@pytest.fixture(scope="module")
def built(epidemic_data):
    return build_population(epidemic_data, 0.05, seed=1)


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_margins_within_one_per_cent(epidemic_data, balance):
    population, fit = build_population(epidemic_data, 0.05, seed=2, balance=balance)
    people = population.group_size * np.repeat(population.people_per_agent, 8)
    error = np.abs(people / epidemic_data.population.ravel() - 1)
    assert error.max() < 0.01
    assert fit.margin_max_error == pytest.approx(error.max())
    assert population.agents == round(0.05 * epidemic_data.population.sum())


@pytest.mark.parametrize("scale", [0.0003, 0.002, 0.02])
def test_margins_within_one_agent_at_small_scales(epidemic_data, scale):
    population, fit = build_population(epidemic_data, scale, seed=3)
    assert population.group_size.min() >= 1
    # A cell that is given its one agent takes it from the largest cell of the district.
    assert fit.margin_max_agents < (1.0 + 1e-9 if scale > 0.001 else 2.0)


def test_everyone_at_scale_one(epidemic_data):
    population, fit = build_population(epidemic_data, 1.0, seed=0)
    assert population.group_size.tolist() == epidemic_data.population.ravel().tolist()
    assert np.all(population.people_per_agent == 1)
    assert fit.margin_max_error == 0
    assert abs(fit.employees_error) < 0.005
    assert abs(fit.household_mean - fit.household_mean_table) < 0.05


def test_same_seed_same_population_another_seed_another(epidemic_data):
    first, _ = build_population(epidemic_data, 0.01, seed=5)
    second, _ = build_population(epidemic_data, 0.01, seed=5)
    other, _ = build_population(epidemic_data, 0.01, seed=6)
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, tuple):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        else:
            assert np.array_equal(a, b)
    assert not np.array_equal(first.archetype, other.archetype)


def test_balance_gives_small_districts_more_agents(epidemic_data):
    alike, _ = build_population(epidemic_data, 0.02, seed=0, balance=0.0)
    balanced, _ = build_population(epidemic_data, 0.02, seed=0, balance=0.5)
    west_coast, waitemata = 16, 1
    assert balanced.region_size[west_coast] > 2 * alike.region_size[west_coast]
    assert balanced.region_size[waitemata] < alike.region_size[waitemata]
    represented = balanced.region_size * balanced.people_per_agent
    assert np.allclose(represented, epidemic_data.population.sum(1))


def test_doses_hold_by_district_and_age(built, epidemic_data):
    population, fit = built
    doses = population.archetype % 4
    assert np.array_equal(population.archetype // 4, population.group % 8)
    table = np.bincount(population.group * 4 + doses, minlength=640).reshape(20, 8, 4)
    expected = epidemic_data.vaccination * population.group_size.reshape(20, 8, 1)
    assert np.abs(table - expected).max() < 1
    assert fit.state_overall_error < 0.001


def test_households_lie_together_in_one_district_with_a_grown_member(built):
    population, _ = built
    district, band = population.group // 8, population.group % 8
    start = population.household_start[:-1]
    assert np.array_equal(np.minimum.reduceat(district, start), np.maximum.reduceat(district, start))
    assert np.maximum.reduceat(band, start).min() >= 1
    size = np.diff(population.household_start)
    assert np.all(population.household_weight[size == 1] == 0)
    assert np.allclose(population.household_weight[size > 1], (size[size > 1] - 1.0) ** -0.8)


def test_household_sizes_near_the_census(built):
    _, fit = built
    assert np.abs(np.subtract(fit.household_sizes, fit.household_sizes_table)).max() < 0.015


def test_venues_are_groups_of_one_district_with_weights(built):
    population, _ = built
    for ids, weight in zip(population.venues, population.venue_weight, strict=True):
        inside = ids >= 0
        size = np.bincount(ids[inside], minlength=len(weight))
        assert size.min() >= 1
        assert np.allclose(weight, np.where(size > 1, 1 / np.maximum(size - 1, 1), 0))
        pair = np.unique(np.stack([ids[inside], population.group[inside] // 8]), axis=1)
        assert pair.shape[1] == len(weight)


def test_schools_keep_real_sizes_in_a_sample(built, epidemic_data):
    # Small groups would tie children together far more than real schools do.
    _, fit = built
    _, everyone = build_population(epidemic_data, 0.3, seed=1, balance=0.0)
    school, work = fit.venues
    every_school, every_work = everyone.venues
    assert school.mean_size == pytest.approx(every_school.mean_size, rel=0.06)
    assert work.mean_size == pytest.approx(every_work.mean_size, rel=0.12)
    assert 10 < school.attending / school.staff < 16


def members(epidemic_data):
    tables, nobody = population_tables(epidemic_data), np.zeros(0, np.int16)
    return Members(nobody, nobody, nobody, tables.first_year, tables.width, tables.people.astype(float))


def test_enrolment_and_employment_follow_the_tables(epidemic_data):
    school, work = venue_tables(epidemic_data)
    share = school.enrolment(members(epidemic_data))
    assert np.allclose(share.sum(2), 1)
    assert np.all(share[:, 5:16, -1] == 0)
    pupils = (1 - share[:, 5:, -1]) * np.repeat(epidemic_data.population[:, :2] / 10, 10, axis=1)[:, 5:18]
    schools = epidemic_data.schools[epidemic_data.schools["type"] != "early_childhood"]
    assert pupils.sum() == pytest.approx((schools["size"] * schools["schools"]).sum(), rel=0.005)
    adults = epidemic_data.population.astype(float)
    adults[:, 1] *= 0.4
    assert np.allclose(
        (work.employment(members(epidemic_data)) * adults).sum(1), epidemic_data.work["employees"], rtol=0.001
    )


def test_workplace_sizes_follow_the_published_shares(epidemic_data):
    size = venue_tables(epidemic_data)[1].sizes
    shares = [(size <= 5).mean(), ((size >= 6) & (size < 20)).mean(), ((size >= 20) & (size < 50)).mean()]
    assert np.allclose(shares, [0.657, 0.249, 0.062], atol=0.01)
    assert size.mean() == pytest.approx(10.8, abs=0.5)


def test_large_groups_are_split_evenly():
    parts = split(np.array([100, 101, 250, 7]), 100)
    assert parts.tolist() == [100, 51, 50, 84, 83, 83, 7]


@pytest.mark.parametrize("scale", [0.0, -0.1, 1.0001, float("nan")])
def test_scale_out_of_range(epidemic_data, scale):
    with pytest.raises(StudyError, match="expected a number above 0 and at most 1"):
        build_population(epidemic_data, scale, seed=0)


def test_balance_out_of_range(epidemic_data):
    with pytest.raises(StudyError, match="expected a number from 0 to 1"):
        build_population(epidemic_data, 0.01, seed=0, balance=1.5)


def test_households_that_cannot_make_up_the_people(epidemic_data):
    alone = np.zeros((2, 8), int)
    alone[0, 7], alone[1, 6] = 1, 1
    poor = dataclasses.replace(epidemic_data, household_types=alone, household_counts=np.array([10, 10]))
    with pytest.raises(StudyError, match=r"households cannot make up the people of Northland"):
        build_population(poor, 0.01, seed=0)


def test_report_names_what_it_measured(built):
    text = "\n".join(built[1].lines())
    for word in ("260,232 agents", "region x age", "doses", "household size", "staff", "employees"):
        assert word in text


def test_command_prints_the_fit_and_refuses_a_bad_scale(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["population", nz.SOURCE, "--scale", "0.01"])
    assert main() == 0
    assert "largest relative error" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["population", nz.SOURCE, "--scale", "0"])
    assert main() == 2
    assert capsys.readouterr().err.count("\n") == 1
