"""Ways to share out doses that need no model."""

from __future__ import annotations

import torch
from torch import Tensor

from epi.scenarios.allocation.constraints import Constraints


def oldest_first(constraints: Constraints) -> Tensor:
    """One age band after the other from the oldest, `[R, A]`: up to the bound in all regions alike, the last as far as the budget goes."""
    u, left = constraints.low.clone(), constraints.budget - constraints.spent(constraints.low)
    for age in reversed(range(u.shape[1])):
        room = constraints.high[:, age] - u[:, age]
        price = float((constraints.cost[:, age] * room).sum())
        part = min(1.0, left / price) if price > 0 else 0.0
        u[:, age] += part * room
        left -= part * price
    return u


def as_given(constraints: Constraints, by_age: Tensor) -> Tensor:
    """Shares in the proportions of `by_age [A]`, as far as the bounds allow, in all regions alike, for the whole budget."""
    smallest, largest = 0.0, 1e3

    def at(factor: float) -> Tensor:
        return torch.clamp(factor * by_age.expand_as(constraints.low), constraints.low, constraints.high)

    for _ in range(80):
        middle = 0.5 * (smallest + largest)
        smallest, largest = (
            (middle, largest) if constraints.spent(at(middle)) <= constraints.budget else (smallest, middle)
        )
    return at(smallest)
