"""Populations of any region: invented tables, any age bands, venues of one's own, people left out because they are immune."""

import dataclasses

import numpy as np
import pytest
import torch

import sim
from epi.errors import StudyError
from epi.population import (
    GroupTable,
    PopulationTables,
    SchoolTable,
    WorkplaceTable,
    household_types_from_sizes,
    power_tail_sizes,
    susceptible_only,
    synthesize,
)

REGIONS = ("north", "south")
BREAKS = (0, 5, 12, 18, 65)
PEOPLE = np.array([[600, 900, 700, 6000, 1800], [200, 300, 250, 2000, 750]])
SIZES = np.array([0.28, 0.34, 0.16, 0.14, 0.08])


def tables(**changes):
    types, counts = household_types_from_sizes(SIZES, PEOPLE.sum(0), adults_from_band=3)
    given = {
        "regions": REGIONS, "breaks": BREAKS, "people": PEOPLE, "household_types": types, "household_counts": counts, "grown": 18
    }  # fmt: skip
    return PopulationTables(**(given | changes))


def venues():
    school = SchoolTable.from_sizes(2, {"school": (5, 17, np.array([40, 80, 200]))}, {"school": 15.0})
    homes = GroupTable("care_home", np.array([0, 0, 0, 0, 0.1]), np.array([20, 40]), members_per_post=4)
    work = WorkplaceTable(
        np.array([4000.0, 1200.0]), np.array([0, 0, 0, 0.8, 0.0]), power_tail_sizes(2.8, 1.3, 500), staff_from=18
    )
    return [school, homes, work]


def test_margins_hold_for_any_age_bands_and_a_sample():
    for scale, balance in ((1.0, 0.0), (0.3, 0.5)):
        made, fit = synthesize(tables(), venues(), scale=scale, seed=4, balance=balance)
        people = made.group_size.reshape(2, 5) * made.people_per_agent[:, None]
        assert np.allclose(people, PEOPLE, atol=1.01 * made.people_per_agent.max())
        assert fit.margin_max_agents <= 1.01
        assert [v.name for v in fit.venues] == list(made.venue_names) == ["school", "care_home", "workplace"]


def test_single_years_of_age():
    breaks = tuple(range(80))
    people = np.full((2, 80), 40)
    types, counts = household_types_from_sizes(SIZES, people.sum(0), adults_from_band=18)
    made, fit = synthesize(
        PopulationTables(REGIONS, breaks, people, types, counts, last_width=20, grown=18), venues()[:1], seed=1
    )
    assert fit.margin_max_error == 0
    band, pupil = made.group % 80, made.venues[0] >= 0
    assert set(band[pupil]) == set(range(5, 18))


