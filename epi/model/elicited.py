"""Behaviour by archetype from answers: who isolates, who tests, who stays away from work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.errors import StudyError
from epi.model.setting import HostTables, Setting, Theta, prepare
from epi.study import Cases, ElicitedBehaviour
from sim import VENUES

__all__ = ["Behaviour", "context_of", "savage_dickey"]

PER = 1e5


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Answers as log odds, and where and when they matter.

    Attributes:
        part: the declaration.
        answers: `[K, C]` log odds less their mean. grid: `[C]` incidence per 100,000 people and week.
        context: `[T]` reported incidence of the week before each day.
        archetype: `[R, A]` archetype of every cell.
        weight: `[K]` share of an archetype in the people, or in those at work.
    """

    part: ElicitedBehaviour
    answers: Tensor
    grid: Tensor
    context: Tensor
    archetype: Tensor
    weight: Tensor

    def log_odds(self, theta: Theta, context: Tensor | None = None) -> Tensor:
        """`[*batch, K, *context]` log odds over the level: `strength * (answer - mean) + sd * u`; differentiable in context and theta."""
        key, x = self.part.key, self.context if context is None else context
        known = interpolate(self.answers, self.grid, x)
        ones = [1] * x.dim()
        strength = theta[f"{key}_strength"].reshape(*theta[f"{key}_strength"].shape, 1, *ones)
        off = theta[f"{key}_sd"][..., None] * theta[f"{key}_deviation"]
        return strength * known + off.reshape(*off.shape, *ones)

    def probability(self, theta: Theta, context: Tensor | None = None) -> Tensor:
        """`[*batch, K, *context]` share of an archetype that does it."""
        level = theta[f"{self.part.key}_level"]
        x = self.context if context is None else context
        return torch.sigmoid(level.reshape(*level.shape, 1, *[1] * x.dim()) + self.log_odds(theta, context))


@dataclass(frozen=True, eq=False)
class Testing(Behaviour):
    """Who tests: log odds of the share reported off the share of all (`Epidemic.reported`)."""


