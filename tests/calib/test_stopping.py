import numpy as np
import pytest

from calib import StopRule, has_converged, smooth

RULE = StopRule()


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_settles_on_noise_around_a_constant(rng):
    verdicts = [has_converged(rng.normal(-500, 3, 300), RULE).converged for _ in range(200)]
    assert np.mean(verdicts) > 0.6  # half a standard error: 69 % of looks


def test_does_not_settle_on_a_ramp(rng):
    ramp = np.linspace(0, 30, 400)  # rises by 6 over half a window, noise of a step 5
    verdicts = [has_converged(ramp + rng.normal(0, 5, 400), RULE).converged for _ in range(200)]
    assert np.mean(verdicts) < 0.01


def test_a_slow_ramp_is_seen_once_the_window_is_long(rng):
    verdicts = [has_converged(0.01 * np.arange(3000) + rng.normal(0, 5, 3000), RULE).converged for _ in range(100)]
    assert np.mean(verdicts) < 0.01


def test_does_not_settle_on_an_exponential_approach_until_it_has_arrived(rng):
    steps = np.arange(4000)
    history = -1e5 * np.exp(-steps / 100) + rng.normal(0, 2, steps.size)
    stops = next(n for n in range(200, 4000, 10) if has_converged(history[:n], RULE).converged)
    assert 1e5 * np.exp(-stops / 100) < 20


def test_outliers_do_not_hide_a_rise(rng):
    history = np.linspace(0, 20, 400) + rng.normal(0, 2, 400)
    history[::50] -= 1e4
    assert not has_converged(history, RULE).converged


def test_a_falling_objective_counts_as_settled(rng):
    assert has_converged(-np.linspace(0, 10, 300) + rng.normal(0, 1, 300), RULE).converged


def test_exact_numbers():
    rule = StopRule(min_steps=8, min_window=8, window_fraction=1.0, tolerance=0.0)
    verdict = has_converged([0.0, 1.0, 0.0, 1.0, 1.0, 2.0, 1.0, 2.0], rule)
    assert verdict.rise == pytest.approx(1.0)
    assert verdict.noise == pytest.approx(np.sqrt(2 * (1 / 3) / 4))
    assert not verdict.converged


def test_a_certain_rise_that_is_too_small_to_matter():
    history = np.linspace(0, 0.1, 300)
    assert has_converged(history, StopRule(tolerance=0.05)).converged
    assert not has_converged(history, StopRule(tolerance=0.01)).converged


def test_short_histories_and_gaps(rng):
    assert not has_converged(np.zeros(199), RULE).converged
    assert has_converged(np.zeros(200), RULE).converged
    gappy = np.zeros(250)
    gappy[:60] = np.nan
    assert not has_converged(gappy, RULE).converged  # 190 values
    assert not has_converged([], RULE).converged


def test_smooth_is_a_weighted_mean_blind_to_gaps():
    assert smooth([3.0, 3.0, np.nan, 3.0]) == pytest.approx([3.0] * 4)
    assert np.isnan(smooth([np.nan, 1.0])[0])
    assert smooth([0.0, 1.0], half_life=1.0)[1] == pytest.approx(1 / 1.5)


@pytest.mark.parametrize("bad", [{"min_window": 4}, {"min_steps": 10}, {"window_fraction": 0.0}])
def test_senseless_rules_are_refused(bad):
    with pytest.raises(ValueError, match="stop rule"):
        StopRule(**bad)
