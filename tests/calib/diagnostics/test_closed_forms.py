"""Parts of the diagnostics against what is known exactly."""

import numpy as np
import pytest
from scipy.stats import binom

from calib.diagnostics import (
    compute_misspecification,
    compute_posterior_predictive,
    compute_prior_predictive,
    compute_sbc,
    compute_tarp,
    coverage_of_ranks,
    interval_coverage,
    judge_misspecification,
    judge_sbc,
    sbc_of_ranks,
    sbc_ranks,
)
from calib.diagnostics._pool import STATISTICS, mahalanobis, mmd
from calib.diagnostics._uniform import c2st_uniform, chi_square_p_value, ecdf_band, ecdf_p_value
from calib.diagnostics._verdict import holm


def test_ranks_by_hand():
    samples = np.array([[[0.0], [1.0], [2.0]]] * 10)
    thetas = np.array([[-1.0], [0.5], [1.5], [3.0], [0.5], [0.5], [0.5], [0.5], [0.5], [0.5]])
    assert sbc_ranks(thetas, samples)[:4, 0].tolist() == [0, 1, 2, 3]


def test_permutation_p_values_are_uniform():
    """Exact for every statistic, also with more observations than simulations."""
    rng = np.random.default_rng(0)
    for columns in (3, 60):
        p = [
            list(compute_misspecification(y[0], y[1:]).p_values.values())
            for y in rng.standard_normal((150, 40, columns))
        ]
        for name, values in zip(STATISTICS, np.array(p).T, strict=True):
            below = [(values <= level).mean() for level in (0.1, 0.5)]
            assert binom.cdf(round(150 * below[0]), 150, 4 / 40) > 0.003, name  # 4 of 40 ranks lie at p <= 0.1
            assert 0.37 < below[1] < 0.63, name


def test_mahalanobis_of_many_members_is_the_textbook_one():
    pool = np.random.default_rng(1).multivariate_normal(np.zeros(2), [[2.0, 1.2], [1.2, 1.0]], 20_000)
    away = pool - pool.mean(0)
    exact = np.sqrt((away * np.linalg.solve(np.cov(pool.T), away.T).T).sum(1))
    np.testing.assert_allclose(mahalanobis(pool), exact, rtol=0.02)


def test_mmd_by_hand():
    """One member against the rest, by the definition (Gretton et al. 2012, eq. 3)."""
    pool = np.random.default_rng(2).standard_normal((12, 2))
    pool = (pool - pool.mean(0)) / pool.std(0)
    squared = ((pool[:, None] - pool[None]) ** 2).sum(-1)
    k = np.exp(-squared / np.median(squared[np.triu_indices(12, 1)]))
    one, rest = k[0, 1:], k[1:, 1:]
    assert mmd(pool)[0] == pytest.approx(1 - 2 * one.mean() + (rest.sum() - 11) / (11 * 10))


def test_a_wrong_correlation_of_the_data_is_seen_and_the_ranges_do_not_show_it():
    rng = np.random.default_rng(4)
    simulated = rng.multivariate_normal(np.zeros(2), [[1.0, 0.98], [0.98, 1.0]], 300)
    odd = np.array([1.2, -1.2])
    assert judge_misspecification(compute_misspecification(odd, simulated)).word == "fail"
    assert not compute_prior_predictive(odd, simulated).outside.any()


def test_few_simulations_fail_only_what_is_far_out():
    simulated = np.random.default_rng(5).standard_normal((30, 2))
    assert judge_misspecification(compute_misspecification([3.0, 0.0], simulated)).word != "fail"
    far = judge_misspecification(compute_misspecification([40.0, 0.0], simulated))
    assert far.word == "fail"
    assert "times as far as the farthest" in far.text


def test_ecdf_band_holds_uniform_ranks_as_often_as_it_says():
    rng = np.random.default_rng(6)
    ranks = rng.integers(0, 100, (600, 80))
    p = np.array([ecdf_p_value(r, 99) for r in ranks])
    for level in (0.05, 0.2):
        assert abs((p <= level).mean() - level) < 3.5 * (level * (1 - level) / 600) ** 0.5 + 0.01
    share, low, high = ecdf_band(80, 99)
    assert ((low <= share) & (share <= high)).all()


