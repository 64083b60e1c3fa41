"""Parameters that the data do not move are named, and only they."""

import doctest

import numpy as np
import pytest
from scipy.stats import ks_1samp, ks_2samp, norm

import calib._unmoved
from calib import prior_distance

NAMES = ("still", "shifted", "narrow", "wide", "skewed")


def posterior(rng, count):
    z = rng.standard_normal((count, 5))
    z[:, 1] += 0.5
    z[:, 2] *= 0.5
    z[:, 3] *= 1.6
    z[:, 4] = rng.standard_exponential(count) - 1  # mean 0 and sd 1, as the prior's
    return z


@pytest.mark.parametrize("count", [500, 20_000])
def test_names_what_did_not_move(count):
    rng = np.random.default_rng(0)
    z = posterior(rng, count)
    assert prior_distance(z, NAMES).unmoved == ("still",)
    found = prior_distance(np.exp(z), NAMES, prior=np.exp(rng.standard_normal((5000, 5))))
    assert found.unmoved == ("still",)  # units and heavy tails do not matter


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(1)
    z, prior = posterior(rng, 200), rng.standard_normal((300, 5))
    exact = [ks_1samp(column, norm.cdf).statistic for column in z.T]
    np.testing.assert_allclose(prior_distance(z, NAMES).distance, exact)
    exact = [ks_2samp(z[:, i], prior[:, i]).statistic for i in range(5)]
    np.testing.assert_allclose(prior_distance(z, NAMES, prior=prior).distance, exact)


def test_noise_is_passed_by_one_in_a_hundred():
    rng = np.random.default_rng(2)
    names = [str(i) for i in range(1500)]
    for prior in (None, rng.standard_normal((200, 1500))):
        found = prior_distance(rng.standard_normal((150, 1500)), names, prior=prior)
        assert 0.003 < 1 - len(found.unmoved) / 1500 < 0.02


def test_chains_are_worth_less_than_their_draws():
    """The same draw ten times: the noise is that of a tenth of the draws."""
    rng = np.random.default_rng(3)
    names = [str(i) for i in range(500)]
    z = np.repeat(rng.standard_normal((200, 500)), 10, axis=0)
    assert len(prior_distance(z, names).unmoved) < 450
    assert len(prior_distance(z, names, effective=200).unmoved) > 485


def test_small_differences_count_as_none_however_many_draws():
    z = np.random.default_rng(4).standard_normal((200_000, 2)) + np.array([0.05, 0.3])
    assert prior_distance(z, ("a", "b")).unmoved == ("a",)


def test_discrete_parameters():
    rng = np.random.default_rng(5)
    prior = rng.integers(0, 4, (2000, 2))
    draws = np.stack([rng.integers(0, 4, 1000), rng.integers(1, 4, 1000)], 1)
    assert prior_distance(draws, ("same", "other"), prior=prior).unmoved == ("same",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"posterior": np.zeros((500, 3))}, r"expected \[draw, parameter\] with 2"),
        ({"posterior": np.full((500, 2), np.nan)}, "500 of 500 posterior draws are not finite"),
        ({"prior": np.full((500, 2), np.inf)}, "500 of 500 prior draws are not finite"),
        ({"posterior": np.zeros((20, 2))}, "worth 20 independent"),
        ({"effective": [400, 12]}, "worth 12 independent"),
        ({"effective": np.nan}, "worth nan independent"),
    ],
)
def test_what_cannot_be_told_is_refused(given, said):
    given = {"posterior": np.random.default_rng(6).standard_normal((500, 2))} | given
    with pytest.raises(ValueError, match=said):
        prior_distance(given.pop("posterior"), ("a", "b"), **given)


def test_the_example_runs():
    assert doctest.testmod(calib._unmoved).failed == 0
