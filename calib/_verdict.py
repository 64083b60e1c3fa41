"""What is said of a calibration: one of four states, why, and what to do, from simulations the method was not fitted to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from calib._importance import judge_k_hat
from calib._more_budget import Allowance, as_sentence

State = Literal["good", "usable", "poor", "unfinished"]
MIN_DRAWS = 25  # fresh simulations with a likelihood, below which nothing can be said
ALMOST_ALL = 0.9  # effective share of the weights at which k-hat, a property of their tail, does not matter
MANY = 0.5  # effective share that draws need to be used as they are
CORRECTED = 0.7  # the same of draws that were corrected by an emulator
SHIFT = 0.35  # of a mean, posterior standard deviations
STRETCH = 1.3  # of a standard deviation, as a factor
ERROR = 1.0  # nats by which an emulator may be wrong about a log likelihood
NOISE = 0.5  # standard deviation in nats of the log likelihood between runs at the same parameters
FAILED = 0.1  # share of fresh simulations without finite outputs
MISSED = 0.1  # share of the posterior that lies outside the fit
FINISHED = ("converged", "trained")
BELIEVED: tuple[State, ...] = ("good", "usable")


@dataclass(frozen=True)
class Evidence:
    """What fresh simulations at draws of the fit say, by the real likelihood.

    Attributes:
        stopped_because: why the method ended.
        weight: of the likelihood at the end; below 1 the fit is wider than the posterior.
        draws: fresh simulations at draws of the fitted distribution.
        finite: how many of them have a likelihood.
        failed: share of them without finite outputs.
        effective_share: effective share of the weights posterior / fit.
        k_hat: shape of the tail of these weights; None for minus infinity (all weights equal).
        k_hat_draws: weights that k-hat was taken from.
        shift: largest move of a mean by these weights, posterior standard deviations.
        stretch: largest factor between a standard deviation with and without these weights.
        missed: share of the posterior found outside the fit, by fresh simulations at draws of the prior.
        noise: standard deviation of the log likelihood between runs at the same parameters, nats.
        model_error: mean absolute error of the emulator's log likelihood where runs gave outputs, nats; None without an emulator.
        corrected_share: effective share of draws corrected by the emulator; None without one.
        corrected_shift: as `shift`, of corrected draws.
        corrected_stretch: as `stretch`, of corrected draws.

    Examples:
        >>> from calib import Evidence
        >>> Evidence("converged", 1.0, draws=100, finite=98).finite
        98
    """

    stopped_because: str
    weight: float
    draws: int
    finite: int
    failed: float = 0.0
    effective_share: float = 0.0
    k_hat: float | None = None
    k_hat_draws: int = 0
    shift: float = math.inf
    stretch: float = math.inf
    missed: float = 0.0
    noise: float = 0.0
    model_error: float | None = None
    corrected_share: float | None = None
    corrected_shift: float = math.inf
    corrected_stretch: float = math.inf


@dataclass(frozen=True)
class CalibrationVerdict:
    """Whether a posterior can be believed.

    Attributes:
        state: `"good"`: draws are those of the posterior. `"usable"`: corrected draws are, or the fit passes but the method did
            not say that it had converged. `"poor"`: neither. `"unfinished"`: the method ended before it had converged.
        reasons: what was found, in sentences.
        advice: what to do, one sentence.
        evidence: the numbers it rests on.

    Examples:
        >>> from calib import CalibrationVerdict, Evidence
        >>> verdict = CalibrationVerdict("good", ("All draws count.",), "Use the draws.", Evidence("converged", 1.0, 100, 100))
        >>> print(verdict)
        good: All draws count. Use the draws.
    """

    state: State
    reasons: tuple[str, ...]
    advice: str
    evidence: Evidence = field(repr=False)

    def __str__(self) -> str:
        return f"{self.state}: {' '.join(self.reasons)} {self.advice}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without numbers that JSON cannot hold."""
        plain = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self.evidence).items()
        }
        return {"state": self.state, "reasons": list(self.reasons), "advice": self.advice, "evidence": plain}

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> CalibrationVerdict:
        """Inverse of `to_dict`; a number that is missing counts as infinite where one is needed."""
        optional = ("k_hat", "model_error", "corrected_share")
        evidence: dict[str, Any] = {
            k: math.inf if v is None and k not in optional else v for k, v in plain["evidence"].items()
        }
        return CalibrationVerdict(plain["state"], tuple(plain["reasons"]), plain["advice"], Evidence(**evidence))


