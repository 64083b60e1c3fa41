"""A policy: weekly stringency by layer of contacts, what it may be, and what it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import torch
from torch import Tensor

from experiments.nz_calibration import _calendar as calendar
from experiments.nz_calibration._errors import StudyError
from experiments.what_if._world import WorldSimulator

LAYERS = ("school", "work", "community")
"""Layers that a policy restricts; contacts at home are left alone."""


@dataclass(frozen=True, eq=False)
class Constraints:
    """Stringency `u [weeks, layers]`: `low <= u <= high` and `sum cost * u <= budget`.

    A stringency of 0.3 takes 30 % of a layer's transmission in a week. `cost` is the price of taking all of it for a week.

    Attributes:
        first: the Mondays on which the weeks begin.
        low, high: `[weeks, layers]`, shares.
        cost: `[layers]`, above 0.
        budget: in the unit of `cost`.

    Raises:
        StudyError: bounds that are no shares or the wrong way round, a cost that is not above 0, or a budget that cannot be met, or that
            leaves nothing to choose.
    """

    first: tuple[date, ...]
    low: Tensor
    high: Tensor
    cost: Tensor
    budget: float

    def __post_init__(self) -> None:
        if not bool(((self.low >= 0) & (self.low <= self.high) & (self.high <= 1)).all()):
            raise StudyError(
                f"Stringency bounds run from {float(self.low.min()):g} to {float(self.high.max()):g}; give shares from 0 to 1, "
                "the lower bound not above the upper."
            )
        if not bool((torch.isfinite(self.cost) & (self.cost > 0)).all()):
            raise StudyError(f"The costs of the layers are {self.cost.tolist()}; give numbers above 0.")
        least, most = (float((self.cost * u).sum()) for u in (self.low, self.high))
        if not self.budget >= least:
            raise StudyError(
                f"A budget of {self.budget:g} cannot be met: the lower bounds alone cost {least:g}; raise the budget or lower the bounds."
            )
        if self.budget >= most:
            raise StudyError(
                f"A budget of {self.budget:g} leaves nothing to choose: everything at its upper bound costs {most:g}; lower the budget."
            )

    def spent(self, u: Tensor) -> float:
        """What a policy costs."""
        return float((self.cost * u).sum())

    def project(self, v: Tensor) -> Tensor:
        """The nearest policy that meets the constraints, `[weeks, layers]`.

        `clip(v - m cost, low, high)` with the smallest `m >= 0` that meets the budget (Held, Wolfe & Crowder 1974, Math Program 6:62);
        the budget is monotone in m, which bisection finds.
        """
        return _clipped(v, self.cost, self.low, self.high, self.budget)

    def vertex(self, slope: Tensor) -> Tensor:
        """The policy that minimises `sum slope * u`: the budget goes where a unit of it lowers the outcome most.

        Exact for this linear problem (Dantzig 1957, Oper Res 5:266).
        """
        u, left = self.low.clone(), self.budget - self.spent(self.low)
        worth = slope / self.cost
        for index in worth.flatten().argsort().tolist():
            row, layer = divmod(index, len(self.cost))
            if worth[row, layer] >= 0 or left <= 0:
                break
            taken = min(float(self.high[row, layer] - u[row, layer]), left / float(self.cost[layer]))
            u[row, layer] += taken
            left -= taken * float(self.cost[layer])
        return u

    def equal_shares(self) -> Tensor:
        """The same stringency everywhere, as far as the bounds allow, for the whole budget."""
        rise = torch.ones_like(self.low)
        smallest, largest = 0.0, 1.0
        for _ in range(60):
            middle = 0.5 * (smallest + largest)
            u = torch.clamp(middle * rise, self.low, self.high)
            smallest, largest = (middle, largest) if self.spent(u) <= self.budget else (smallest, middle)
        return torch.clamp(smallest * rise, self.low, self.high)


def _clipped(v: Tensor, cost: Tensor, low: Tensor, high: Tensor, budget: float) -> Tensor:
    def at(m: float) -> Tensor:
        return torch.clamp(v - m * cost, low, high)

    if float((cost * at(0.0)).sum()) <= budget:
        return at(0.0)
    smallest, largest = 0.0, float(((v - low) / cost).max())
    for _ in range(60):
        middle = 0.5 * (smallest + largest)
        smallest, largest = (middle, largest) if float((cost * at(middle)).sum()) > budget else (smallest, middle)
    return at(largest)


def policy_weeks(first: date, last: date, days: int) -> tuple[date, ...]:
    """The Mondays of the weeks from `first` to `last`.

    Raises:
        StudyError: a day that is not simulated, or no whole week.
    """
    final = calendar.START + timedelta(days=days - 1)
    if not calendar.START <= first < last <= final:
        raise StudyError(
            f"A policy from {first} to {last} was asked for, and the simulated days are {calendar.START} to {final}; "
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

    def contacts(self, u: Tensor) -> dict[str, Tensor]:
        """The levers of a policy, `[*batch, T]` each, from `u [*batch, weeks, layers]`."""
        days = self.simulator.base.context.days
        weekly = torch.zeros(len(self.first), days, dtype=u.dtype)
        for row, monday in enumerate(self.first):
            begin = calendar.day_of(monday)
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
