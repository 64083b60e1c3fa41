"""Data streams: what was counted or measured every week, where, how it follows from infections, and how it scatters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from epi.errors import StudyError
from epi.study.delays import Delay
from epi.study.families import BetaBinomial, Family, LogNormalError, NegativeBinomial
from epi.study.parameter import Parameter
from epi.study.priors import Prior
from epi.study.transmission import STANDARD

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = [
    "Admissions",
    "Cases",
    "Cohort",
    "Deaths",
    "Infections",
    "Occupancy",
    "Serosurvey",
    "Stream",
    "UserStream",
    "Wastewater",
]

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One weekly series; use one of its kinds.

    Attributes:
        by: its last axis: the axis of the regions, that of the areas, "age", or "all" for one number a week.
        name: None for `<kind>_<by>`.
        family: how observations scatter.
        option: group under which a run switches it on; None for its kind.
        table: file with the columns `week_ending`, the axis (`age_band` for "age") and `column`; None for `<name>.csv`.
        column: None for the kind.
        keep: `{column: value}`; only these rows of the table count.
        ignore: places in the table that are left out, such as totals.
        complete: whether the table must hold every week of the study.
        gaps: whether weeks and places may be missing in the table.
        masked: whether the calendar's masked weeks are left out of the likelihood.
        description: in words; None for "weekly <kind> by <by>".
        title: for a plot; None for "<Kind> by <by>".
        unit: of an observation, in words.
    """

    kind: ClassVar[str] = "stream"
    verb: ClassVar[str] = "weekly {kind}"
    observed: ClassVar[bool] = True

    by: str = ALL
    name: str = ""
    family: Family = field(default_factory=NegativeBinomial)
    option: str = ""
    table: str = ""
    column: str = ""
    keep: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    complete: bool = False
    gaps: bool = False
    masked: bool = False
    description: str = ""
    title: str = ""
    unit: str = "people"

    def __post_init__(self) -> None:
        given: dict[str, Any] = {
            "name": self.name or f"{self.kind}_{self.by}",
            "option": self.option or self.kind,
            "column": self.column or self.kind,
        }
        given["table"] = self.table or f"{given['name']}.csv"
        given["description"] = self.description or f"{self.verb.format(kind=self.kind)} by {self.by}"
        given["title"] = self.title or f"{self.kind.capitalize()} by {self.by}"
        for key, value in given.items():
            object.__setattr__(self, key, value)

    @property
    def counts(self) -> bool:
        """Whether observations are numbers of people or events, and not measurements."""
        return not isinstance(self.family, LogNormalError)

    @property
    def clustered(self) -> bool:
        """Whether small counts come in outbreaks."""
        return isinstance(self.family, NegativeBinomial) and self.family.overdispersion is not None

    def places(self, study: Study) -> tuple[str, ...]:
        """Labels of its last axis.

        Raises:
            StudyError: the study has no such axis.
        """
        axes = study.axes
        if self.by not in axes:
            raise StudyError(
                f"Stream {self.name!r} is by {self.by!r}, and the study has the axes {', '.join(axes)}; choose one of them."
            )
        return axes[self.by]

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Its parameters besides those of its family."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Infections(Stream):
    """New infections by region: never observed, kept with the outputs of a run."""

    kind: ClassVar[str] = "infections"
    observed: ClassVar[bool] = False
    unit: str = "infections"


@dataclass(frozen=True, kw_only=True)
class Cases(Stream):
    """Reported infections, by the share that `Reporting` says.

    Attributes:
        delay: from infection to report.
        agree_within: two tables of cases must agree in their totals within this share.

    Examples:
        >>> import epi
        >>> epi.Cases(by="age", delay=epi.Delay(6.0, 2.5), family=epi.NegativeBinomial(epi.LogNormal(0.15, 0.4))).name
        'cases_age'
    """

    kind: ClassVar[str] = "cases"
    unit: str = "cases"
    delay: Delay
    agree_within: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Admissions(Stream):
    """Admissions to hospital, by `Severity`.

    Attributes:
        delay: from infection to admission.

    Examples:
        >>> import epi
        >>> epi.Admissions(by="age", delay=epi.Delay(10.0, 4.0), family=epi.NegativeBinomial(epi.LogNormal(0.2, 0.4))).name
        'admissions_age'
    """

    kind: ClassVar[str] = "admissions"
    unit: str = "admissions"
    delay: Delay


@dataclass(frozen=True, kw_only=True)
class Deaths(Stream):
    """Deaths, by `Fatality`.

    Attributes:
        delay: from infection to death.

    Examples:
        >>> import epi
        >>> epi.Deaths(by="age", delay=epi.Delay(20.0, 8.0), family=epi.NegativeBinomial(epi.LogNormal(0.2, 0.4))).name
        'deaths_age'
    """

    kind: ClassVar[str] = "deaths"
    unit: str = "deaths"
    delay: Delay


