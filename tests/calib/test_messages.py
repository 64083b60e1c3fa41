"""What a newcomer does wrong is answered in one sentence that says what was wrong."""

import re

import numpy as np
import pytest
import torch
from torch.distributions import Independent, LogNormal, Normal, Poisson

from calib import FitError, calibrate

PRIOR = {"beta": LogNormal(-1.0, 0.5), "gamma": LogNormal(-1.6, 0.4)}


def epidemic(theta, seed):
    """New infections by day, `[draw, day]`, in a town of 1,000."""
    random = np.random.default_rng(seed)
    beta, gamma = theta["beta"].numpy(), theta["gamma"].numpy()
    susceptible, infectious, days = np.full(len(beta), 980), np.full(len(beta), 20), []
    for _ in range(20):
        new = random.binomial(susceptible, 1 - np.exp(-beta * infectious / 1000))
        recovered = random.binomial(infectious, 1 - np.exp(-gamma))
        susceptible, infectious = susceptible - new, infectious + new - recovered
        days.append(new)
    return np.stack(days, 1)


def reported(new):
    return Independent(Poisson(0.3 * new + 0.01), 1)


CASES = (0.3 * epidemic({"beta": torch.tensor([0.45]), "gamma": torch.tensor([0.2])}, 99)[0]).round()


def test_a_misspelt_prior_is_shown_beside_the_name_that_the_simulator_asked_for():
    with pytest.raises(FitError, match=r"KeyError: 'beta'.*theta of the keys 'bta', 'gamma'\.$"):
        calibrate(
            epidemic, {"bta": PRIOR["beta"], "gamma": PRIOR["gamma"]}, CASES, likelihood=reported, budget=200, seed=0
        )


def test_too_small_a_budget_is_not_blamed_on_the_simulator():
    with pytest.raises(
        ValueError,
        match=r"a budget of 200 simulations was given, expected at least 250 for a simulator with noise; count on 1,000 to 2,000 a p",
    ):
        calibrate(epidemic, PRIOR, CASES, likelihood=reported, budget=200, seed=0)


def test_the_least_budget_that_a_message_names_is_enough():
    found = calibrate(epidemic, PRIOR, CASES, likelihood=reported, budget=250, seed=0)
    assert found.report["simulations"] <= 250


@pytest.mark.parametrize("method", ["multifidelity", "hmc"])
def test_methods_name_the_least_budget_of_the_whole_call(method):
    def smooth(theta, seed):
        return theta["beta"][:, None] * torch.arange(1.0, 5.0) + theta["gamma"][:, None]

    arguments = {"likelihood": lambda m: Independent(Normal(m, 0.1), 1), "method": method, "seed": 0}
    data = torch.tensor([0.6, 1.0, 1.4, 1.8])
    with pytest.raises(ValueError, match=r"expected at least \d+ for") as refused:
        calibrate(smooth, PRIOR, data, budget=60, **arguments)
    least = int(re.search(r"at least (\d+)", str(refused.value)).group(1))
    with pytest.raises(ValueError, match=rf"expected at least {least} for"):
        calibrate(smooth, PRIOR, data, budget=least - 1, **arguments)
    if method == "hmc":  # the other takes half a minute
        assert calibrate(smooth, PRIOR, data, budget=least, **arguments).report["budget"] == least


def test_sentences_of_the_page_of_checks_end_once():
    found = calibrate(epidemic, PRIOR, CASES, likelihood=reported, budget=600, method="abc-regression", seed=0)
    assert not re.search(r"\.\.(\s|$)", found.check(epidemic, reported).text())
