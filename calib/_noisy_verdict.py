"""Whether the posterior of a stochastic simulator can be believed.

Two methods that err differently, regression and tempered weights, must agree on the same runs; enough runs must count for the
number of parameters; and fresh simulations at draws of the fit must not move it. k-hat of one-run weights ranks fits well but
exceeds 0.7 under strong noise whatever they are worth, and coverage on prior draws does not see a wrong fit: neither counts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from calib._more_budget import Allowance, as_sentence
from calib._verdict import FAILED, MIN_DRAWS, CalibrationVerdict, Evidence

AGREE, CLOSE = 0.4, 0.25  # sds between the two means, for "usable" and for "good"
RUNS, MANY = 100, 200  # effective runs a parameter, for "usable" and for "good"
LOW, WARM = 0.1, 0.3  # temperature in low dimension, for "usable" and for "good"
LOW_DIMENSION = 3
WEIGHTED, PLENTY = 50, 200  # effective runs of exact weights, for "usable" and for "good"
TAIL = 0.7  # k-hat of exact weights
MOVED = 0.5  # sds by which fresh runs may move a mean
RESIZED = 1.2  # factor by which fresh runs may change an sd, for "good"; chance alone changes it by more at times
STRETCHED = 1.5  # factor between the two methods' sds that is still agreement, in low dimension


@dataclass(frozen=True)
class NoiseEvidence:
    """What is known of a fit to a stochastic simulator.

    Attributes:
        method: "abc-regression" or "importance", which gave the draws.
        dim: number of parameters.
        pilot_sd: sd of log p(y | run) at the best draw of the pilot, nats.
        sd: the same at the posterior mean, nats.
        effective: effective runs in the window of the regression; 0 without one.
        disagreement: between the means of the two methods, in sds of the first; infinite where there is only one.
        ratio: largest factor between their sds.
        temperature: of the importance weights.
        weighted: effective runs by those weights.
        k_hat: of the weights at temperature 1.
        fresh_temperature: how far fresh simulations at draws of the fit could be weighted towards the posterior, 1 for all the way.
        bias: in words.
        cost: in words.
    """

    method: str
    dim: int
    pilot_sd: float
    sd: float
    effective: float
    disagreement: float
    ratio: float
    temperature: float
    weighted: float
    k_hat: float
    fresh_temperature: float
    bias: str
    cost: str

    @property
    def exact(self) -> bool:
        """Whether the weights need no tempering, so that they are exact up to Monte Carlo error."""
        return exact_weights(self.temperature, self.weighted, self.k_hat)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; None for a number that is not finite."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def exact_weights(temperature: float, weighted: float, k_hat: float) -> bool:
    """Whether untempered weights can be relied on."""
    return temperature >= 1.0 and weighted >= WEIGHTED and k_hat <= TAIL


def judge_noisy(noise: NoiseEvidence, e: Evidence, allowance: Allowance) -> CalibrationVerdict:
    """Judge.

    Args:
        noise: of the fit.
        e: of fresh simulations.
        allowance: what the call might spend.

    Returns:
        The verdict: good, usable or poor.
    """
    e = replace(e, noise=noise.sd)
    reasons = [
        f"The simulator has noise: log p(y | run) has a standard deviation of {noise.sd:.2g} nats at the posterior mean.",
        f"Draws are by {noise.method}. {noise.bias}",
    ]
    doubts = _doubts(noise, e)
    if doubts:
        return CalibrationVerdict("poor", (*reasons, *doubts), as_sentence(allowance.more(_shortfall(noise, e))), e)
    if noise.exact:
        reasons.append(
            f"Untempered weights of {noise.weighted:.0f} effective runs (k-hat {noise.k_hat:.2f}) are exact."
        )
    else:
        reasons.append(
            f"Regression on {noise.effective:.0f} effective runs and weights at temperature {noise.temperature:.2g} agree to "
            f"{noise.disagreement:.2g} standard deviations."
        )
    if _good(noise, e):
        return CalibrationVerdict("good", tuple(reasons), "Use the draws.", e)
    advice = f"Use the draws with care, or {allowance.more(_shortfall_of_good(noise, e))}."
    return CalibrationVerdict("usable", tuple(reasons), advice, e)


def _doubts(noise: NoiseEvidence, e: Evidence) -> list[str]:
    found = []
    if e.finite < MIN_DRAWS:
        found.append(f"Only {e.finite} of {e.draws} fresh simulations at draws of the fit have a likelihood above 0.")
    elif e.shift > MOVED:
        found.append(f"Fresh simulations move a mean by {e.shift:.2g} standard deviations.")
    if noise.exact:
        return found
    if noise.method == "importance":
        found.append(
            f"Only weights tempered to {noise.temperature:.2g} leave {noise.weighted:.0f} effective runs, or their tail is too "
            f"heavy (k-hat {noise.k_hat:.2g})."
        )
        return found
    if noise.effective < RUNS * noise.dim:
        found.append(
            f"{noise.effective:.0f} effective runs are too few for {noise.dim} parameters, expected {RUNS * noise.dim}."
        )
    if noise.disagreement > AGREE:
        found.append(
            f"Regression and tempered weights differ by {noise.disagreement:.2g} standard deviations on the same runs."
        )
    if noise.dim <= LOW_DIMENSION and noise.ratio > STRETCHED:
        found.append(f"Their standard deviations differ by the factor {noise.ratio:.2g}.")
    if noise.dim <= LOW_DIMENSION and noise.temperature < LOW:
        found.append(f"The weights had to be tempered to {noise.temperature:.2g}.")
    return found


def _shortfall(noise: NoiseEvidence, e: Evidence) -> float:
    """By what factor runs are too few: of effective runs, which grow with the budget, and of what grows more slowly."""
    wanted = [2.0, MIN_DRAWS / max(e.finite, 1e-9)]
    if noise.method == "importance":
        return max(*wanted, WEIGHTED / max(noise.weighted, 1e-9), 1 / noise.temperature)
    wanted.append(RUNS * noise.dim / max(noise.effective, 1e-9))
    if noise.dim <= LOW_DIMENSION:
        wanted.append((LOW / noise.temperature) ** 2)
    return max(wanted)


def _shortfall_of_good(noise: NoiseEvidence, e: Evidence) -> float:
    if noise.exact:
        return max(2.0, PLENTY / noise.weighted)
    return max(2.0, MANY * noise.dim / max(noise.effective, 1e-9), _shortfall(noise, e))


def _good(noise: NoiseEvidence, e: Evidence) -> bool:
    if e.failed > FAILED or e.stretch > RESIZED:
        return False
    if noise.exact:
        return noise.weighted >= PLENTY
    warm = noise.dim > LOW_DIMENSION or noise.temperature >= WARM
    return warm and noise.disagreement <= CLOSE and noise.effective >= MANY * noise.dim