def test_uniformity_tests_see_a_shift_and_a_width():
    rng = np.random.default_rng(7)
    even, narrow = rng.integers(0, 100, 300), np.clip(rng.normal(50, 15, 300), 0, 99).round()
    assert chi_square_p_value(even, 99) > 0.01 > chi_square_p_value(narrow, 99)
    assert abs(c2st_uniform(even, 99) - 0.5) < 0.06 < c2st_uniform(narrow, 99) - 0.5


def test_sbc_names_the_defect():
    rng = np.random.default_rng(8)
    shapes = {
        "too narrow": rng.beta(0.4, 0.4, 300),
        "too wide": rng.beta(3, 3, 300),
        "too low": rng.beta(3, 1, 300),
        "too high": rng.beta(1, 3, 300),
    }
    for word, u in shapes.items():
        verdict = judge_sbc(sbc_of_ranks((u * 100).astype(int)[:, None], 99, ("x",)))
        assert verdict.word == "fail"
        assert f"its posterior is {word}" in verdict.text


def test_few_data_sets_warn():
    ranks = np.random.default_rng(9).integers(0, 100, (30, 2))
    assert "30 data sets show only large defects" in judge_sbc(sbc_of_ranks(ranks, 99)).text


def test_combinations_see_a_correlation_that_marginals_do_not():
    rng = np.random.default_rng(20)
    thetas = rng.multivariate_normal(np.zeros(2), [[1, -0.95], [-0.95, 1]], 300)
    samples = rng.standard_normal((300, 99, 2))  # right marginals, correlation lost
    assert judge_sbc(compute_sbc(thetas, samples)).word == "pass"
    assert judge_sbc(compute_sbc(thetas, samples, combinations=4)).word == "fail"


def test_coverage_of_a_known_narrow_posterior():
    """q = N(0, s^2) for truths N(0, 1): the region of level a holds P(|z| < s * quantile)."""
    from scipy.stats import norm

    rng = np.random.default_rng(11)
    truths, draws = rng.standard_normal(2000), 0.5 * rng.standard_normal((2000, 99))
    found = coverage_of_ranks((np.abs(draws) < np.abs(truths)[:, None]).sum(1), 99)
    exact = 2 * norm.cdf(0.5 * norm.ppf(0.5 + found.level / 2)) - 1
    np.testing.assert_allclose(found.covered, exact, atol=0.04)
    assert found.excess < -0.1


def test_tarp_passes_the_prior_with_points_that_ignore_the_data_and_fails_with_points_that_do_not():
    """Theorem 3 of Lemos et al. (2023): the points must depend on the data."""
    rng = np.random.default_rng(12)
    thetas = rng.standard_normal((500, 1))
    x = thetas + 0.3 * rng.standard_normal((500, 1))
    prior = rng.standard_normal((500, 99, 1))
    assert compute_tarp(thetas, prior).p_value > 0.05
    assert compute_tarp(thetas, prior, x).p_value < 0.01


def test_posterior_predictive_p_values_by_hand():
    draws = np.arange(20.0)[:, None] * np.ones(2)
    found = compute_posterior_predictive([5.0, 30.0], draws, ["low", "high"])
    assert found.p_values.tolist() == [pytest.approx((5 + 0.5) / 20), 1.0]
    assert found.groups == ("low", "high")
    assert found.discrepancy[1] == 0.0
    # nearer to the mean 9.5 than 5: the draws 6..13
    assert found.discrepancy[0] == pytest.approx(12 / 20)
    assert found.inside_90.tolist() == [1.0, 0.0]


def test_interval_coverage_and_holm():
    ranks = np.arange(100)[:, None]
    np.testing.assert_allclose(interval_coverage(ranks, 99)[:, 0], [0.5, 0.9])
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
