"""Expected observations of each kind of data stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from epi.errors import StudyError
from epi.model.antibody import apparent_prevalence, design_effect, has_antibody, rogan_gladen
from epi.model.composition import people_of
from epi.model.delays import delay_matrix, stay_matrix
from epi.model.epidemic import Epidemic, by_day, infected_kinds, weekly
from epi.model.setting import Setting, StreamPart, Theta, prepare
from epi.study import (
    Admissions,
    Cases,
    Cohort,
    Deaths,
    Infections,
    Occupancy,
    Serosurvey,
    UserStream,
    Wastewater,
)

__all__ = ["StreamPart", "apparent_prevalence", "design_effect", "rogan_gladen"]


def _mean(week: Tensor) -> Tensor:
    return week / week.sum(-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class _Infections:
    part: Infections

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """New infections by week."""
        daily = epidemic.by_region if self.part.by == epidemic.fixed.study.region.axis else None
        return weekly(
            epidemic.fixed.week, epidemic.places(self.part.by, epidemic.infections) if daily is None else daily
        )


@prepare.register
def _(part: Infections, setting: Setting) -> _Infections:
    return _Infections(part)


@dataclass(frozen=True, eq=False)
class _Cases:
    part: Cases
    delay: Tensor

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Reported infections by week of report."""
        return epidemic.places(self.part.by, epidemic.reported(self.part.delay, self.delay))


@prepare.register
def _(part: Cases, setting: Setting) -> _Cases:
    return _Cases(part, setting.real(delay_matrix(setting.days, part.delay)))


@dataclass(frozen=True, eq=False)
class _Admissions:
    part: Admissions
    delay: Tensor

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Admissions by week of admission."""
        return weekly(epidemic.fixed.week @ self.delay.T, epidemic.with_risk(self.part.by, epidemic.admitted))


@prepare.register
def _(part: Admissions, setting: Setting) -> _Admissions:
    return _Admissions(part, setting.real(delay_matrix(setting.days, part.delay)))


@dataclass(frozen=True, eq=False)
class _Deaths:
    part: Deaths
    delay: Tensor

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Deaths by week of death."""
        return weekly(epidemic.fixed.week @ self.delay.T, epidemic.with_risk(self.part.by, epidemic.dead))


@prepare.register
def _(part: Deaths, setting: Setting) -> _Deaths:
    return _Deaths(part, setting.real(delay_matrix(setting.days, part.delay)))


@dataclass(frozen=True, eq=False)
class _Occupancy:
    """`stay [T, T]` people there on a day for each infection that is admitted; `day [W, T]` 1 on the days of a week with a count."""

    part: Occupancy
    stay: Tensor
    day: Tensor

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """People in hospital on a day, mean of the week."""
        in_hospital = epidemic.with_risk(self.part.by, epidemic.admitted)
        return weekly(_mean(self.day) @ self.stay.T, in_hospital) * theta["hospital_days"][..., None, None]


@prepare.register
def _(part: Occupancy, setting: Setting) -> _Occupancy:
    calendar, days = setting.study.calendar, setting.days
    admit, week = delay_matrix(days, part.delay), calendar.week_matrix(days, setting.index)
    counted = week * calendar.since(days, part.counted_from or calendar.start)
    day = np.where(counted.any(1, keepdims=True), counted, week)
    return _Occupancy(part, setting.real(admit @ stay_matrix(days, part.stay)), setting.real(day))


