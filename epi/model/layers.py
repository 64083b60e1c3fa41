"""What changes transmission in time and between regions: variants, dated changes, season, random walk, effects of regions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from epi.model.setting import Setting, Theta, prepare
from epi.study import Intervention, RandomWalk, RegionEffects, SeasonalForcing, Variant

__all__ = ["region_effect", "variant_factor"]


def variant_factor(part: Variant, theta: Theta, day: Tensor) -> Tensor:
    """`[*batch, T]` transmission over that of what the variant replaces, while it takes over.

    Its share grows logistically, at the rate that its advantage over a generation gives; transmission is the mean over shares.

    Args:
        part: the variant.
        theta: its advantage and midpoint, `[*batch]`.
        day: `[T]` days since the day from which the midpoint counts.
    """
    advantage = theta[f"{part.key}_advantage"][..., None]
    midpoint = theta[f"{part.key}_midpoint"][..., None]
    share = torch.sigmoid(advantage.log() / part.generation * (day - midpoint))
    return 1 + share * (advantage - 1)


@dataclass(frozen=True, eq=False)
class _Variant:
    part: Variant
    day: Tensor

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, 1, T]`."""
        return variant_factor(self.part, theta, self.day)[..., None, :]


@prepare.register
def _(part: Variant, setting: Setting) -> _Variant:
    return _Variant(part, setting.real(np.arange(setting.days) - setting.study.calendar.day_of(part.day)))


@dataclass(frozen=True, eq=False)
class _Walk:
    part: RandomWalk
    outside: Tensor
    level: Tensor

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, layer, T]`: 1 at home."""
        steps = theta[self.part.name] * torch.tensor(self.part.sds).to(theta[self.part.name])
        walk = torch.nn.functional.pad(steps, (1, 0)).cumsum(-1)
        moved = torch.exp(walk)[..., self.level]
        return torch.where(self.outside[:, None], moved[..., None, :], torch.ones_like(moved)[..., None, :])


@prepare.register
def _(part: RandomWalk, setting: Setting) -> _Walk:
    since = np.clip(np.arange(setting.days) - setting.study.calendar.day_of(part.start), 0, None)
    level = torch.as_tensor(np.minimum(since // part.every_days, len(part.sds)), device=setting.device)
    return _Walk(part, _outside(setting), level)


def _outside(setting: Setting) -> Tensor:
    """`[layer]` which layers are outside the home."""
    return torch.tensor([layer != "household" for layer in setting.study.layers], device=setting.device)


@dataclass(frozen=True, eq=False)
class _Intervention:
    part: Intervention
    where: Tensor

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, layer, T]`."""
        effect = theta[f"effect_{self.part.name}"][..., None, None]
        return torch.where(self.where, effect, torch.ones_like(effect))


@prepare.register
def _(part: Intervention, setting: Setting) -> _Intervention:
    calendar, layers = setting.study.calendar, setting.study.layers
    chosen = part.layers or layers[1:]
    day = np.arange(setting.days)
    last = math.inf if part.last is None else calendar.day_of(part.last)
    when = (day >= calendar.day_of(part.first)) & (day <= last)
    where = np.array([layer in chosen for layer in layers])[:, None] & when
    return _Intervention(part, torch.as_tensor(where, device=setting.device))


@dataclass(frozen=True, eq=False)
class _Season:
    wave: Tensor
    outside: Tensor

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, layer, T]`: 1 at home."""
        moved = torch.exp(theta["seasonal_amplitude"][..., None] * self.wave)
        return torch.where(self.outside[:, None], moved[..., None, :], torch.ones_like(moved)[..., None, :])


@prepare.register
def _(part: SeasonalForcing, setting: Setting) -> _Season:
    day = np.arange(setting.days) - setting.study.calendar.day_of(part.peak)
    return _Season(setting.real(np.cos(2 * math.pi * day / 365.25)), _outside(setting))


def region_effect(axis: str, theta: Theta) -> Tensor:
    """`[*batch, R]` factor of each region on community transmission."""
    return torch.exp(theta[f"{axis}_spread"][..., None] * theta[f"{axis}_effect"])


@dataclass(frozen=True, eq=False)
class _Regions:
    axis: str

    def region_factor(self, theta: Theta) -> Tensor:
        """`[*batch, R]`."""
        return region_effect(self.axis, theta)


@prepare.register
def _(part: RegionEffects, setting: Setting) -> _Regions:
    return _Regions(setting.study.region.axis)
