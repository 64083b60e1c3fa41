"""The study: which region, which calendar, which parts and data streams. A frozen value without tensors and tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from epi.errors import StudyError
from epi.study.ages import AgeBands
from epi.study.data_streams import ALL, Cohort, Infections, Stream
from epi.study.dates import Calendar
from epi.study.families import BetaBinomial, check_log_normal
from epi.study.importation import Seeding
from epi.study.measures import Measures
from epi.study.outcomes import Reporting
from epi.study.parameter import Parameter
from epi.study.printed_names import LABELS
from epi.study.region import Region
from epi.study.transmission import RandomWalk, Variant
from epi.study.vaccination import Vaccination
from epi.study.venues import VENUES, Community, Households

__all__ = ["Study"]

P = TypeVar("P")


@dataclass(frozen=True)
class Study:
    """An epidemic calibration as a value.

    Attributes:
        name: a Python name; run folders are named by it.
        title: for headings.
        data: folder of the tables.
        region: places.
        ages: age bands.
        calendar: days and weeks.
        disease: `WithinHost`, `NaturalHistory`, or a disease of the user's own.
        parts: venues, behaviour, variants, effects of regions, importation, vaccination, prior infection, reporting, severity, fatality.
        streams: data streams, in the order of the outputs. New infections by region are added at the end if they are not among them.
        transmission_walk: random walk of transmission outside the home, or None.
        fit_to: options of the streams that the likelihood uses unless a run says otherwise; empty for all.
        measures: restrictions and isolation, for scenarios; None if no scenario asks for them.
        country: name of all regions together, for sentences.
        attribution: sources and licences of the data, for reports.
        development: what the weeks after the forecast date did for how the model was built, as the end of a sentence that begins "The
            likelihood did not use them, but"; printed with the limits of a retrospective forecast.

    Raises:
        StudyError: parts that do not fit together.

    Examples:
        >>> from posterity.template.study import study
        >>> study.region.names, study.ages.names
        (('North', 'South'), ('0-19', '20-59', '60+'))
        >>> [s.name for s in study.streams]
        ['cases_county', 'admissions_age', 'infections_county']
        >>> len(study.parameters())
        17
    """

    name: str
    title: str
    data: Path
    region: Region
    ages: AgeBands
    calendar: Calendar
    disease: Any
    parts: tuple[Any, ...]
    streams: tuple[Stream, ...]
    transmission_walk: RandomWalk | None = None
    fit_to: tuple[str, ...] = ()
    measures: Measures | None = None
    country: str = "all regions"
    attribution: str = ""
    development: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise StudyError(f"Study name {self.name!r} cannot be used; use letters, digits and underscores.")
        object.__setattr__(self, "data", Path(self.data))
        if not any(isinstance(s, Infections) for s in self.streams):
            object.__setattr__(self, "streams", (*self.streams, Infections(by=self.region.axis)))
        names = [s.name for s in self.streams]
        twice = [n for i, n in enumerate(names) if n in names[:i]]
        if twice:
            raise StudyError(f"Two streams are named {twice[0]!r}; give one of them another name.")
        if not self.observed:
            raise StudyError(f"Study {self.name!r} has no data stream; give it at least one, such as Cases.")
        if self.part(Households) is None or self.part(Community) is None:
            raise StudyError(
                f"Study {self.name!r} needs Households and Community among its parts; add what is missing."
            )
        self.parameters()
        self.parse_options(self.fit_to or self.options)

    # parts

    def parts_of(self, kind: type[P] | tuple[type[P], ...]) -> tuple[P, ...]:
        """The parts of a kind, in order."""
        return tuple(p for p in self.parts if isinstance(p, kind))

    def part(self, kind: type[P]) -> P | None:
        """The part of a kind, or None.

        Raises:
            StudyError: there are several.
        """
        found = self.parts_of(kind)
        if len(found) > 1:
            raise StudyError(
                f"Study {self.name!r} has {len(found)} parts {kind.__name__}, expected one; remove the others."
            )
        return found[0] if found else None

    def need(self, kind: type[P], by: str) -> P:
        """The part of a kind.

        Raises:
            StudyError: there is none.
        """
        found = self.part(kind)
        if found is None:
            raise StudyError(f"{by} needs the part {kind.__name__}, and study {self.name!r} has none; add it.")
        return found

    @property
    def venues(self) -> tuple[Any, ...]:
        """Layers of the population besides households and community, in the order of its venue layers."""
        return self.parts_of(VENUES)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the rows of transmission: household, community, then the venues."""
        return ("household", "community", *(v.layer for v in self.venues))

    @property
    def dose_states(self) -> tuple[str, ...]:
        """States of vaccination; one without a name where nobody is vaccinated."""
        vaccination = self.part(Vaccination)
        return ("doses_0",) if vaccination is None else vaccination.states

    def starting_on(self, day: date) -> Study:
        """The study with a calendar that starts later, for an epidemic that starts from infections before (`epi.model.State`).

        The first week is the first that lies in it whole. Seeding that has ended by then is left out, and its parameters with it.

        Raises:
            StudyError: no week up to the forecast date is left.
        """
        old = self.calendar
        weeks = max(0, -(-((day - old.first_week).days + 6) // 7))
        opened = old.opened if old.opened > day else None
        calendar = replace(old, start=day, first_week=old.first_week + timedelta(weeks=weeks), open_from=opened)
        parts = tuple(p for p in self.parts if not (isinstance(p, Seeding) and p.last_day(self) <= day))
        return replace(self, calendar=calendar, parts=parts)

    # axes and streams

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Axes by which a stream may be observed, with their labels."""
        areas = {self.region.area_axis: tuple(self.region.areas)} if self.region.areas else {}
        return {self.region.axis: self.region.names, "age": self.ages.names, **areas, ALL: (ALL,)}

    @property
    def observed(self) -> tuple[Stream, ...]:
        """The streams that are observed."""
        return tuple(s for s in self.streams if s.observed)

    def stream(self, name: str) -> Stream:
        """The stream of a name."""
        for s in self.streams:
            if s.name == name:
                return s
        raise StudyError(
            f"Study {self.name!r} has no stream {name!r}; it has {', '.join(s.name for s in self.streams)}."
        )

    def first_stream(self, kind: type[Stream]) -> Stream | None:
        """The first stream of a kind, or None."""
        return next((s for s in self.streams if isinstance(s, kind)), None)

    @property
    def infections(self) -> str:
        """Name of the stream of infections."""
        return next(s.name for s in self.streams if isinstance(s, Infections))

    @property
    def options(self) -> tuple[str, ...]:
        """What a run may switch on."""
        return tuple(dict.fromkeys(s.option for s in self.observed))

    def parse_options(self, given: str | Iterable[str]) -> tuple[str, ...]:
        """Names of options, in the order of `options`, from `"cases,wastewater"`.

        Raises:
            StudyError: none is given, or one is unknown.
        """
        names = [n.strip() for n in (given.split(",") if isinstance(given, str) else given) if n.strip()]
        for name in names:
            if name not in self.options:
                near = difflib.get_close_matches(name, self.options, 1, 0.5)
                hint = f"did you mean {near[0]!r}? Choose" if near else "choose"
                raise StudyError(f"Data stream {name!r} was asked for; {hint} among {', '.join(self.options)}.")
        if not names:
            raise StudyError(f"No data stream was asked for; name at least one of {', '.join(self.options)}.")
        return tuple(option for option in self.options if option in names)

    @property
    def default_options(self) -> tuple[str, ...]:
        """What the likelihood uses unless a run says otherwise."""
        return self.parse_options(self.fit_to or self.options)

    def switched_on(self, options: Iterable[str]) -> tuple[str, ...]:
        """Names of the streams that belong to some options."""
        chosen = set(options)
        return tuple(s.name for s in self.observed if s.option in chosen)

    # parameters

    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in their order: the disease's, numbers of the parts, numbers of the streams, then vectors.

        Raises:
            StudyError: two parts have a parameter of one name.
        """
        owners: list[tuple[str, Parameter]] = []
        for part in (self.disease, *self.parts):
            owners += [(type(part).__name__, p) for p in part.parameters(self)]
        for s in self.streams:
            s.places(self)
            owners += [(s.name, p) for p in s.parameters(self)]
        families = [(s, s.family.parameters(s.name)) for s in self.observed]
        owners += [(s.name, check_log_normal(p, s.name)) for s, (p, _) in families if p is not None]
        for s, (_, p) in families:
            if p is not None:
                owners.append((s.name, p if isinstance(s.family, BetaBinomial) else check_log_normal(p, s.name)))
        if self.transmission_walk is not None:
            owners += [("transmission_walk", p) for p in self.transmission_walk.parameters(self)]
        found: dict[str, tuple[str, Parameter]] = {}
        for owner, p in owners:
            if p.name in found and found[p.name][1] is not p:
                raise StudyError(
                    f"Parts {found[p.name][0]!r} and {owner!r} both have a parameter {p.name!r}; name one of them otherwise, or leave "
                    "one part out."
                )
            found.setdefault(p.name, (owner, p))
        every = [p for _, p in found.values()]
        first = list(self.disease.parameters(self))
        others = [p for p in every if p.name not in {q.name for q in first}]
        return (*first, *(p for p in others if not p.labels), *(p for p in others if p.labels))

    def host_parameters(self) -> tuple[Parameter, ...]:
        """Those on which the tables of hosts depend: the disease's, and those of parts that change them."""
        others = [p for part in self.parts if getattr(part, "changes_hosts", False) for p in part.parameters(self)]
        return (*self.disease.parameters(self), *others)

    @property
    def hierarchy(self) -> dict[str, str]:
        """`{effects: parameter that holds their standard deviation}`."""
        return {p.name: p.sd for p in self.parameters() if p.sd}

    def dispersion(self, name: str) -> str | None:
        """Name of the parameter by which a stream scatters."""
        found = self.stream(name).family.parameters(name)[1]
        return None if found is None else found.name

    def overdispersion(self, name: str) -> str | None:
        """Name of the parameter that holds the variance over mean of a stream's small counts."""
        found = self.stream(name).family.parameters(name)[0]
        return None if found is None else found.name

    def label(self, name: str) -> str:
        """Printed name of a flat parameter such as `district_effect[North]`."""
        site, _, element = name.partition("[")
        axis = self.region.axis
        known = LABELS | {f"{axis}_spread": f"sd between {self.region.plural_name}"}
        known |= {f"{axis}_effect": f"transmission in {axis}", f"{axis}_seed": f"start in {axis}"}
        for v in self.parts_of(Variant):
            known |= {f"{v.key}_advantage": f"{v.name}: advantage", f"{v.key}_midpoint": f"{v.name}: day of takeover"}
        reporting = self.part(Reporting)
        for r in () if reporting is None else reporting.regimes:
            known[f"ascertainment_{r.name}"] = f"share reported, {r.label or r.name.replace('_', ' ')}"
        for s in self.observed:
            if isinstance(s, Cohort):
                known[f"{s.option}_ratio"] = f"{s.label} over all"
            known.setdefault(self.dispersion(s.name) or "", f"scatter of {s.title[:1].lower()}{s.title[1:]}")
        text = known.get(site, site.replace("_", " "))
        return f"{text}: {element.rstrip(']')}" if element else text