@dataclass(frozen=True, kw_only=True)
class Occupancy(Stream):
    """People in hospital, mean over the days of the week on which they were counted.

    Attributes:
        delay: from infection to admission.
        stay: in hospital; its shape alone, how many days an admission counts is a parameter.
        days: prior of the days in hospital for each admission, the parameter `hospital_days`.
        counted_from: first day with a count; None if it is before the first week.
    """

    kind: ClassVar[str] = "occupancy"
    unit: str = "people in hospital"
    delay: Delay
    stay: Delay
    days: Prior
    counted_from: date | None = None

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Days in hospital."""
        return (Parameter("hospital_days", self.days, observation=True),)


@dataclass(frozen=True, kw_only=True)
class Wastewater(Stream):
    """Virus in wastewater, million genome copies a person a day, mean of the week.

    Attributes:
        level: prior of the copies shed for an infection of the reference host, 10^9.
        effect: of a place, standardised; None for none.
        effect_sd: standard deviation of a place off the common level, log scale.
        sites: `{place: names in the table's column}`; several are averaged by the people covered. None reads places by their names.
        site_column: column of the table with these names; None for the axis.
        people_column: column with the people covered.
        divide_by: copies in the table to a unit of the stream.
    """

    kind: ClassVar[str] = "wastewater"
    family: Family = field(default_factory=LogNormalError)
    level: Prior
    effect: Prior | None = field(default=STANDARD)
    effect_sd: float = 0.5
    sites: Mapping[str, tuple[str, ...]] | None = None
    site_column: str = ""
    people_column: str = "population_covered"
    divide_by: float = 1e6
    unit: str = "million copies a person a day"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Level, and effects by place."""
        level = Parameter("wastewater_level", self.level, observation=True)
        if self.effect is None:
            return (level,)
        name = f"wastewater_{self.by}_effect"
        return level, Parameter(name, self.effect, self.places(study), self.by, observation=True)


@dataclass(frozen=True, kw_only=True)
class Cohort(Stream):
    """New infections per 1,000 people of a cohort who are tested all the time, such as health or border workers.

    Attributes:
        label: who they are; the one place of the axis `by`.
        ages: age bands in which they are.
        ratio: prior of their infections over those of all people of these ages, the parameter `<option>_ratio`.
        delay: from infection to detection.
    """

    kind: ClassVar[str] = "cohort"
    by: str = "cohort"
    family: Family = field(default_factory=LogNormalError)
    label: str
    ages: tuple[str, ...]
    ratio: Prior
    delay: Delay
    unit: str = "infections per 1,000 people"

    def places(self, study: Study) -> tuple[str, ...]:
        """The cohort alone."""
        return (self.label,)

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The ratio."""
        unknown = [a for a in self.ages if a not in study.ages.names]
        if unknown or not self.ages:
            raise StudyError(
                f"Stream {self.name!r} names the age band {(unknown or [''])[0]!r}; choose among {', '.join(study.ages.names)}."
            )
        return (Parameter(f"{self.option}_ratio", self.ratio, observation=True),)


@dataclass(frozen=True, kw_only=True)
class Serosurvey(Stream):
    """People with antibody among those tested in a survey; expectations are positives among the number tested.

    The share that tests positive is `p * sensitivity + (1 - p) * (1 - specificity)`, with p the share of people who have seroconverted
    after an infection and not lost their antibody.

    Attributes:
        sensitivity: prior of the share of people with antibody who test positive.
        specificity: prior of the share of people without who test negative.
        seroconversion: delay from infection to antibody.
        half_life: prior of the days in which half of those with antibody lose it; None if they keep it.
        column: with the number of positives.
        tested_column: with the number tested.
        before: share of people with antibody before day 0.
        age_groups: `{group: age bands}` of a survey by wider ages than the study's, or of some ages only; then `by` names this axis.

    References:
        Rogan and Gladen 1978, Am J Epidemiol 107:71.
    """

    kind: ClassVar[str] = "positive"
    verb: ClassVar[str] = "people with antibody in surveys"
    family: Family = field(default_factory=BetaBinomial)
    sensitivity: Prior
    specificity: Prior
    seroconversion: Delay
    half_life: Prior | None = None
    tested_column: str = "tested"
    before: float = 0.0
    age_groups: Mapping[str, tuple[str, ...]] | None = None
    gaps: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"serosurvey_{self.by}")
        if not self.option:
            object.__setattr__(self, "option", "serosurvey")
        if not self.title:
            object.__setattr__(self, "title", f"Seropositive by {self.by}")
        super().__post_init__()
        if not 0 <= self.before < 1:
            raise StudyError(f"Stream {self.name!r}: before is {self.before:g}, expected a share below 1; correct it.")

    def places(self, study: Study) -> tuple[str, ...]:
        """The age groups where there are any, else those of its axis."""
        if self.age_groups is None:
            return super().places(study)
        unknown = [b for bands in self.age_groups.values() for b in bands if b not in study.ages.names]
        if unknown or self.by in study.axes:
            what = f"the age band {unknown[0]!r}" if unknown else f"the axis {self.by!r} for its age groups"
            raise StudyError(
                f"Stream {self.name!r} names {what}; choose age bands among {', '.join(study.ages.names)}, and an axis of another name."
            )
        return tuple(self.age_groups)

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Sensitivity, specificity and half-life."""
        out = [
            Parameter(f"{self.option}_sensitivity", self.sensitivity, observation=True),
            Parameter(f"{self.option}_specificity", self.specificity, observation=True),
        ]
        if self.half_life is not None:
            out.append(Parameter(f"{self.option}_half_life", self.half_life, observation=True))
        return tuple(out)


@dataclass(frozen=True, kw_only=True)
class UserStream(Stream):
    """A stream of the user's own.

    Attributes:
        expected: `(theta, epidemic, setting) -> [*batch, week, place]`, of tensors that carry leading batch axes (see
            `epi.model.Epidemic` and `epi.model.Setting`).
        own: its parameters.
    """

    kind: ClassVar[str] = "user"
    expected: Callable[[Mapping[str, Any], Any, Any], Any]
    own: tuple[Parameter, ...] = ()

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Its own."""
        return self.own
