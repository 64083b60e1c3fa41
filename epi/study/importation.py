"""Infections from outside: seeding before people meet, or a series of importations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import Prior
from epi.study.transmission import STANDARD

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["Importations", "Seeding"]


@dataclass(frozen=True)
class Seeding:
    """Infections from outside, growing exponentially up to a day.

    Attributes:
        level: prior of the people infected so, per 10,000.
        growth: prior of the growth rate, per day.
        sd: prior of the standard deviation of the effects of regions on log seeding; None for all alike.
        effect: of a region, standardised.
        until: first day without seeding; None for the calendar's `open_from`.
        age_profile: stream by age whose counts up to the first week say how importation spreads over ages; None for all alike.

    Examples:
        >>> import epi
        >>> epi.Seeding(epi.LogNormal(30.0, 0.3), growth=epi.LogNormal(0.1, 0.3)).level.median
        30.0
    """

    level: Prior
    growth: Prior
    sd: Prior | None = None
    effect: Prior = field(default=STANDARD)
    until: date | None = None
    age_profile: str | None = None

    def last_day(self, study: Study) -> date:
        """First day without seeding."""
        return self.until or study.calendar.opened

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Level, standard deviation, growth, and effects by region."""
        if self.last_day(study) <= study.calendar.start:
            raise StudyError(
                f"Seeding ends on {self.last_day(study)}, no day after the start {study.calendar.start} of the calendar; "
                "give `until`, or the calendar an `open_from`."
            )
        axis = study.region.axis
        out = [Parameter("seed_level", self.level)]
        if self.sd is not None:
            out.append(Parameter("seed_spread", self.sd))
        out.append(Parameter("seed_growth", self.growth))
        if self.sd is not None:
            out.append(Parameter(f"{axis}_seed", self.effect, study.region.names, axis, sd="seed_spread"))
        return tuple(out)


@dataclass(frozen=True)
class Importations:
    """Infections from outside by day and region, from a table.

    Attributes:
        factor: prior of the infections over those in the table.
        table: file with the columns `date, <axis>, infections`; days that are left out have none.
        age_profile: as for `Seeding`.
    """

    factor: Prior
    table: str = "importations.csv"
    age_profile: str | None = None

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The factor."""
        return (Parameter("importation_factor", self.factor),)
