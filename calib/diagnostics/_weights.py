"""k-hat of the importance weights, as a diagnostic among the others."""

from __future__ import annotations

from numpy.typing import ArrayLike

from calib._importance import Importance, importance, judge_k_hat
from calib.diagnostics._verdict import Verdict, Word

GRADES: dict[str, Word] = {"good": "pass", "usable": "warn", "poor": "fail"}


def compute_k_hat(log_joint: ArrayLike, log_q: ArrayLike) -> Importance:
    """Importance weights of draws of q (`calib.importance`): `log_joint [S]`, `log_q [S]`."""
    return importance(log_joint, log_q)


def judge_weights(found: Importance) -> Verdict:
    """`calib.judge_k_hat` as a verdict: good passes, usable warns, poor fails."""
    judged = judge_k_hat(found.k_hat, found.draws)
    advice = {
        "good": "",
        "usable": "take expectations with the importance weights",
        "poor": "choose a more flexible flow, fit longer, or look for several modes; "
        "a noisy log likelihood raises k-hat by itself: average it over runs",
    }[judged.word]
    threshold = f"warns above {min(0.5, judged.threshold):.2f}, fails above {judged.threshold:.2f}"
    return Verdict("k_hat", GRADES[judged.word], found.k_hat, threshold, judged.text, advice)
