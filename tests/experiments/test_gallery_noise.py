"""The particle filter against enumeration, the reference table against itself, and `calibrate` against the table."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, poisson

from experiments.calibration_gallery._chain_binomials import DATA_SETS, PROBLEMS, data_set
from experiments.calibration_gallery._particle_filter import log_likelihood
from experiments.calibration_gallery._references import Exact, by_grid, by_importance, load_references, summarise
from experiments.calibration_gallery.noise import is_wrong, measure, summary


def enumerated(model, reports, beta, gamma):
    """Likelihood of an epidemic in one town, over all that can happen."""

    def rest(day, susceptible, infectious):
        if day == model.days:
            return 1.0
        chance = -math.expm1(-beta * infectious / model.people[0])
        total = 0.0
        for new, left in product(range(susceptible + 1), range(infectious + 1)):
            here = binom.pmf(new, susceptible, chance) * binom.pmf(left, infectious, -math.expm1(-gamma))
            in_likelihood = poisson.pmf(reports[day], model.report * new + model.background)
            total += here * in_likelihood * rest(day + 1, susceptible - new, infectious + new - left)
        return total

    return rest(0, model.people[0] - model.infected[0], model.infected[0])


def test_particle_filter_is_unbiased_against_enumeration():
    model = replace(PROBLEMS["sir500"], people=(5,), infected=(2,), days=3, report=0.6)
    reports = np.array([1.0, 0.0, 2.0])
    theta = {"beta": np.full(4000, 0.9), "gamma": np.full(4000, 0.4)}
    found = np.exp(log_likelihood(model, reports, theta, 20, np.random.default_rng(0)))
    wanted = enumerated(model, reports, 0.9, 0.4)
    assert abs(found.mean() - wanted) < 4 * found.std() / math.sqrt(len(found))
    assert found.std() / math.sqrt(len(found)) < 0.02 * wanted


def test_simulator_follows_its_seed_and_towns_infect_one_another():
    model = PROBLEMS["three_towns"]
    theta = {name: torch.full((50,), value, dtype=torch.float64) for name, value in model.truth.items()}
    one, same, other = (model.simulate(theta, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    by_town = (one.reshape(50, model.days, 3) - model.background).sum(1)
    assert (by_town[:, 1:] > 0).double().mean() > 0.9  # nobody was infected there at the start
    alone = model.simulate(theta | {"coupling": torch.zeros(50, dtype=torch.float64)}, 1)
    assert (alone.reshape(50, model.days, 3)[..., 1:] == model.background).all()


def test_references_agree_in_two_ways():
    table = load_references()
    near = np.where(table["problem"] == "three_towns", 0.3, 0.15)  # short chains in six dimensions
    assert ((table["mean"] - table["second_mean"]).abs() < near * table["sd"]).all()
    assert ((table["sd"] / table["second_sd"]).between(1 / (1 + near), 1 + near)).all()
    assert (table["effective"] > 100).all()
    known = {(row.problem, row.number) for row in table.itertuples()}
    assert known == {(name, number) for name, count in DATA_SETS.items() for number in range(1, count + 1)}


def test_one_reference_again_with_fewer_particles():
    exact = Exact(PROBLEMS["sir2000"], data_set("sir2000", 1).numpy())
    random = np.random.default_rng(5)
    table = load_references().query("problem == 'sir2000'").set_index("parameter")
    first = summarise(exact, *by_importance(exact, random, draws=300, particles=60))
    for name, (mean, sd) in first.items():
        assert abs(mean - table["mean"][name]) < 0.4 * table["sd"][name]
        assert 0.6 < sd / table["sd"][name] < 1.6
    z, weight = by_grid(exact, np.zeros(2), np.full(2, 0.3), random, points=5, particles=20)
    assert z.shape == (25, 2)
    assert weight.sum() == pytest.approx(1)


def test_table_counts_wrong_posteriors_that_were_believed():
    rows = pd.DataFrame({
        "problem": "a", "number": 1, "method": "auto", "budget": 500, "seed": range(4), "error": [0.1, 0.7, 0.1, 0.1],
        "ratio_low": [0.9, 0.9, 0.6, 0.9], "ratio_high": [1.1, 1.1, 1.1, 1.1],
        "state": ["good", "usable", "poor", "poor"], "seconds": 1.0,
    })  # fmt: skip
    assert is_wrong(rows).tolist() == [False, True, True, False]
    found = summary(rows).iloc[0]
    assert (found["wrong"], found["wrong_believed"], found["right_called_poor"]) == (2, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["sir2000", "sir500", "near_threshold"])
def test_calibration_is_right_or_says_that_it_is_not(problem):
    row = measure(problem, 1, "auto", 2000, 7)
    wrong = row["error"] > 0.5 or row["ratio_high"] > 1.5 or row["ratio_low"] < 1 / 1.5
    assert not wrong or row["state"] == "poor"
    assert not wrong


@pytest.mark.slow
def test_direct_on_a_chain_binomial_is_not_believed():
    row = measure("sir2000", 1, "vi", 4000, 7)
    assert row["state"] in ("poor", "unfinished")
