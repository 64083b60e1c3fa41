"""From infections to expected observations: the streams of a study composed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.data import EpidemicData, Layout
from epi.data.observations import numbers_tested
from epi.errors import StudyError
from epi.model import composition, escaping_variant, streams  # noqa: F401  (they register how streams are prepared)
from epi.model.epidemic import Epidemic, by_day, fatality, infected_kinds, mean_severity, severity
from epi.model.setting import HostTables, Setting, StreamPart, Theta, prepare
from epi.study import (
    Admissions,
    Deaths,
    ElicitedBehaviour,
    EscapingVariant,
    NaturalHistory,
    Occupancy,
    Reporting,
    RightTruncation,
    Severity,
    Stream,
    Study,
)
from sim import Population

__all__ = [
    "Observation",
    "ages_within",
    "by_day",
    "epidemic_of",
    "expected",
    "fatality",
    "infected_kinds",
    "kinds_by_age",
    "make_observation",
    "mean_severity",
    "observe",
    "severity",
]

REFERENCE_AGE = 35.0
"""Age in years from which decades count where no `Severity` says another."""


@dataclass(frozen=True, eq=False)
class Observation:
    """The fixed part of the observation model, tensors of the run.

    Attributes:
        setting: study, tables, population, days, weeks.
        people: `[R, A]` people an agent of a group stands for.
        week: `[W, T]` 1 where a day lies in a week.
        regimes: `[regime - 1, T]` 1 on report dates of a regime and later ones, from the second on.
        age: `[Y]` decades from the reference age to the middles of finer age bands.
        within: `[A, Y]` their share in the people of an age band, rows sum to 1.
        share: `[*batch, A, K]` archetypes in an age band, rows sum to 1.
        inhabitants: `[R]`. area: `[area, R]` 1 where a region lies in an area; None without areas.
        tested: `[W, place]` number tested, by stream.
        streams: the streams, prepared, by name.
        testing: the part that says which archetypes report more, or none.
        severities: parts that make infections of a day more or less severe.
        truncated: parts that say how much of a stream is known.
    """

    setting: Setting
    people: Tensor
    week: Tensor
    regimes: Tensor
    age: Tensor
    within: Tensor
    share: Tensor
    inhabitants: Tensor
    area: Tensor | None
    tested: dict[str, Tensor]
    streams: dict[str, Any]
    testing: tuple[Any, ...] = ()
    severities: tuple[Any, ...] = ()
    truncated: tuple[Any, ...] = ()

    @property
    def study(self) -> Study:
        """The study."""
        return self.setting.study

    @property
    def weeks(self) -> pd.DatetimeIndex:
        """The W weeks."""
        return self.setting.index

    @cached_property
    def layout(self) -> Layout:
        """Order of the outputs."""
        return self.setting.layout

    def first(self, kind: type[Stream]) -> Any:
        """The first stream of a kind, prepared.

        Raises:
            StudyError: the study has none.
        """
        found = self.study.first_stream(kind)
        if found is None:
            raise StudyError(f"Study {self.study.name!r} has no stream {kind.__name__}, which is needed here; add one.")
        return self.streams[found.name]

    @property
    def admit(self) -> Tensor:
        """`[T, T]` share of the admissions of a day's infections (row) on a day (column)."""
        return cast(Tensor, self.first(Admissions).delay)

    @property
    def die(self) -> Tensor:
        """`[T, T]` share of the deaths of a day's infections (row) on a day (column)."""
        return cast(Tensor, self.first(Deaths).delay)

    @property
    def stay(self) -> Tensor:
        """`[T, T]` people in hospital on a day (column), on one day for each admission of a day's infections (row)."""
        return cast(Tensor, self.first(Occupancy).stay)