def test_venue_of_ones_own_has_residents_of_its_age_and_staff():
    made, fit = synthesize(tables(), venues(), seed=2)
    home = made.venues[1] >= 0
    band = made.group % 5
    residents, staff = home & (band == 4), home & (band == 3)
    assert abs(residents.sum() - 0.1 * PEOPLE[:, 4].sum()) <= 2
    assert fit.venues[1].attending == residents.sum()
    assert fit.venues[1].staff == staff.sum() == pytest.approx(residents.sum() / 4, rel=0.1)
    assert not (staff & (made.venues[2] >= 0)).any()
    assert abs(fit.employees_error) < 0.01
    for group in np.unique(made.venues[1][home]):
        assert len(np.unique(made.group[made.venues[1] == group] // 5)) == 1


@pytest.mark.parametrize("clustering", [0.0, 0.5, 0.9])
def test_clustering_keeps_the_fractions_and_makes_households_alike(clustering):
    states = np.zeros((2, 5, 2))
    states[..., 1] = 0.9
    states[:, 0, 1] = 0.0
    states[..., 0] = 1 - states[..., 1]
    made, fit = synthesize(tables(states=states), seed=3, clustering=clustering)
    assert fit.state_max_error < 1
    unvaccinated = (made.archetype % 2 == 0) & (made.group % 5 > 0)
    start = made.household_start[:-1]
    eligible = np.add.reduceat((made.group % 5 > 0).astype(int), start)
    count = np.add.reduceat(unvaccinated.astype(int), start)
    two = eligible == 2
    together = (count[two] == 2).mean()
    low, high = {0.0: (0.0, 0.02), 0.5: (0.025, 0.06), 0.9: (0.055, 0.1)}[clustering]
    assert low <= together <= high


def outbreak(population, susceptibility, mixing, streams):
    days, groups = 40, population.groups
    one = torch.ones(len(streams), 1, dtype=torch.float64)
    layers = 2 + len(population.venues)
    rates = sim.Rates(
        infectiousness=torch.full((len(streams), population.archetypes, 8), 0.12, dtype=torch.float64),
        susceptibility=one * susceptibility[: population.archetypes],
        transmission=torch.ones(len(streams), layers, days, dtype=torch.float64)
        * torch.tensor([1.5, 4.0, 6.0])[:layers, None],
        mixing=mixing.expand(len(streams), groups, groups).contiguous(),
        importation=torch.full((len(streams), days, groups), 2e-4, dtype=torch.float64),
        aversion=0.3 * one[:, 0],
        forgetting=0.1 * one[:, 0],
    )
    return sim.epidemic(population, rates, 7, streams=torch.as_tensor(streams))


def test_simulating_the_susceptible_only_has_the_same_distribution():
    states = np.zeros((2, 5, 2))
    states[..., 1] = 0.85
    states[..., 0] = 0.15
    everybody, _ = synthesize(tables(states=states), venues()[:1], seed=5, clustering=0.5)
    immune = everybody.archetype % 2 == 1
    few = susceptible_only(everybody, immune)
    assert few.agents == (~immune).sum()
    assert np.array_equal(few.group_size, everybody.group_size)
    share = torch.as_tensor(
        everybody.group_size.reshape(2, 5) / everybody.group_size.reshape(2, 5).sum(1, keepdims=True)
    )
    mixing = 0.9 * torch.block_diag(*(row.expand(5, 5) for row in share)) + 0.1 * share.flatten().expand(10, 10) / 2
    susceptibility = torch.tensor([1.0, 0.0]).repeat(5).double()
    streams = list(range(150))
    whole = outbreak(everybody, susceptibility, mixing, streams)
    part = outbreak(few, susceptibility, mixing, streams)
    by_region = [x.sum(1).unflatten(-1, (2, 5)).sum(-1) for x in (whole, part)]
    mean, sd = (torch.stack([f(x) for x in by_region]) for f in (lambda x: x.mean(0), lambda x: x.std(0)))
    assert float(mean.min()) > 20  # an outbreak, or the comparison says nothing
    error = (sd**2 / len(streams)).sum(0).sqrt()
    assert float(((mean[0] - mean[1]).abs() / error).max()) < 3.5
    assert torch.allclose(sd[0], sd[1], rtol=0.35)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": PEOPLE[:1]}, "expected 2 regions by 5 age bands"),
        ({"breaks": (0, 12, 5, 18, 65)}, "expected years that rise from 0"),
        ({"people": np.where(PEOPLE == 900, 0, PEOPLE)}, "Region 'north' has 0 people in the age band from 5"),
        ({"household_types": np.ones((3, 4), int)}, "household types have 4 age bands"),
        ({"states": np.full((2, 5, 2), 0.4)}, "each cell of sum 1"),
    ],
)
def test_tables_that_do_not_fit_are_refused_in_one_sentence(changes, message):
    with pytest.raises(StudyError, match=message):
        tables(**changes)


def test_other_bad_input():
    with pytest.raises(ValueError, match="somebody who attends"):
        GroupTable("club", np.zeros(5), np.array([10]))
    with pytest.raises(StudyError, match="below 1; choose one"):
        synthesize(tables(), clustering=1.0)
    with pytest.raises(ValueError, match="nobody in an age band that works"):
        synthesize(tables(), [dataclasses.replace(venues()[2], shape=np.zeros(5))])
    made, _ = synthesize(tables(), scale=0.1)
    with pytest.raises(ValueError, match="nobody to simulate"):
        susceptible_only(made, np.ones(made.agents, bool))
