"""What scenarios may change about measures that the data have no time without."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from epi.errors import StudyError
from epi.study.priors import Prior

__all__ = ["Measures"]


@dataclass(frozen=True)
class Measures:
    """Restrictions and isolation in the calibrated world, and what is assumed of their effects.

    Attributes:
        restrictions_from: day on which restrictions began.
        restrictions_effect: prior of the fall of the reproduction number by them, a share.
        isolation_days: days that a case isolates from the positive result on.
        isolation_effect: prior of the fall of the contacts outside the home of a case that isolates, a share.
        incubation: mean days from infection to symptoms; the rest of the report delay is the wait for the result.
    """

    restrictions_from: date
    restrictions_effect: Prior
    isolation_days: float
    isolation_effect: Prior
    incubation: float

    def __post_init__(self) -> None:
        if self.isolation_days < 0 or self.incubation < 0:
            raise StudyError(
                f"Measures has isolation_days {self.isolation_days:g} and incubation {self.incubation:g}, expected 0 or more; correct them."
            )
