"""A policy: weekly stringency by layer of contacts, and what it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import torch
from torch import Tensor

from epi.errors import StudyError
from epi.scenarios.world import WorldSimulator
from epi.study import Calendar

LAYERS = ("school", "work", "community")
"""Layers that a policy restricts; contacts at home are left alone."""


def policy_weeks(calendar: Calendar, first: date, last: date, days: int) -> tuple[date, ...]:
    """The Mondays of the weeks from `first` to `last`.

    Raises:
        StudyError: a day that is not simulated, or no whole week.
    """
    final = calendar.date_of(days - 1)
    if not calendar.start <= first < last <= final:
        raise StudyError(
            f"A policy from {first} to {last} was asked for, and the simulated days are {calendar.start} to {final}; "
            "choose days among them, the first before the last."
        )
    start = first + timedelta(days=(7 - first.weekday()) % 7)
    mondays = tuple(start + timedelta(days=7 * i) for i in range(((last - start).days + 1) // 7))
    if not mondays:
        raise StudyError(
            f"From {first} to {last} there is no whole week from Monday to Sunday; choose days further apart."
        )
    return mondays


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected admissions under a policy, over posterior draws and random streams; counts its simulations.

    Attributes:
        simulator: with levers.
        theta: all sites, `[S, *event]`.
        first: the Mondays of the policy's weeks.
        batch: simulations at once.
    """

    simulator: WorldSimulator
    theta: Mapping[str, Tensor]
    first: tuple[date, ...]
    batch: int = 8

    @property
    def draws(self) -> int:
        """Number of posterior draws S."""
        return len(next(iter(self.theta.values())))

    def only(self, at: Tensor) -> Expectation:
        """The same over some of the draws."""
        return replace(self, theta={name: value[at] for name, value in self.theta.items()})

    def contacts(self, u: Tensor) -> dict[str, Tensor]:
        """The levers of a policy, `[*batch, T]` each, from `u [*batch, weeks, layers]`."""
        days = self.simulator.base.context.days
        weekly = torch.zeros(len(self.first), days, dtype=u.dtype)
        for row, monday in enumerate(self.first):
            begin = self.simulator.base.study.calendar.day_of(monday)
            weekly[row, begin : begin + 7] = 1.0
        factor = 1 - torch.einsum("...wl,wt->...lt", u, weekly)
        return {f"contacts_{layer}": factor[..., i, :] for i, layer in enumerate(LAYERS)}

    def admissions(self, u: Tensor, at: Tensor, seed: int) -> Tensor:
        """`[len(at)]` expected admissions of all weeks at the draws `at`, draw by draw with the random stream of its place."""
        return self.weekly(u, at, seed).sum(-1)

    def weekly(self, u: Tensor, at: Tensor, seed: int) -> Tensor:
        """`[len(at), W]` the same by week."""
        rows = []
        usual = self.simulator.usual()
        for start in range(0, len(at), self.batch):
            chosen = at[start : start + self.batch]
            theta = {name: value[chosen] for name, value in self.theta.items()} | usual | self.contacts(u)
            out, _ = self.simulator.run(theta, seed, torch.arange(start, start + len(chosen)))
            rows.append(out.admissions.sum((-1, -2)))
        return torch.cat(rows)

    def gradient(self, u: Tensor, at: Tensor, seed: int) -> tuple[float, Tensor]:
        """Mean admissions at the draws `at` and their gradient in the policy, by reverse mode through the epidemic."""
        leaf = u.detach().clone().requires_grad_()
        mean = self.admissions(leaf, at, seed).mean()
        (slope,) = torch.autograd.grad(mean, leaf)
        return float(mean.detach()), slope
