"""Immunity from an epidemic before the study: who was infected then, and what it left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import Prior

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["PriorInfection"]


@dataclass(frozen=True)
class PriorInfection:
    """People infected before the first day, by region and age: reported cases over a calibrated share reported.

    Whoever was infected has, in addition to what doses do, a protection from infection that wanes by half-lives, for everyone of an age from
    the mean day of its infections on. Nobody counts twice. How infectious somebody is does not depend on it.

    Attributes:
        ascertainment: prior of the share of prior infections that were reported, the parameter `prior_ascertainment`.
        protection: prior of the protection right after the infection, a share, the parameter `prior_protection`.
        half_life: prior of the days in which it halves, the parameter `prior_half_life`; None for no waning.
        against_severe: prior of the further fall of the severity of another infection, a share, `prior_against_severe`; None for none.
        counted_on: day on which the table counts infections.
        table: file with the columns `<axis>, age_band, cases, days`: reported cases, and mean days from their infection to `counted_on`.
        infections_per_case: people are told apart by how many infections there must be for a reported one, so that they are among them:
            up to the first number (1: the reported cases themselves), between the first and the second, and so on. More infections for a
            case than the last number count as that many.

    Examples:
        >>> from epi.study.priors import LogitNormal
        >>> part = PriorInfection(LogitNormal(0.0, 0.5), LogitNormal(1.0, 0.5), counted_on=date(2030, 1, 1))
        >>> part.classes
        6
    """

    ascertainment: Prior
    protection: Prior
    counted_on: date
    half_life: Prior | None = None
    against_severe: Prior | None = None
    table: str = "prior_infections.csv"
    infections_per_case: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0)
    changes_hosts = True

    def __post_init__(self) -> None:
        steps = self.infections_per_case
        if len(steps) < 2 or steps[0] != 1 or list(steps) != sorted(set(steps)):
            raise StudyError(
                f"PriorInfection infections_per_case is {steps}, expected two or more numbers that rise from 1; correct them."
            )

    @property
    def classes(self) -> int:
        """Number of classes of people; the last was never infected."""
        return len(self.infections_per_case) + 1

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Share reported, protection, its half-life, and the fall of severity."""
        out = [
            Parameter("prior_ascertainment", self.ascertainment),
            Parameter("prior_protection", self.protection),
        ]
        if self.half_life is not None:
            out.append(Parameter("prior_half_life", self.half_life))
        if self.against_severe is not None:
            out.append(Parameter("prior_against_severe", self.against_severe, observation=True))
        return tuple(out)
