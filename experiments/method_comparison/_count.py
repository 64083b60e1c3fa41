"""How many simulations a calibration spent: what its competitors are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epi.errors import StudyError

COST = {
    "prior_predictive": 1,
    "warm_start": 4,
    "warm_start_level": 1,
    "rounds": 1,
    "round_jacobians": 4,
    "fit": 4,
    "noise": 1,
}
"""What a run of each purpose before the forecast counts: 4 with a Jacobian or a reverse pass, else 1."""


def spent(manifest: Mapping[str, Any]) -> int:
    """Simulations that a run of the study made before its forecast, by `COST`.

    The draws that the forecast is made of are left out: every method makes as many.

    Raises:
        StudyError: the manifest tells of none.
    """
    made = manifest["simulations"]
    total = sum(cost * int(made.get(purpose, 0)) for purpose, cost in COST.items())
    if total < 1:
        raise StudyError(
            "The manifest of the run tells of no simulation before its forecast; run the study to its end, or give --simulations."
        )
    return total


def spent_on(manifest: Mapping[str, Any]) -> str:
    """The sum, term by term."""
    made = manifest["simulations"]
    terms = [
        f"{int(made[purpose])} {purpose.replace('_', ' ')}" + (f" (x {cost})" if cost > 1 else "")
        for purpose, cost in COST.items()
        if made.get(purpose)
    ]
    return " + ".join(terms)
