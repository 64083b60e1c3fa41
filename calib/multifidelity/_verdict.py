"""Whether the posterior by an emulator can be believed, in words."""

from __future__ import annotations

from calib._more_budget import Allowance, as_sentence
from calib._verdict import CalibrationVerdict, Evidence, State
from calib.multifidelity._first_order import Correction
from calib.multifidelity._refine import MAX_EXTRAPOLATED

MAX_SHIFT = 0.4
"""Of a mean, posterior standard deviations."""
MAX_STRETCH = 1.5
MAX_SKEWNESS = 1.0
MAX_RATIO = 1.5
"""Root mean square of fresh runs about the emulator, over what it states."""
MAX_R_HAT = 1.05
SOME_NOISE, MAX_NOISE = 0.25, 0.5
"""Shares of a posterior variance that are due to chance in the simulator: above the first the answer rests on the model of that chance too,
log-normal (or normal) residuals of one covariance, above the second mostly."""
MAX_MISFIT = 0.5
"""Variance of what the emulator misses over that of chance and data together."""


def judge(
    ratio: float, found: Correction, r_hat: float, extrapolated: float, runs: int, allowance: Allowance
) -> CalibrationVerdict:
    """Judge a posterior.

    Args:
        ratio: root mean square over fresh runs of their distance from the emulator, in standard deviations that it states.
        found: what they say of the posterior.
        r_hat: largest of the chains.
        extrapolated: share of the draws beyond all runs.
        runs: fresh runs.
        allowance: what the call might spend.
    """
    said = f"{runs} fresh runs at posterior draws lie {ratio:.2f} times as far from the emulator as it states"
    reasons = [f"{said}; corrected by them a mean would move by {found.shift:.2f} standard deviations."]
    evidence = Evidence(
        stopped_because="converged",
        weight=1.0,
        draws=runs,
        finite=runs,
        shift=found.shift,
        stretch=found.stretch,
        model_error=None,
    )

    def verdict(state: State, more: list[str], advice: str) -> CalibrationVerdict:
        return CalibrationVerdict(state, (*reasons, *more), advice, evidence)

    wrong = []
    if ratio > MAX_RATIO or found.shift > MAX_SHIFT:
        wrong.append("The emulator's held-out error is large.")
    if found.stretch > MAX_STRETCH:
        wrong.append(f"Chance moves a mean by {found.stretch:.2f} times as much, or as little, as the emulator states.")
    if found.skewness > MAX_SKEWNESS:
        wrong.append(f"Chance is skewed (skewness {found.skewness:.1f}), and the emulator takes it for normal.")
    if found.misfit > MAX_MISFIT:
        wrong.append("The emulator takes for chance what two runs at the same parameters have in common.")
    chance = (
        f"{found.noise:.0%} of a posterior variance is due to chance in the simulator, which is taken to be normal."
    )
    if found.noise > MAX_NOISE:
        wrong.append(chance)
    if wrong:
        return verdict(
            "poor",
            wrong,
            f"{as_sentence(allowance.more(2.0))[:-1]}, or take another method: abc-regression where chance is large.",
        )
    if r_hat > MAX_R_HAT:
        return verdict(
            "unfinished", [f"The chains have not mixed: R-hat is {r_hat:.2f}."], as_sentence(allowance.more(2.0))
        )
    if extrapolated > MAX_EXTRAPOLATED:
        return verdict(
            "unfinished",
            [f"{extrapolated:.1%} of the draws lie where the emulator extrapolates."],
            as_sentence(allowance.more(2.0)),
        )
    if found.noise > SOME_NOISE:
        return verdict("usable", [chance], "Compare with method='abc-regression'.")
    return verdict("good", [], "Use the draws.")
