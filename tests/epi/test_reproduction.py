"""The reproduction number by the next-generation matrix: closed form, one generation simulated, early growth simulated."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import torch

import sim
from epi.errors import StudyError
from epi.model import derive, next_generation, reproduction_number
from tests.epi.conftest import build
from tests.made_up.study import study
from tests.sim.worlds import small_population, some_rates


@pytest.fixture(scope="module")
def world():
    torch.set_default_dtype(torch.float64)
    population = small_population(households=30, regions=1, ages=2, archetypes=2)
    rates = some_rates(population, particles=1, days=7, infectious_days=1).map(lambda x: x.double())
    return population, rates


def test_the_community_alone_is_a_closed_form(world):
    population, rates = world
    beta = torch.zeros_like(rates.transmission)
    beta[:, sim.COMMUNITY] = 1.3
    mixing = torch.tensor([[[0.6, 0.4], [0.3, 0.7]]])
    only = replace(rates, transmission=beta, mixing=mixing, susceptibility=torch.ones_like(rates.susceptibility),
                   infectiousness=torch.full_like(rates.infectiousness, 0.8))  # fmt: skip
    matrix, _ = next_generation(population, only, slice(0, 7))
    size = population.group_size
    by_group = 1.3 * 0.8 * mixing[0].numpy() * size[:, None] / size[None, :]
    assert np.abs(np.linalg.eigvals(matrix[0])).max() == pytest.approx(np.abs(np.linalg.eigvals(by_group)).max())


def test_one_generation_simulated_is_the_matrix(world):
    population, rates = world
    rates = replace(rates.between(0, 1), importation=0 * rates.importation[:, :1], transmission=0.3 * rates.transmission[..., :1],
                    waning=rates.waning[..., :0])  # fmt: skip
    matrix, cells = next_generation(population, rates, slice(0, 1))
    runs, agents = 400, population.agents
    on = torch.full((agents, agents), sim.InfectedBefore.never, dtype=torch.int16)
    on.fill_diagonal_(-1)
    many = rates.map(lambda x: x.expand(agents * runs, *x.shape[1:]).contiguous())
    start = sim.InfectedBefore(on.repeat(runs, 1))
    made = sim.epidemic(population, many, 3, start=start, estimator="local-score").reshape(runs, agents, -1)
    cell = np.array(
        [np.flatnonzero((cells == pair).all(1))[0] for pair in np.stack([population.group, population.archetype], 1)]
    )
    for c in range(len(cells)):
        own = made[:, cell == c]
        for g in range(population.groups):
            mean, error = float(own[..., g].mean()), float(own[..., g].std()) / np.sqrt(own[..., g].numel())
            wanted = matrix[0][cells[:, 0] == g, c].sum()
            assert mean == pytest.approx(wanted, abs=4 * error + 0.03 * wanted)
    assert made.mean() > 0.05


def test_early_growth_shows_the_number(made_up):
    """Without households and small venues: Rt after the seeding is R0 times the share still susceptible."""
    simulator = build(study, made_up.data, scale=1.0, last=date(2030, 4, 6))
    theta = simulator.space.to_theta(torch.zeros(6, simulator.space.dim, dtype=torch.float64))
    for layer in study.layers[:1] + study.layers[2:]:
        theta[f"transmission_{layer}"] = torch.full_like(theta[f"transmission_{layer}"], 1e-4)
    theta["transmission_community"] = torch.full_like(theta["transmission_community"], 1.8)
    number = reproduction_number(simulator, {n: x[:1] for n, x in theta.items()}).item()
    assert number == pytest.approx(1.8, rel=0.1)
    _, epidemic = simulator.simulate(theta, 5)
    found = derive(epidemic)["Rt", "all"][
        :, -1, 0
    ].mean()  # the last of the weeks before the random walk begins to move
    people = float(made_up.data.population.sum())
    left = 1 - float(epidemic.infections[:, :-3].sum((1, 2, 3)).mean()) / people
    assert float(found) == pytest.approx(number * left, rel=0.08)


def test_households_and_venues_add_to_the_number(made_up):
    theta = made_up.space.to_theta(torch.zeros(1, made_up.space.dim, dtype=torch.float64))
    whole = reproduction_number(made_up.simulator, theta)
    less = dict(theta) | {"transmission_household": 0.5 * theta["transmission_household"]}
    assert float(reproduction_number(made_up.simulator, less)) < float(whole)
    assert 1 < float(whole) < 3
    # nobody has doses here
    assert torch.equal(reproduction_number(made_up.simulator, theta, immunity=True), whole)
    with pytest.raises(StudyError, match="reproduction number was asked for"):
        reproduction_number(made_up.simulator, theta, date(2031, 1, 1))
