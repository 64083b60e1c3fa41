"""What a policy may be: bounds, prices and a budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from epi.errors import StudyError


@dataclass(frozen=True, eq=False)
class Constraints:
    """A table of decisions `u [rows, columns]`: `low <= u <= high` and `sum cost * u <= budget`.

    For restrictions a row is a week, a column a layer, u the share of transmission taken and `cost` the price of taking all of it for a
    week. For doses a row is a region, a column an age band, u the share of those eligible who get one and `cost` how many they are.

    Attributes:
        low, high: `[rows, columns]`, shares.
        cost: above 0, broadcast to the same shape.
        budget: in the unit of `cost`.

    Raises:
        StudyError: bounds that are no shares or the wrong way round, a cost that is not above 0, or a budget that cannot be met, or that
            leaves nothing to choose.
    """

    low: Tensor
    high: Tensor
    cost: Tensor
    budget: float

    def __post_init__(self) -> None:
        if not bool(((self.low >= 0) & (self.low <= self.high) & (self.high <= 1)).all()):
            raise StudyError(
                f"Bounds of the policy run from {float(self.low.min()):g} to {float(self.high.max()):g}; give shares from 0 to 1, "
                "the lower bound not above the upper."
            )
        if not bool((torch.isfinite(self.cost) & (self.cost > 0)).all()):
            bad = self.cost[~(torch.isfinite(self.cost) & (self.cost > 0))]
            raise StudyError(f"A cost of the policy is {float(bad[0]):g}; give numbers above 0.")
        object.__setattr__(self, "cost", self.cost.expand(self.low.shape))
        least, most = (self.spent(u) for u in (self.low, self.high))
        if not self.budget >= least:
            raise StudyError(
                f"A budget of {self.budget:,.10g} cannot be met: the lower bounds alone cost {least:,.10g}; "
                "raise the budget or lower the bounds."
            )
        if self.budget >= most:
            raise StudyError(
                f"A budget of {self.budget:,.10g} leaves nothing to choose: everything at its upper bound costs {most:,.10g}; "
                "lower the budget."
            )

    def spent(self, u: Tensor) -> float:
        """What a policy costs."""
        return float((self.cost * u).sum())

    def project(self, v: Tensor) -> Tensor:
        """The policy that meets the constraints with the smallest `sum cost * (u - v)^2`, `[rows, columns]`.

        The distance in the metric of the cost, in which gradient steps are taken. It is `clip(v - m, low, high)` with the smallest
        `m >= 0` that meets the budget (Held, Wolfe & Crowder 1974, Math Program 6:62); what is spent falls with m, which bisection finds.
        """
        if self.spent(torch.clamp(v, self.low, self.high)) <= self.budget:
            return torch.clamp(v, self.low, self.high)
        smallest, largest = 0.0, float((v - self.low).max())
        for _ in range(60):
            middle = 0.5 * (smallest + largest)
            over = self.spent(torch.clamp(v - middle, self.low, self.high)) > self.budget
            smallest, largest = (middle, largest) if over else (smallest, middle)
        return torch.clamp(v - largest, self.low, self.high)

    def vertex(self, slope: Tensor) -> Tensor:
        """The policy that minimises `sum slope * u`: the budget goes where a unit of it lowers the outcome most.

        Exact for this linear problem (Dantzig 1957, Oper Res 5:266).
        """
        return self.in_order((slope / self.cost).flatten().argsort()[: int((slope < 0).sum())].tolist())

    def in_order(self, cells: list[int]) -> Tensor:
        """The policy that brings one cell after another (numbered row by row) to its upper bound until the budget is spent."""
        u, left = self.low.clone(), self.budget - self.spent(self.low)
        for index in cells:
            cell = divmod(index, self.low.shape[1])
            taken = min(float(self.high[cell] - u[cell]), max(left, 0.0) / float(self.cost[cell]))
            u[cell] += taken
            left -= taken * float(self.cost[cell])
        return u

    def equal_shares(self) -> Tensor:
        """The same decision everywhere, as far as the bounds allow, for the whole budget."""
        rise = torch.ones_like(self.low)
        smallest, largest = 0.0, 1.0
        for _ in range(60):
            middle = 0.5 * (smallest + largest)
            u = torch.clamp(middle * rise, self.low, self.high)
            smallest, largest = (middle, largest) if self.spent(u) <= self.budget else (smallest, middle)
        return torch.clamp(smallest * rise, self.low, self.high)
