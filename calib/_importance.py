"""How far a fitted q is from the posterior: importance weights, and the shape of their tail."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from calib._flows import Flow
from calib._noise import derive_seed
from calib._problem import Problem


@dataclass(frozen=True)
class Draws:
    """Draws of q with the three terms of the objective.

    Attributes:
        z: `[draw, D]`.
        log_likelihood: `[draw]`, nats, weighted by the loss weight.
        log_prior: log N(z; 0, I), `[draw]`.
        log_q: `[draw]`.
    """

    z: Tensor
    log_likelihood: Tensor
    log_prior: Tensor
    log_q: Tensor

    @property
    def log_joint(self) -> Tensor:
        """Log likelihood plus log prior, `[draw]`."""
        return self.log_likelihood + self.log_prior


@dataclass(frozen=True)
class Importance:
    """Importance weights of draws of q for the posterior.

    Attributes:
        log_weights: Pareto-smoothed and normalised, `[draw]`; minus infinity where the draw was not finite.
        k_hat: shape of the generalised Pareto tail of the raw weights.
        effective: effective number of draws, 1 / sum of squared weights.
        log_evidence: log of the mean raw weight, an estimate of log p(y); the ELBO is its lower bound.
        elbo: mean log weight, nats.
        draws: draws used, S.
        dropped: draws left out because a term was not finite.
    """

    log_weights: np.ndarray = field(repr=False)
    k_hat: float
    effective: float
    log_evidence: float
    elbo: float
    draws: int
    dropped: int


@dataclass(frozen=True)
class KHatVerdict:
    """A judgement of k-hat.

    Attributes:
        word: `"good"`, `"usable"` or `"poor"`.
        k_hat: the value judged.
        threshold: where "usable" ends for this number of draws.
        text: the verdict as a sentence.
    """

    word: str
    k_hat: float
    threshold: float
    text: str


def draw_weighted(
    problem: Problem, flow: Flow, count: int, *, seed: int, batch: int = 8, loss_weight: float = 1.0
) -> Draws:
    """Draw from a flow and evaluate the problem there, without gradients.

    Args:
        problem: the log likelihood on z.
        flow: q.
        count: number of draws, S.
        seed: of the noise and of the simulations.
        batch: draws a call of the likelihood.
        loss_weight: weight of the log likelihood, as in the fit.

    Returns:
        The draws; terms that are not finite are kept as they are.
    """
    z, log_q = [], []
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "draws"))
    value = []
    with torch.no_grad():
        for start in range(0, count, batch):
            rows, density = flow.sample_with_log_prob(flow.noise(min(batch, count - start), generator))
            value.append(problem.log_likelihood(rows, derive_seed(seed, start, "draw-simulate"), "reverse").to(rows))
            z.append(rows)
            log_q.append(density)
    rows = torch.cat(z)
    log_prior = -0.5 * (rows**2).sum(-1) - 0.5 * flow.dim * math.log(2 * math.pi)
    return Draws(rows, loss_weight * torch.cat(value), log_prior, torch.cat(log_q))


def importance(log_joint: ArrayLike | Tensor, log_q: ArrayLike | Tensor) -> Importance:
    """Pareto-smoothed importance weights (Vehtari et al. 2024) of draws of q.

    Args:
        log_joint: log p(y, z) at the draws, `[draw]`, up to a constant (which then shifts the log evidence).
        log_q: log q(z) at the draws, `[draw]`.

    Returns:
        Weights and their diagnostics.

    Raises:
        ValueError: if the shapes differ or fewer than 25 draws are finite.

    Examples:
        >>> import torch
        >>> from calib import importance
        >>> draws = torch.randn(1000, generator=torch.Generator().manual_seed(0))
        >>> found = importance(-0.5 * (draws - 0.1) ** 2, -0.5 * draws**2)  # target N(0.1, 1), draws of N(0, 1)
        >>> found.effective > 900, found.k_hat < 0.7
        (True, True)
    """
    joint = np.asarray(torch.as_tensor(log_joint).detach().cpu(), dtype=float)
    density = np.asarray(torch.as_tensor(log_q).detach().cpu(), dtype=float)
    if joint.shape != density.shape or joint.ndim != 1:
        raise ValueError(
            f"log_joint has shape {joint.shape} and log_q {density.shape}, expected one value a draw in both"
        )
    raw = joint - density
    finite = np.isfinite(raw)
    if finite.sum() < 25:
        raise ValueError(
            f"{int(finite.sum())} of {raw.size} log weights are finite, expected at least 25: take more draws"
        )
    kept = raw[finite]
    smoothed, k_hat = _psis(kept)
    log_weights = np.full(raw.shape, -np.inf)
    log_weights[finite] = smoothed
    return Importance(
        log_weights=log_weights,
        k_hat=k_hat,
        effective=float(1 / np.exp(2 * smoothed).sum()),
        log_evidence=float(np.logaddexp.reduce(kept) - math.log(raw.size)),
        elbo=float(kept.mean()),
        draws=int(raw.size),
        dropped=int(raw.size - kept.size),
    )


def _psis(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed normalised log weights and k-hat."""
    if np.ptp(log_weights) < 1e-9:  # q is the posterior: no tail to fit, and ArviZ would divide by zero
        return np.full(log_weights.shape, -math.log(log_weights.size)), -math.inf
    import arviz as az  # takes over a second: fits that weigh nothing do without

    smoothed, k_hat = az.psislw(log_weights)
    smoothed = np.asarray(smoothed) - np.logaddexp.reduce(np.asarray(smoothed))
    return smoothed, float(k_hat)


def judge_k_hat(k_hat: float, draws: int) -> KHatVerdict:
    """Say whether importance weights can be relied on.

    Thresholds of Yao et al. (2018) and Vehtari et al. (2024): below 0.5 good; below min(1 - 1 / log10 S, 0.7)
    usable; else poor.

    Args:
        k_hat: shape of the tail of the weights.
        draws: number of draws it was estimated from, S.

    Returns:
        The verdict. NaN is poor.

    Raises:
        ValueError: if there are fewer than 25 draws.

    Examples:
        >>> from calib import judge_k_hat
        >>> judge_k_hat(0.2, 4000).word, judge_k_hat(1.1, 4000).word
        ('good', 'poor')
    """
    if draws < 25:
        raise ValueError(f"k-hat from {draws} draws says nothing, expected at least 25")
    threshold = min(1 - 1 / math.log10(draws), 0.7)
    if k_hat <= min(0.5, threshold):
        word, meaning = "good", "the fitted distribution is close to the posterior and its weights are reliable"
    elif k_hat <= threshold:
        word, meaning = "usable", "importance weights correct what the fitted distribution misses"
    else:
        word, meaning = "poor", "the fitted distribution misses part of the posterior and weights cannot repair it"
    return KHatVerdict(word, k_hat, threshold, f"k-hat {k_hat:.2f} from {draws} draws is {word}: {meaning}")
