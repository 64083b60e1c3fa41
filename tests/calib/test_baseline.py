import numpy as np
import pytest
from scipy.stats import norm

from calib._baseline import baseline_quantiles
from calib._hub import HUB_LEVELS

TAU = np.asarray(HUB_LEVELS)


def test_one_step_ahead_is_the_symmetrised_difference_distribution():
    history = np.array([100.0, 110, 130, 125, 165, 200])[:, None]
    quantiles = baseline_quantiles(history, 1, np.random.default_rng(0), paths=200_000)[0, 0]
    steps = np.diff(history[:, 0])
    expected = 200 + np.quantile(np.concatenate([steps, -steps]), TAU)
    np.testing.assert_allclose(quantiles, expected, atol=0.4)


def test_constant_history_gives_a_point():
    quantiles = baseline_quantiles(np.full((5, 2), 7.0), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(quantiles, 7.0)


def test_spread_grows_as_the_root_of_the_horizon_far_from_zero():
    differences = norm.ppf((np.arange(200) + 0.5) / 200) * 10
    history = (1e6 + np.concatenate([[0], np.cumsum(differences)]))[:, None]
    quantiles = baseline_quantiles(history, 9, np.random.default_rng(0), paths=100_000)[:, 0]
    sd = (quantiles[:, 18] - quantiles[:, 4]) / (norm.ppf(TAU[18]) - norm.ppf(TAU[4]))
    np.testing.assert_allclose(sd, 10 * np.sqrt(np.arange(1, 10)), rtol=0.03)


def test_median_is_the_last_value_and_nothing_is_negative():
    history = np.array([[1000.0, 0], [400, 3], [50, 1]])
    quantiles = baseline_quantiles(history, 6, np.random.default_rng(0))
    assert quantiles.shape == (6, 2, 23)
    np.testing.assert_array_equal(quantiles[:, :, 11], np.broadcast_to([50.0, 1], (6, 2)))
    assert (quantiles >= 0).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_seed_decides():
    history = np.array([[10.0], [14], [9]])
    first, second, other = (baseline_quantiles(history, 4, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("history", "horizons", "message"),
    [
        (np.ones((1, 2)), 2, "at least 2 weeks"),
        (np.ones(5), 2, r"\[week, place\]"),
        (np.array([[1.0], [np.nan]]), 2, "not finite"),
        (np.ones((3, 1)), 0, "0 horizons"),
    ],
)
def test_refuses_histories_it_cannot_use(history, horizons, message):
    with pytest.raises(ValueError, match=message):
        baseline_quantiles(history, horizons, np.random.default_rng(0))
