"""What is seen of an infection: reports, admission, death."""

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

__all__ = ["Fatality", "Reporting", "ReportingRegime", "Severity"]


@dataclass(frozen=True)
class ReportingRegime:
    """How infections were found from one report date on.

    Attributes:
        name: its share reported is the parameter `ascertainment_<name>`.
        ascertainment: prior of the share of infections reported.
        start: first report date; None for the first regime.
        label: for sentences; empty for the name.

    Examples:
        >>> import epi
        >>> epi.ReportingRegime("tests", epi.LogitNormal(-0.5, 0.5)).name
        'tests'
    """

    name: str
    ascertainment: Prior
    start: date | None = None
    label: str = ""


@dataclass(frozen=True)
class Reporting:
    """Share of infections that are reported, by regimes in order.

    Examples:
        >>> import epi
        >>> len(epi.Reporting((epi.ReportingRegime("tests", epi.LogitNormal(-0.5, 0.5)),)).regimes)
        1
    """

    regimes: tuple[ReportingRegime, ...]

    def __post_init__(self) -> None:
        starts = [r.start for r in self.regimes]
        if not starts or starts[0] is not None or None in starts[1:]:
            raise StudyError(
                "Reporting needs a first regime without start and a start for each further one; correct them."
            )
        later = [s for s in starts[1:] if s is not None]
        if later != sorted(set(later)):
            raise StudyError(f"Reporting regimes start on {', '.join(map(str, later))}; put them in order of time.")

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """One share for each regime."""
        return tuple(Parameter(f"ascertainment_{r.name}", r.ascertainment, observation=True) for r in self.regimes)


@dataclass(frozen=True)
class Severity:
    """Admissions per infection: log-linear in age but for an effect of each band, lowered by what the disease says of immunity.

    Attributes:
        level: prior at `reference_age`, of a host without immunity.
        age: prior of the growth of its logarithm per decade of age.
        band: of an age band off the line, standardised; None for none.
        band_sd: standard deviation of a band off the line, log scale.
        reference_age: in years.

    Examples:
        >>> import epi
        >>> epi.Severity(epi.LogNormal(0.01, 0.4), epi.LogNormal(0.4, 0.2), band=None).reference_age
        35.0
    """

    level: Prior
    age: Prior
    band: Prior | None = field(default=STANDARD)
    band_sd: float = 0.5
    reference_age: float = 35.0

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Level, slope, and bands off the line."""
        out = [
            Parameter("severity_level", self.level, observation=True),
            Parameter("severity_age", self.age, observation=True),
        ]
        if self.band is not None:
            out.append(Parameter("severity_band", self.band, study.ages.names, "age", observation=True))
        return tuple(out)


@dataclass(frozen=True)
class Fatality:
    """Deaths per infection: log-linear in age, lowered by immunity as admissions are.

    Attributes:
        level: prior at `reference_age`.
        age: prior of the growth of its logarithm per decade of age.
        reference_age: in years; an age with enough deaths to know it by.
    """

    level: Prior
    age: Prior
    reference_age: float = 75.0

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Level and slope."""
        return (
            Parameter("fatality_level", self.level, observation=True),
            Parameter("fatality_age", self.age, observation=True),
        )
