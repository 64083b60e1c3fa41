"""Draws of a density that costs nothing: a population moved from one target to the next.

Sequential Monte Carlo (Del Moral, Doucet & Jasra 2006): weights are tempered by equal effective numbers, draws resampled
and moved by differences of other draws (ter Braak 2006), which follow bends and modes without any tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
KEPT = 0.5  # effective share of the draws at which a step of the tempering ends
SMALL = 1e-4  # of the spread, added to differences so that no draw is stuck on a line


def move(
    z: Tensor, value: Tensor, target: LogDensity, sweeps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """Metropolis moves by differences of draws of the other half.

    Args:
        z: `[S, D]`, S at least 8.
        value: target at z, `[S]`.
        target: log density.
        sweeps: moves of every draw.
        generator: source of randomness.

    Returns:
        Draws, their target, and the share of moves accepted.
    """
    count, dim = z.shape
    z, value = z.clone(), value.clone()
    accepted = tried = 0
    for sweep in range(sweeps):
        order = torch.randperm(count, generator=generator)
        for own, other in ((order[: count // 2], order[count // 2 :]), (order[count // 2 :], order[: count // 2])):
            pick = torch.randint(len(other), (2, len(own)), generator=generator)
            difference = z[other[pick[0]]] - z[other[pick[1]]]
            jump = sweep % 5 == 4  # a whole difference carries a draw from mode to mode
            shorter = torch.exp(-4.0 * torch.rand(len(own), 1, generator=generator, dtype=z.dtype))
            size = torch.ones_like(shorter) if jump else 2.38 / math.sqrt(2 * dim) * shorter
            small = SMALL * torch.randn(len(own), dim, generator=generator, dtype=z.dtype)
            trial = z[own] + size * difference + small
            height = target(trial)
            ratio = (height - value[own]).nan_to_num(nan=-math.inf)
            yes = torch.rand(len(own), generator=generator, dtype=z.dtype).log() < ratio
            z[own[yes]], value[own[yes]] = trial[yes], height[yes]
            accepted, tried = accepted + int(yes.sum()), tried + len(own)
    return z, value, accepted / max(1, tried)


def _step(change: Tensor, done: float, kept: float) -> float:
    """How far the tempering may go: the effective share of the weights stays at `kept`."""

    def effective(share: float) -> float:
        weight = torch.softmax((share - done) * change, 0)
        return float(1 / (weight**2).sum()) / len(change)

    if effective(1.0) >= kept:
        return 1.0
    low, high = done, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= kept else (low, middle)
    return max(low, done + 1e-9)


def anneal(
    z: Tensor,
    start: LogDensity,
    end: LogDensity,
    *,
    sweeps: int,
    generator: torch.Generator,
    last_sweeps: int | None = None,
    steps: int = 200,
    kept: float = KEPT,
) -> Tensor:
    """Carry draws of one density to another.

    Args:
        z: draws of `start`, `[S, D]`.
        start: log density, up to a constant.
        end: log density, up to a constant.
        sweeps: moves of every draw after each step.
        generator: source of randomness.
        last_sweeps: moves after the last step; `sweeps` if None.
        steps: most steps.
        kept: effective share of the draws at which a step ends; nearer 1, more and smaller steps, which modes of unequal width need.

    Returns:
        Draws of `end`, `[S, D]`.
    """
    done = 0.0
    first, second = start(z), end(z)
    for _ in range(steps):
        change = (second - first).nan_to_num(nan=-math.inf)
        change = torch.where(torch.isfinite(change), change, torch.full_like(change, -1e300))
        share = _step(change, done, kept)
        weight = torch.softmax((share - done) * change, 0)
        z = z[systematic(weight, len(z), generator)]

        def bridge(point: Tensor, share: float = share) -> Tensor:
            if share == 1.0:
                return end(point)
            return (1 - share) * start(point) + share * end(point)

        z, _, _ = move(z, bridge(z), bridge, (last_sweeps or sweeps) if share == 1.0 else sweeps, generator)
        done = share
        if done == 1.0:
            break
        first, second = start(z), end(z)
    return z


def systematic(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of `count` draws by systematic resampling of normalised weights `[S]`."""
    edges = (torch.arange(count, dtype=weight.dtype) + torch.rand(1, generator=generator, dtype=weight.dtype)) / count
    return torch.searchsorted(weight.cumsum(0), edges).clamp(max=len(weight) - 1)
