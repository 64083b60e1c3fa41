"""Discrete parameters: ranks with ties pass for exact posteriors and fail for wrong ones."""

import numpy as np
import pytest

from calib.diagnostics import compute_coverage, compute_sbc, compute_tarp, judge_coverage, judge_sbc, sbc_ranks

STATES = np.arange(5)
PRIOR = np.array([0.1, 0.3, 0.3, 0.2, 0.1])
DATA_SETS, DRAWS = 400, 60


def posterior(y, prior=PRIOR, sharpness=1.0):
    """Exact probabilities `[N, state]` of Binomial(12, (k + 1) / 6) data, by enumeration."""
    p = (STATES + 1) / 6
    log = np.log(prior) + sharpness * (y[:, None] * np.log(p) + (12 - y[:, None]) * np.log1p(-p))
    weight = np.exp(log - log.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def draw(probabilities, rng, size):
    return (rng.random((len(probabilities), size, 1)) > probabilities.cumsum(1)[:, None, :-1]).sum(-1)


def problem(seed, data_sets=DATA_SETS, **wrong):
    """Truths `[N]`, draws `[N, S]` and the probabilities `[N, state]` claimed."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, size=data_sets, p=PRIOR)
    claimed = posterior(rng.binomial(12, (truth + 1) / 6), **wrong)
    return truth, draw(claimed, rng, DRAWS), claimed


WRONG = {
    "over-confident": {"sharpness": 3.0},
    "too wide": {"sharpness": 0.3},
    "wrong prior": {"prior": np.array([0.5, 0.3, 0.15, 0.04, 0.01])},
}


def verdicts(truth, draws, claimed):
    log = np.log(claimed)
    return {
        "sbc": judge_sbc(compute_sbc(truth[:, None], draws[:, :, None])),
        "coverage": judge_coverage(
            compute_coverage(np.take_along_axis(log, truth[:, None], 1)[:, 0], np.take_along_axis(log, draws, 1))
        ),
        "tarp": judge_coverage(compute_tarp(truth[:, None], draws[:, :, None])),
    }


def test_exact_discrete_posteriors_pass():
    """At most 3 of 20 p-values lie below 0.05 (probability 0.984 if uniform), and none fails."""
    pages = [verdicts(*problem(seed)) for seed in range(10, 30)]
    for name in pages[0]:
        assert sum(page[name].word != "pass" for page in pages) <= 3, name
        assert sum(page[name].word == "fail" for page in pages) <= 1, name


@pytest.mark.parametrize("case", ["over-confident", "wrong prior"])
def test_wrong_discrete_posteriors_fail(case):
    found = verdicts(*problem(1, **WRONG[case]))
    assert found["sbc"].word == found["coverage"].word == "fail"


def test_a_discrete_posterior_that_is_too_wide_warns():
    found = verdicts(*problem(1, **WRONG["too wide"]))["coverage"]
    assert found.word == "warn"
    assert "too wide" in found.text


def test_over_confident_regions_of_a_discrete_posterior_fail():
    found = verdicts(*problem(2, **WRONG["over-confident"]))
    assert found["coverage"].word == found["tarp"].word == "fail"
    assert "over-confident" in found["coverage"].text


def test_ranks_of_an_exact_discrete_posterior_have_the_uniform_distribution_exactly():
    """One draw and two states: rank 0 or 1 with probability one half each, by enumeration."""
    rng = np.random.default_rng(3)
    p = 0.9
    truth, draws = (rng.random((20_000, 1)) < p).astype(int), (rng.random((20_000, 1, 1)) < p).astype(int)
    assert abs(sbc_ranks(truth, draws).mean() - 0.5) < 4 * 0.5 / 20_000**0.5
    assert (draws[:, 0] == truth).mean() == pytest.approx(p**2 + (1 - p) ** 2, abs=0.02)  # most are ties


def test_ties_follow_the_seed_and_ranks_without_ties_do_not():
    truth, draws, _ = problem(4, data_sets=50)
    first, second, other = (sbc_ranks(truth[:, None], draws[:, :, None], seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((50, 2)), rng.standard_normal((50, 9, 2))
    np.testing.assert_array_equal(sbc_ranks(x, y, seed=0), sbc_ranks(x, y, seed=1))
    np.testing.assert_array_equal(sbc_ranks(x, y), (y < x[:, None]).sum(1))


def test_rounding_does_not_order_values_that_are_equal():
    """Truths in double and draws in single precision: 0.1 is neither above nor below 0.1."""
    truth = np.full((400, 1), 0.1)
    ranks = sbc_ranks(truth, np.full((400, 9, 1), 0.1, dtype=np.float32))
    assert set(np.unique(ranks)) == set(range(10))
    # and combinations of discrete parameters, sums of the same terms in another order
    rng = np.random.default_rng(6)
    truths = rng.integers(0, 2, (DATA_SETS, 3))
    draws = rng.integers(0, 2, (DATA_SETS, DRAWS, 3))
    assert judge_sbc(compute_sbc(truths, draws, combinations=3)).word == "pass"
    assert judge_sbc(compute_sbc(truths, draws * 0, combinations=3)).word == "fail"
