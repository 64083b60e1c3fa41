"""Infections from outside: seeding that grows up to a day, or a series from a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.model.setting import Setting, Theta, prepare
from epi.study import Importations, Seeding

__all__ = ["SeedingModel"]


@dataclass(frozen=True, eq=False)
class SeedingModel:
    """Seeding of a study.

    Attributes:
        part: the declaration. axis: of the regions. regions: R.
        seeding: `[T]` 1 while infections are seeded.
        by_age: `[A]` relative importation by age, mean 1 over people.
    """

    part: Seeding
    axis: str
    regions: int
    seeding: Tensor
    by_age: Tensor

    def importation(self, theta: Theta) -> Tensor:
        """`[*batch, T, G]` hazard from outside, growing exponentially; sums to `seed_level` per 10,000 over its days."""
        seeding = self.seeding
        day = torch.arange(len(seeding), dtype=seeding.dtype, device=seeding.device)
        profile = torch.exp(theta["seed_growth"][..., None] * (day - seeding.sum())) * seeding
        profile = profile / profile.sum(-1, keepdim=True)
        level = 1e-4 * theta["seed_level"][..., None]
        if self.part.sd is not None:
            level = level * torch.exp(theta["seed_spread"][..., None] * theta[f"{self.axis}_seed"])
        else:
            level = level.expand(*level.shape[:-1], self.regions)
        by_group = (level[..., :, None] * self.by_age).flatten(-2)
        return profile[..., :, None] * by_group[..., None, :]


def _by_age(profile: str | None, setting: Setting) -> NDArray[np.float64]:
    """`[A]` relative importation by age, mean 1 over people: as the counts of a stream per person up to the first week."""
    study, people = setting.study, setting.data.population.astype(float)
    if profile is None:
        return np.ones(people.shape[1])
    series = setting.data.series[study.stream(profile).name]
    early = series.loc[: str(study.calendar.first_week)].to_numpy().sum(0) + 1.0
    per_person = early / people.sum(0)
    relative: NDArray[np.float64] = per_person * people.sum() / (per_person * people.sum(0)).sum()
    return relative


@prepare.register
def _(part: Seeding, setting: Setting) -> SeedingModel:
    study, by_age = setting.study, _by_age(part.age_profile, setting)
    end = study.calendar.day_of(part.last_day(study))
    seeding = 1 - (np.arange(setting.days) >= end).astype(float)
    return SeedingModel(part, study.region.axis, len(study.region), setting.real(seeding), setting.real(by_age))


@dataclass(frozen=True, eq=False)
class _Series:
    hazard: Tensor

    def importation(self, theta: Theta) -> Tensor:
        """`[*batch, T, G]`."""
        return theta["importation_factor"][..., None, None] * self.hazard


@prepare.register
def _(part: Importations, setting: Setting) -> _Series:
    study, table = setting.study, setting.data.importations
    assert table is not None
    dates = pd.Timestamp(study.calendar.start) + pd.to_timedelta(np.arange(setting.days), unit="D")
    by_day = table.reindex(dates).fillna(0.0).to_numpy(float)
    hazard = by_day / setting.data.population.sum(1)
    by_age = _by_age(part.age_profile, setting)
    return _Series(setting.real((hazard[:, :, None] * by_age).reshape(setting.days, -1)))