@dataclass(frozen=True, eq=False)
class _Wastewater:
    part: Wastewater
    weight: Tensor  # [place, R] people of a region over those of the place

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Million copies a person a day: infections of each age shed as their hosts do."""
        hosts, o, infections = epidemic.hosts, epidemic.fixed, epidemic.infections
        kernel = torch.einsum("...sak,...kd->...sad", infected_kinds(hosts, o), hosts.shedding)
        shed = torch.zeros_like(infections[..., 0])
        days = infections.shape[-3]
        for d in range(min(kernel.shape[-1], days - 1)):  # the kernel begins on the day after infection
            left = days - d - 1
            moved = torch.einsum("...tra,...ta->...tr", infections[..., :left, :, :], by_day(kernel[..., d], left))
            shed = shed + torch.nn.functional.pad(moved, (0, 0, d + 1, 0))
        per_person = weekly(_mean(o.week), shed / o.inhabitants) @ self.weight.mT
        level = 1e3 * theta["wastewater_level"][..., None]
        if self.part.effect is not None:
            level = level * torch.exp(self.part.effect_sd * theta[f"wastewater_{self.part.by}_effect"])
        return per_person * level[..., None, :]


@prepare.register
def _(part: Wastewater, setting: Setting) -> _Wastewater:
    study, inhabitants = setting.study, setting.data.population.sum(1).astype(float)
    kinds: dict[str, list[tuple[str, ...]]] = {
        study.region.axis: [(name,) for name in study.region.names],
        "all": [study.region.names],
        study.region.area_axis: list(study.region.areas.values()),
    }
    members = kinds.get(part.by)
    if members is None:
        raise StudyError(
            f"Stream {part.name!r} is by {part.by!r}, and wastewater comes from places; choose regions or areas."
        )
    rows = np.array(
        [[(n in names) * p for n, p in zip(study.region.names, inhabitants, strict=True)] for names in members]
    )
    total = np.array(
        [[sum(p for n, p in zip(study.region.names, inhabitants, strict=True) if n in names)] for names in members]
    )
    return _Wastewater(part, setting.real(rows / total))


@dataclass(frozen=True, eq=False)
class _Cohort:
    part: Cohort
    delay: Tensor
    workers: Tensor  # [A] share in all people of the cohort's ages over the people of a band, per 1,000

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """New infections per 1,000 by week of detection."""
        found = torch.einsum("...ta,a->...t", epidemic.by_age, self.workers)
        ratio = theta[f"{self.part.option}_ratio"][..., None, None]
        return weekly(epidemic.fixed.week @ self.delay.T, found[..., None]) * ratio


@prepare.register
def _(part: Cohort, setting: Setting) -> _Cohort:
    people = setting.data.population.sum(0)
    inside = np.array([band in part.ages for band in setting.study.ages.names]) * 1e3
    workers = inside / (people * (inside > 0)).sum()
    return _Cohort(part, setting.real(delay_matrix(setting.days, part.delay)), setting.real(workers))


@dataclass(frozen=True, eq=False)
class _Serosurvey:
    part: Serosurvey
    converted: Tensor  # [T, T] share of the infections of a day (row) that has seroconverted on a day (column)
    people: Tensor  # [place]
    group: Tensor | None  # [place, A] 1 where an age band lies in an age group

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Positives among those tested, at the middle of the week."""
        part, o = self.part, epidemic.fixed
        infected = (
            epidemic.places(part.by, epidemic.infections) if self.group is None else epidemic.by_age @ self.group.mT
        )
        half_life = None if part.half_life is None else theta[f"{part.option}_half_life"]
        ever = has_antibody(infected, self.people, self.converted, half_life)
        has = part.before + (1 - part.before) * weekly(_mean(o.week), ever).clamp(0.0, 1.0)
        accuracy = (theta[f"{part.option}_{name}"][..., None, None] for name in ("sensitivity", "specificity"))
        return apparent_prevalence(has, *accuracy) * o.tested[part.name]


@prepare.register
def _(part: Serosurvey, setting: Setting) -> _Serosurvey:
    group, names = None, setting.study.ages.names
    if part.age_groups is not None:
        group = np.array([[float(band in bands) for band in names] for bands in part.age_groups.values()])
    people = people_of(part.by, setting) if group is None else group @ people_of("age", setting)
    converted = setting.real(delay_matrix(setting.days, part.seroconversion))
    return _Serosurvey(part, converted, setting.real(people), None if group is None else setting.real(group))


@dataclass(frozen=True, eq=False)
class _User:
    part: UserStream
    setting: Setting

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """What the user's function gives."""
        found = self.part.expected(theta, epidemic, self.setting)
        wanted = (len(epidemic.fixed.weeks), len(self.part.places(self.setting.study)))
        if not isinstance(found, Tensor) or tuple(found.shape[-2:]) != wanted:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise StudyError(
                f"Stream {self.part.name!r}: its function gave {shape}, expected [*batch, {wanted[0]} weeks, {wanted[1]} places]; correct it."
            )
        return found


@prepare.register
def _(part: UserStream, setting: Setting) -> _User:
    return _User(part, setting)
