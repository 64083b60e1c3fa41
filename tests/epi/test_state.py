"""A forecast restarts from what was there: the same run with the same numbers, one past with many futures, infections that were counted."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
import torch

from epi.errors import StudyError
from epi.model import state_from_infections
from tests.epi.conftest import build
from tests.made_up.study import study

UNTIL = date(2030, 4, 13)


@pytest.fixture
def theta(made_up):
    return made_up.space.to_theta(torch.zeros(2, made_up.space.dim, dtype=torch.float64))


def test_a_restarted_run_is_the_run_it_was(made_up, theta):
    whole, epidemic = made_up.simulator.simulate(theta, 3)
    state = made_up.simulator.state_at(theta, UNTIL, 3)
    outputs, second = made_up.simulator.starting_from(state).simulate(theta, 3)
    assert torch.equal(second.infections, epidemic.infections)
    assert all(torch.equal(outputs[name], whole[name]) for name in whole)
    # a state of a restarted run, later
    later = made_up.simulator.starting_from(state).state_at(theta, UNTIL + timedelta(days=9), 3)
    other = made_up.simulator.state_at(theta, UNTIL + timedelta(days=9), 3)
    assert torch.equal(later.infected.infected_on, other.infected.infected_on)


def test_one_past_has_many_futures_and_streams_see_the_past(made_up, theta):
    state = made_up.simulator.state_at(theta, UNTIL, 3)
    one, two = (made_up.simulator.starting_from(state).simulate(theta, seed)[1].infections for seed in (4, 5))
    first = study.calendar.day_of(UNTIL) + 1
    assert torch.equal(one[:, :first], two[:, :first])
    assert one[:, :first].sum() > 100
    assert not torch.equal(one[:, first:], two[:, first:])
    table = state.table(study, made_up.simulator.population)
    assert table.infections.sum() == pytest.approx(float(one[:, :first].mean(0).sum()))
    assert table.date.max() <= str(UNTIL)


def test_the_jacobian_of_a_restarted_run_has_no_derivative_of_the_past(made_up):
    z = torch.zeros(1, made_up.space.dim, dtype=torch.float64)
    state = made_up.simulator.state_at(made_up.space.to_theta(z), UNTIL, 3)
    simulator = made_up.simulator.starting_from(state)
    value, slopes = simulator.jacobian(z, 3)
    flat = simulator.layout.flat(simulator.bind(3)(simulator.space.to_theta(z)))
    torch.testing.assert_close(value, flat)
    leaf = z.clone().requires_grad_()
    weights = torch.linspace(0.5, 1.5, flat.shape[1], dtype=torch.float64)
    (simulator.layout.flat(simulator.bind(3)(simulator.space.to_theta(leaf))) * weights).sum().backward()
    torch.testing.assert_close(leaf.grad, torch.einsum("m,pmd->pd", weights, slopes), rtol=1e-6, atol=1e-6)
    infections = slopes[0, simulator.layout.slices["infections_county"]].reshape(11, 2, -1)
    past = simulator.observation.weeks <= str(UNTIL)
    community = simulator.space.slice_of("transmission_community").start
    assert float(infections[past].abs().max()) == 0
    assert float(infections[~past][..., community].abs().min()) > 0
    assert float(infections[..., simulator.space.slice_of("seed_level").start].abs().max()) == 0


def test_counts_of_infections_are_a_start_and_a_calendar_may_begin_later(made_up):
    first = date(2030, 4, 7)
    declared = study.starting_on(first)
    assert declared.calendar.first_week == date(2030, 4, 13)
    assert "seed_level" not in {p.name for p in declared.parameters()}
    simulator = build(declared, replace(made_up.data, study=declared))
    infections = torch.zeros(2, 20, 2, 3, dtype=torch.float64)
    infections[:, -10:] = 7.0
    until = first + timedelta(days=6)
    state = state_from_infections(declared, simulator.population, infections, until, seed=1)
    theta = simulator.space.to_theta(torch.zeros(2, simulator.space.dim, dtype=torch.float64))
    found, epidemic = simulator.starting_from(state).simulate(theta, 2)
    known = epidemic.infections[:, :7]
    assert known.mean() == pytest.approx(7.0, rel=0.15)  # an agent is five people
    assert epidemic.infections[:, 7:].sum() > 0
    assert found["cases_county"].shape == (2, 7, 2)
    # what was infected before the calendar began infects, though no stream sees it
    assert state.infected.incidence[:, :13].sum() > 0
    none = state_from_infections(declared, simulator.population, 0 * infections, until, seed=1)
    assert float(simulator.starting_from(none).simulate(theta, 2)[1].infections.sum()) == 0
    before = state_from_infections(declared, simulator.population, infections, first - timedelta(days=1), seed=1)
    assert float(simulator.starting_from(before).simulate(theta, 2)[1].infections.sum()) > 0


def test_numbers_of_agents_have_the_mean_of_the_people(made_up):
    people = torch.full((400, 2, 2, 3), 3.0, dtype=torch.float64)
    state = state_from_infections(study, made_up.simulator.population, people, UNTIL, seed=1)
    per = torch.from_numpy(made_up.simulator.population.people_per_agent)
    mean = state.infected.incidence.reshape(400, 2, 2, 3).mean(0) * per[:, None]
    assert float((mean - 3.0).abs().max()) < 0.6
    assert float(mean.mean()) == pytest.approx(3.0, rel=0.03)


def test_bad_states_are_refused(made_up, theta):
    population = made_up.simulator.population
    with pytest.raises(StudyError, match="expected a day from 2030-03-03"):
        made_up.simulator.state_at(theta, date(2031, 1, 1), 3)
    with pytest.raises(StudyError, match=r"expected \[particle, day, 2, 3\]"):
        state_from_infections(study, population, torch.zeros(1, 2, 3), UNTIL, 0)
    with pytest.raises(StudyError, match="cannot be drawn"):
        state_from_infections(study, population, torch.full((1, 2, 2, 3), 1e5), UNTIL, 0)
    state = made_up.simulator.state_at(theta, UNTIL, 3)
    with pytest.raises(StudyError, match="The state holds"):
        build(study, made_up.data, scale=0.1).starting_from(state)