def make_observation(
    data: EpidemicData,
    population: Population,
    days: int,
    index: pd.DatetimeIndex,
    device: torch.device,
    dtype: torch.dtype,
) -> Observation:
    """Prepare the streams of a study over some days and weeks."""
    study = data.study
    setting, calendar = Setting(data, population, days, index, device, dtype), study.calendar
    real = setting.real
    severity_part, reporting = study.part(Severity), study.part(Reporting)
    reference = REFERENCE_AGE if severity_part is None else severity_part.reference_age
    later = () if reporting is None else reporting.regimes[1:]
    starts = np.array([calendar.since(days, r.start) for r in later if r.start is not None]).reshape(-1, days)
    areas = [[float(name in members) for name in study.region.names] for members in study.region.areas.values()]
    tested = numbers_tested(data, index)
    return Observation(
        setting=setting,
        people=real(np.repeat(population.people_per_agent[:, None], len(study.ages), axis=1)),
        week=real(calendar.week_matrix(days, index)),
        regimes=real(starts),
        age=real((_fine_midpoints(data) - reference) / 10),
        within=real(ages_within(data)),
        share=real(kinds_by_age(data)),
        inhabitants=real(data.population.sum(1).astype(float)),
        area=real(np.array(areas)) if areas else None,
        tested={name: x.to(device, dtype) for name, x in tested.items()},
        streams={s.name: _prepared(s, setting) for s in study.streams},
        testing=tuple(prepare(p, setting) for p in _testing(study)),
        severities=tuple(prepare(p, setting) for p in study.parts_of(EscapingVariant)),
        truncated=tuple(prepare(p, setting) for p in study.parts_of(RightTruncation)),
    )


def _testing(study: Study) -> tuple[ElicitedBehaviour, ...]:
    found = tuple(p for p in study.parts_of(ElicitedBehaviour) if p.affects == "testing")
    if len(found) > 1:
        raise StudyError(
            f"Study {study.name!r} has {len(found)} parts that affect testing, expected one; remove the others."
        )
    return found


def _prepared(stream: Stream, setting: Setting) -> Any:
    found = prepare(stream, setting)
    if not isinstance(found, StreamPart):
        raise StudyError(
            f"Stream {stream.name!r} gives no expected observations; give {type(stream).__name__} a method prepare(setting), or use UserStream."
        )
    return found


def _fine_midpoints(data: EpidemicData) -> NDArray[np.float64]:
    """`[Y]` middles in years of the rows of the table of ages; an open last row has the width of the one before."""
    first = data.ages["from_age"].to_numpy(float)
    if len(first) == len(data.study.ages):
        return np.array(data.study.ages.midpoints)
    order = np.argsort(first)
    width = np.empty(len(first))
    steps = np.diff(first[order])
    width[order] = np.append(steps, steps[-1])
    return first + width / 2


def kinds_by_age(data: EpidemicData) -> NDArray[np.float64]:
    """`[A, K]` share of the archetypes (age band x doses x class of protection x class of prior infection) in the people of an age band."""
    national = (data.vaccination * data.population[..., None]).sum(0)
    national = national / national.sum(-1, keepdims=True)
    disease = data.study.disease
    immunity = disease.immunity if isinstance(disease, NaturalHistory) else None
    if immunity is not None and immunity.kind == "all-or-nothing":
        national = np.repeat(national / immunity.classes, immunity.classes, axis=1)
    if data.prior_cases is not None:
        people = data.population / data.population.sum(0)
        classes = (data.prior_cases.classes * people[..., None]).sum(0)
        national = (national[..., None] * classes[:, None]).reshape(len(national), -1)
    ages, kinds = national.shape
    out = np.zeros((ages, ages * kinds))
    for a in range(ages):
        out[a, a * kinds : (a + 1) * kinds] = national[a]
    return out


def ages_within(data: EpidemicData) -> NDArray[np.float64]:
    """`[A, Y]` share of finer bands in the people of an age band. An open band is of many ages, and risk grows steeply."""
    part = data.ages["age_band"].to_numpy() == np.array(data.study.ages.names)[:, None]
    people = part * data.ages["people"].to_numpy(float)
    shares: NDArray[np.float64] = people / people.sum(1, keepdims=True)
    return shares


def observe(theta: Theta, hosts: HostTables, incidence: Tensor, o: Observation) -> dict[str, Tensor]:
    """Expected weekly observations, `[*batch, W, place]` by stream.

    Args:
        theta: parameters `{site: [*batch, ...]}`.
        hosts: host tables of the same particles.
        incidence: `[*batch, T, G]` infections in agents.
        o: the fixed part.
    """
    return expected(epidemic_of(theta, hosts, incidence, o))


def epidemic_of(theta: Theta, hosts: HostTables, incidence: Tensor, o: Observation) -> Epidemic:
    """The epidemic as streams see it; arguments as for `observe`."""
    return Epidemic(theta, hosts, incidence.unflatten(-1, o.setting.sizes) * o.people, o)


def expected(epidemic: Epidemic) -> dict[str, Tensor]:
    """Expected weekly observations of an epidemic, as `observe` gives them."""
    found = {name: part.expected(epidemic.theta, epidemic) for name, part in epidemic.fixed.streams.items()}
    for part in epidemic.fixed.truncated:
        found[part.part.of] = part.reported(epidemic.theta, found[part.part.of])
    return found
