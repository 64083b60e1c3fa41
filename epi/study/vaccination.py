"""Who was vaccinated when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from epi.errors import StudyError
from epi.study.parameter import Parameter

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["Campaign", "Vaccination"]


@dataclass(frozen=True)
class Campaign:
    """Doses that a register counted day by day while the epidemic went on.

    Attributes:
        table: file with the columns `date, age_band` and `column`, doses given by a day, never falling.
        column: name of the count.
        dose: which dose, counted from 1; it is given to people who have one less.
        known_until: last day on which doses are counted; nobody is given one after it.
    """

    table: str
    column: str
    dose: int
    known_until: date


@dataclass(frozen=True)
class Vaccination:
    """Doses by region and age on a day.

    Attributes:
        table: file with the columns `<axis>, age_band` and one share for each name in `states`.
        states: columns of the table, from no dose on.
        days_since_last_dose: days between the last dose and `ages_counted_on`, for each state; the first is without effect.
        counted_on: day of the table.
        ages_counted_on: day from which the days since a dose count; None for `counted_on`.
        first_age: age in years from which people are vaccinated.
        campaign: doses given since; None for none.
        clustering: how alike members of a household are in their doses, 0 (at random) to below 1.
    """

    states: tuple[str, ...]
    days_since_last_dose: tuple[float, ...]
    counted_on: date
    ages_counted_on: date | None = None
    table: str = "vaccination.csv"
    first_age: int = 0
    campaign: Campaign | None = None
    clustering: float = 0.0

    def __post_init__(self) -> None:
        if len(self.states) != len(self.days_since_last_dose) or len(self.states) < 2:
            raise StudyError(
                f"Vaccination has {len(self.states)} states and {len(self.days_since_last_dose)} days since the last dose, "
                "expected one number for each of two or more states; correct them."
            )
        if self.campaign is not None and not 1 <= self.campaign.dose < len(self.states):
            raise StudyError(
                f"Vaccination campaign gives dose {self.campaign.dose}, and the states end at {len(self.states) - 1}; correct it."
            )

    @property
    def reference_day(self) -> date:
        """Day from which the days since a dose count."""
        return self.ages_counted_on or self.counted_on

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """None: what doses do is the disease's."""
        return ()