def judge(e: Evidence, *, correctable: bool, allowance: Allowance) -> CalibrationVerdict:
    """Judge a calibration.

    Args:
        e: the evidence.
        correctable: whether draws can be corrected (`Calibration.sample(..., corrected=True)`).
        allowance: what the call might spend.

    Returns:
        The verdict.
    """
    fit, corrected = fit_passes(e), correctable and corrected_passes(e)
    noisy = e.noise > NOISE
    ended = _ended(e)
    reasons = [_counted(e), *_doubts(e)]
    if e.stopped_because in ("budget", "max_seconds") and e.weight == 1.0 and (fit or corrected):
        return CalibrationVerdict(
            "usable",
            (*reasons, ended),
            f"Take draws as they come; if much depends on them, {_longer(e, allowance, 2.0)}.",
            e,
        )
    if noisy and not (fit or corrected):
        text = f"Two runs at the same parameters differ in log likelihood by {e.noise:.2g} nats (standard deviation)."
        text += " The mean of log p(y | run), which this method takes, is then not the log of its mean."
        advice = "Take method='auto' or 'abc-regression', which integrate the noise out: a larger budget alone does not help."
        return CalibrationVerdict("poor", (*reasons, text), advice, e)
    if ended:
        return CalibrationVerdict("unfinished", (*reasons, ended), _more(e, allowance), e)
    if fit and e.failed <= FAILED and (e.model_error is None or e.model_error <= ERROR):
        return CalibrationVerdict("good", tuple(reasons), "Use the draws.", e)
    if fit or corrected:
        advice = (
            "Take corrected draws, which `sample` then does by itself." if corrected else "Use the draws with care."
        )
        return CalibrationVerdict("usable", tuple(reasons), advice, e)
    return CalibrationVerdict("poor", tuple(reasons), _other(e, correctable, allowance), e)


def fit_passes(e: Evidence) -> bool:
    """Whether draws of the fitted distribution can be used as they are."""
    if e.finite < MIN_DRAWS or e.missed > MISSED or not (e.shift <= SHIFT and e.stretch <= STRETCH):
        return False
    tail = e.k_hat is None or judge_k_hat(e.k_hat, max(e.k_hat_draws, MIN_DRAWS)).word != "poor"
    return e.effective_share >= ALMOST_ALL or (e.effective_share >= MANY and tail)


def corrected_passes(e: Evidence) -> bool:
    """Whether draws corrected by the emulator can be used."""
    if e.finite < MIN_DRAWS or e.missed > MISSED or e.corrected_share is None or e.model_error is None:
        return False
    close = e.corrected_shift <= SHIFT and e.corrected_stretch <= STRETCH
    return close and e.corrected_share >= CORRECTED and e.model_error <= ERROR


def _counted(e: Evidence) -> str:
    text = (
        f"Of {e.draws} fresh simulations at draws of the fit {e.effective_share:.0%} count "
        f"(k-hat {'below 0' if e.k_hat is None else format(e.k_hat, '.2f')})."
    )
    if e.model_error is None:
        return text
    return f"{text} The emulator predicts their log likelihoods to {e.model_error:.2g} nats."


def _doubts(e: Evidence) -> list[str]:
    found = []
    if e.finite < MIN_DRAWS:
        found.append(f"Only {e.finite} of them have a likelihood above 0.")
    elif e.shift > SHIFT:
        found.append(f"By the real likelihood a mean moves by {e.shift:.2g} standard deviations.")
    elif e.stretch > STRETCH:
        found.append(f"By the real likelihood a standard deviation changes by the factor {e.stretch:.2g}.")
    if e.failed > FAILED:
        found.append(f"{e.failed:.0%} of them failed, so what the posterior is there is not known.")
    if e.missed > MISSED:
        found.append(f"Draws of the prior found {e.missed:.0%} of the posterior where the fit has no draws.")
    return found


def _ended(e: Evidence) -> str:
    """Why a method had not converged when it ended; empty if it had."""
    if e.weight < 1.0:
        spent = "time" if e.stopped_because == "max_seconds" else "budget"
        return f"The {spent} ended with the likelihood at {e.weight:.2g} of its weight, so the fit is too wide."
    if e.stopped_because in FINISHED:
        return ""
    why = {
        "budget": "The budget ended before two rounds in a row had predicted their own simulations.",
        "max_steps": "The budget ended while the fit was still rising.",
        "max_seconds": "The time ended before the fit had converged.",
        "new_mode": "The last round still found a run where draws are and the emulator had none.",
        "stalled": "Further rounds brought the fit no nearer.",
    }
    return why.get(e.stopped_because, f"The method had not converged when it ended ({e.stopped_because}).")


def _more(e: Evidence, allowance: Allowance) -> str:
    if e.stopped_because == "stalled":
        return "Try another method: a larger budget alone may not help."
    return as_sentence(_longer(e, allowance, max(2.0, 1 / max(e.weight, 1e-9))))


def _longer(e: Evidence, allowance: Allowance, factor: float) -> str:
    return allowance.more_time(factor) if e.stopped_because == "max_seconds" else allowance.more(factor)


def _shortfall(e: Evidence) -> float:
    """The share of draws that should count over the share that does."""
    share = min(e.effective_share, e.finite / MIN_DRAWS * MANY)
    return max(2.0, MANY / share) if share > 0 else math.inf


def _other(e: Evidence, correctable: bool, allowance: Allowance) -> str:
    if e.failed > FAILED:
        return "Find out why the simulator fails at these draws."
    if e.missed > MISSED:
        return f"Try method='emulated-smc', which looks for several modes, or {allowance.more(2.0)}."
    more = allowance.more(_shortfall(e))
    return as_sentence(more if correctable else f"{more}, or try flow='nsf' or another method")
