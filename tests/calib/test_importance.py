import math

import numpy as np
import pytest
import torch

from calib import Problem, draw_weighted, importance, judge_k_hat, make_flow


def normal_pair(sd_q, draws=4000, dim=1, seed=0):
    """log p and log q at draws of q = N(0, sd_q^2) for p = N(0, 1)."""
    x = sd_q * np.random.default_rng(seed).normal(size=(draws, dim))
    log_p = (-0.5 * x**2).sum(-1) - dim * 0.5 * math.log(2 * math.pi)
    log_q = (-0.5 * (x / sd_q) ** 2).sum(-1) - dim * (0.5 * math.log(2 * math.pi) + math.log(sd_q))
    return log_p, log_q


@pytest.mark.parametrize("sd_q", [0.6, 0.7, 0.8])
def test_k_hat_of_a_normal_under_a_narrower_normal(sd_q):
    """Weights exp(x^2 (1/sd^2 - 1) / 2) have a Pareto tail of shape 1 - sd^2 (Pickands), for sd < 1."""
    k = np.mean([importance(*normal_pair(sd_q, 20000, seed=s)).k_hat for s in range(8)])
    assert k == pytest.approx(1 - sd_q**2, abs=0.12)


def test_a_wider_proposal_is_good_and_a_narrow_one_poor():
    wide, narrow = importance(*normal_pair(1.3)), importance(*normal_pair(0.4))
    assert judge_k_hat(wide.k_hat, wide.draws).word == "good"
    assert judge_k_hat(narrow.k_hat, narrow.draws).word == "poor"


def test_evidence_and_weights():
    log_p, log_q = normal_pair(1.3)
    result = importance(log_p + 5.0, log_q)
    assert result.log_evidence == pytest.approx(5.0, abs=0.05)
    assert result.elbo < result.log_evidence
    weights = np.exp(result.log_weights)
    assert weights.sum() == pytest.approx(1)
    assert result.effective == pytest.approx(1 / (weights**2).sum())
    assert result.dropped == 0


def test_the_posterior_itself_has_equal_weights():
    log_p, _ = normal_pair(1.0)
    result = importance(log_p - 3.0, log_p)
    assert result.effective == pytest.approx(len(log_p))
    assert result.log_evidence == pytest.approx(-3.0)
    assert judge_k_hat(result.k_hat, result.draws).word == "good"


def test_draws_that_are_not_finite_weigh_nothing():
    log_p, log_q = normal_pair(1.2)
    log_p[:10] = [np.nan] * 5 + [-np.inf] * 5
    result = importance(torch.as_tensor(log_p), torch.as_tensor(log_q))
    assert result.dropped == 10
    assert (np.exp(result.log_weights[:10]) == 0).all()


def test_conjugate_normal_posterior():
    """One observation y ~ N(z, 1) of z ~ N(0, 1): posterior N(y/2, 1/2), evidence N(y; 0, 2)."""
    y = 1.4
    problem = Problem(1, lambda z, seed, gradient: -0.5 * (y - z[:, 0]) ** 2 - 0.5 * math.log(2 * math.pi))
    evidence = -0.25 * y**2 - 0.5 * math.log(4 * math.pi)

    def weighed(loc, scale):
        flow = make_flow("gaussian-diagonal", 1, seed=0, init_scale=scale)
        with torch.no_grad():
            flow.layers[0].loc.fill_(loc)
        draws = draw_weighted(problem, flow, 8000, seed=4, batch=2000)
        return importance(draws.log_joint, draws.log_q)

    exact = weighed(y / 2, math.sqrt(0.5))
    assert exact.log_evidence == pytest.approx(evidence, abs=1e-9)
    assert exact.effective == pytest.approx(8000)
    over_confident = weighed(y / 2, 0.25)
    assert judge_k_hat(over_confident.k_hat, 8000).word == "poor"


def test_draws_depend_on_the_seed_alone():
    problem = Problem(2, lambda z, seed, gradient: torch.full(z.shape[:1], float(seed % 1000)))
    flow = make_flow("gaussian", 2, seed=0)
    a, b, c = (draw_weighted(problem, flow, 20, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.z, b.z)
    assert torch.equal(a.log_likelihood, b.log_likelihood)
    assert not torch.equal(a.z, c.z)
    assert a.log_likelihood.unique().numel() == 3  # three calls of at most 8


@pytest.mark.parametrize(
    ("k", "draws", "word"),
    [(0.2, 1000, "good"), (0.5, 1000, "good"), (0.6, 1000, "usable"), (0.67, 1000, "poor"), (0.69, 10000, "usable"),
     (0.71, 10**6, "poor"), (math.nan, 1000, "poor"), (-math.inf, 1000, "good")],
)  # fmt: skip
def test_verdicts(k, draws, word):
    assert judge_k_hat(k, draws).word == word


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="one value a draw"):
        importance(np.zeros(40), np.zeros(41))
    with pytest.raises(ValueError, match="at least 25"):
        importance(np.full(100, np.nan), np.zeros(100))
    with pytest.raises(ValueError, match="says nothing"):
        judge_k_hat(0.1, 10)
