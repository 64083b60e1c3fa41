"""Streams that need more than a place: how events spread over ages in each region, and visits for an illness that others cause too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from epi.errors import StudyError
from epi.study.data_streams import Stream
from epi.study.delays import Delay
from epi.study.families import Family, LogNormalError
from epi.study.parameter import Parameter
from epi.study.priors import Prior

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["AgeComposition", "SyndromicVisits"]


@dataclass(frozen=True, kw_only=True)
class AgeComposition(Stream):
    """How the events of another stream, all up to the end of a week, spread over age groups in each region.

    An observation is an odds: events of a group over those of all younger groups of its region. The odds of the groups, each against the
    younger ones, hold all that the counts say of the composition, and nothing of their total; of multinomial counts they are independent to
    first order. So a composition goes with weekly totals without counting anybody twice. The youngest group has no odds of its own.

    Attributes:
        of: name of the stream of events, admissions or deaths.
        groups: `{group: age bands}`, from the youngest on, every band once.
        by: name of the axis and of the column of the table, `<of>_cell` unless given; a place is "<region> <group>".

    References:
        Agresti 2013, Categorical Data Analysis, section 8.3.4 (continuation ratios).
    """

    kind: ClassVar[str] = "composition"
    verb: ClassVar[str] = "ages"
    by: str = ""
    of: str
    groups: Mapping[str, tuple[str, ...]]
    family: Family = field(default_factory=LogNormalError)
    column: str = "odds"
    gaps: bool = True
    unit: str = "odds against younger"

    def __post_init__(self) -> None:
        for name, value in (
            ("by", self.by or f"{self.of}_cell"),
            ("name", self.name or f"ages_of_{self.of}"),
            ("option", self.option or "ages"),
            ("description", self.description or f"ages of {self.of.replace('_', ' by ')}"),
            ("title", self.title or f"Ages of {self.of.replace('_', ' by ')}"),
        ):
            object.__setattr__(self, name, value)
        super().__post_init__()
        if len(self.groups) < 2:
            raise StudyError(
                f"Stream {self.name!r} has {len(self.groups)} age group, expected two or more; add groups."
            )

    def places(self, study: Study) -> tuple[str, ...]:
        """Regions times groups, the youngest group left out.

        Raises:
            StudyError: the groups are not the study's bands, each once and in order.
        """
        found = tuple(band for bands in self.groups.values() for band in bands)
        if found != study.ages.names:
            raise StudyError(
                f"Stream {self.name!r} has groups of {', '.join(found)}, expected {', '.join(study.ages.names)}, each once in this order; "
                "correct them."
            )
        study.stream(self.of)
        return tuple(f"{region} {group}" for region in study.region.names for group in list(self.groups)[1:])


@dataclass(frozen=True, kw_only=True)
class SyndromicVisits(Stream):
    """Visits for a syndrome, per 100,000 people a week: those of the epidemic, and others at a constant level.

    Attributes:
        per_infection: prior of the visits for each infection, the parameter `<option>_per_infection`.
        baseline: prior of the visits a week for other causes, the parameter `<option>_baseline`, one for each place.
        delay: from infection to visit.
    """

    kind: ClassVar[str] = "visits"
    family: Family = field(default_factory=LogNormalError)
    per_infection: Prior
    baseline: Prior
    delay: Delay
    unit: str = "visits per 100,000 people"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Visits per infection, and the level of other causes by place."""
        level = f"{self.option}_baseline"
        return (
            Parameter(f"{self.option}_per_infection", self.per_infection, observation=True),
            Parameter(level, self.baseline, self.places(study), self.by, observation=True)
            if self.by != "all"
            else Parameter(level, self.baseline, observation=True),
        )