@dataclass(frozen=True, eq=False)
class Isolation(Behaviour):
    """Who isolates, at the mean incidence of the days that the likelihood sees.

    Attributes:
        usual: `[1]` this mean.
    """

    usual: Tensor

    def changed_hosts(self, theta: Theta, hosts: HostTables) -> HostTables:
        """Infectiousness falls by `effect` times the share that isolates, over the mean of all people."""
        p = self.probability(theta, self.usual)[..., 0]
        left = 1 - theta[f"{self.part.key}_effect"][..., None] * p
        factor = left / (left * self.weight).sum(-1, keepdim=True)
        by_age = factor[..., self.archetype[0]]  # [*batch, A]; archetypes are by age alone
        kinds = hosts.infectiousness.shape[-2]
        each = by_age.repeat_interleave(kinds // by_age.shape[-1], -1)
        return replace(hosts, infectiousness=hosts.infectiousness * each[..., None])


@dataclass(frozen=True, eq=False)
class Absence(Behaviour):
    """Who stays away from work.

    Attributes:
        row: number of the layer.
        layers: number of layers.
    """

    row: int
    layers: int

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, layer, T]`: contacts at work with the square of who is there, 1 elsewhere."""
        away = (self.probability(theta) * self.weight[:, None]).sum(-2)
        there = (1 - theta[f"{self.part.key}_effect"][..., None] * away).square()
        here = torch.zeros(self.layers, 1, dtype=torch.bool, device=there.device)
        here[self.row] = True
        return torch.where(here, there[..., None, :], torch.ones_like(there)[..., None, :])


@prepare.register
def _(part: ElicitedBehaviour, setting: Setting) -> Behaviour:
    study, table = setting.study, part.answers
    rows, ages = setting.sizes
    region, age = (x.ravel() for x in np.meshgrid(np.arange(rows), np.arange(ages), indexing="ij"))
    cell = table.archetypes.assign({study.region.axis: region, "age": age})
    people = setting.data.population.astype(float).ravel()
    if part.affects == "work":
        people = _working(setting)
    weight = np.bincount(cell, weights=people, minlength=len(table.archetypes))
    logit = table.logit
    context = context_of(part, setting)
    known = study.calendar.day_of(study.calendar.forecast_from) + 1
    fixed = (
        part,
        setting.real(logit - logit.mean()),
        setting.real(np.array(table.question.grid)),
        setting.real(context),
        torch.as_tensor(cell.reshape(rows, ages).astype(np.int64), device=setting.device),
        setting.real(weight / max(weight.sum(), 1e-12)),
    )
    if part.affects == "testing":
        return Testing(*fixed)
    if part.affects == "isolation":
        return Isolation(*fixed, setting.real(np.array([context[:known].mean()])))
    return Absence(*fixed, study.layers.index("work"), len(study.layers))


def _working(setting: Setting) -> NDArray[np.float64]:
    """`[R * A]` agents at work by cell."""
    at = setting.study.layers.index("work") - VENUES
    here = setting.population.venues[at] >= 0
    found = np.bincount(setting.population.group[here], minlength=len(setting.population.region_of_group))
    return found.astype(float)


def context_of(part: ElicitedBehaviour, setting: Setting) -> NDArray[np.float64]:
    """`[T]` reported incidence per 100,000 people in the last week that had ended before each day.

    Only weeks up to the forecast date count: later days hold the last known value, and days before the first week 0.

    Raises:
        StudyError: the study has no such stream of counts.
    """
    study, calendar = setting.study, setting.study.calendar
    stream = study.stream(part.stream) if part.stream else study.first_stream(Cases)
    if stream is None or not stream.counts:
        raise StudyError(
            "ElicitedBehaviour takes its context from a stream of counts, such as Cases; add one, or name one."
        )
    weeks = calendar.weeks(last=calendar.forecast_from)
    counted = setting.data.series[stream.name].reindex(weeks).to_numpy(float)
    weekly = PER * np.nan_to_num(counted).sum(1) / setting.data.population.sum()
    out = np.zeros(setting.days)
    for end, value in zip(weeks, weekly, strict=True):
        out[max(0, calendar.day_of(end.date() + timedelta(days=1))) :] = value
    return out


def savage_dickey(draws: NDArray[np.float64], prior_density: float, at: float = 0.0) -> float:
    """Bayes factor for a parameter being free over its being `at`, by the Savage-Dickey ratio: prior over posterior density there.

    The posterior density is that of a normal distribution with the mean and standard deviation of the draws.

    Args:
        draws: `[S]` of the posterior.
        prior_density: of the prior at `at`.
        at: the value.

    Returns:
        Above 1 speaks for a value other than `at`.

    References:
        Dickey 1971, Ann Math Stat 42:204. Wagenmakers et al. 2010, Cogn Psychol 60:158.
    """
    x = np.asarray(draws, dtype=float)
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    density = np.exp(-0.5 * ((at - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
    return float(prior_density / max(float(density), 1e-300))


def interpolate(values: Tensor, grid: Tensor, at: Tensor) -> Tensor:
    """Piecewise linear between grid points on the scale log(1 + x), constant beyond them; differentiable in `values` and `at`.

    Args:
        values: `[*batch, K, C]`.
        grid: `[C]`, rising, from 0 on.
        at: `[*shape]`.

    Returns:
        `[*batch, K, *shape]`, exact at grid points.
    """
    if grid.numel() == 1:
        return values[..., 0].reshape(*values.shape[:-1], *[1] * at.dim()).expand(*values.shape[:-1], *at.shape)
    x, known = torch.log1p(at), torch.log1p(grid)
    right = torch.searchsorted(known, x.detach().contiguous()).clamp(1, len(grid) - 1)
    share = ((x - known[right - 1]) / (known[right] - known[right - 1])).clamp(0.0, 1.0)
    return values[..., right - 1] * (1 - share) + values[..., right] * share
