"""Draws of a density that costs nothing: a population moved from one target to the next.

Sequential Monte Carlo (Del Moral, Doucet & Jasra 2006): weights are tempered by equal effective numbers, draws resampled
and moved in two ways. Differences of other draws (ter Braak 2006) follow bends without any tuning; draws of a mixture of
Gaussians fitted to the other half of the population, as independent proposals (South, Pettitt & Drovandi 2019), go from
mode to mode, without which each mode keeps the share of draws that chance gave it when the modes parted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from calib._mixture import Mixture, fit_mixture

LogDensity = Callable[[Tensor], Tensor]
KEPT = 0.5  # effective share of the draws at which a step of the tempering ends
BETWEEN, LEAPS = 4, 2  # sweeps between leaps, and leaps offered
SMALL = 1e-4  # of the spread, added to differences so that no draw is stuck on a line


def move(
    z: Tensor, value: Tensor, target: LogDensity, sweeps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """Metropolis moves by differences of draws of the other half, with leaps after every few sweeps.

    Args:
        z: `[S, D]`, S at least 8.
        value: target at z, `[S]`.
        target: log density.
        sweeps: moves of every draw by differences; after every fourth and the last, each draw is offered leaps.
        generator: source of randomness.

    Returns:
        Draws, their target, and the share of moves by differences that were accepted.
    """
    count, dim = z.shape
    z, value = z.clone(), value.clone()
    accepted = tried = 0
    for sweep in range(sweeps):
        order = torch.randperm(count, generator=generator)
        halves = ((order[: count // 2], order[count // 2 :]), (order[count // 2 :], order[: count // 2]))
        for own, other in halves:
            pick = torch.randint(len(other), (2, len(own)), generator=generator)
            difference = z[other[pick[0]]] - z[other[pick[1]]]
            jump = sweep % 5 == 4  # a whole difference carries a draw from mode to mode
            shorter = torch.exp(-4.0 * torch.rand(len(own), 1, generator=generator, dtype=z.dtype))
            size = torch.ones_like(shorter) if jump else 2.38 / math.sqrt(2 * dim) * shorter
            small = SMALL * torch.randn(len(own), dim, generator=generator, dtype=z.dtype)
            trial = z[own] + size * difference + small
            height = target(trial)
            yes = _accept(height - value[own], generator)
            z[own[yes]], value[own[yes]] = trial[yes], height[yes]
            accepted, tried = accepted + int(yes.sum()), tried + len(own)
        if sweep % BETWEEN == BETWEEN - 1 or sweep == sweeps - 1:
            for own, other in halves:
                _leap(z, value, target, own, fit_mixture(z[other], generator), generator)
    return z, value, accepted / max(1, tried)


def _leap(
    z: Tensor, value: Tensor, target: LogDensity, own: Tensor, mixture: Mixture, generator: torch.Generator
) -> None:
    """Offer draws `own` those of a mixture that knows nothing of them, in place."""
    density = mixture.log_prob(z[own])
    for _ in range(LEAPS):
        trial = mixture.sample(len(own), generator)
        height, proposed = target(trial), mixture.log_prob(trial)
        yes = _accept(height - value[own] + density - proposed, generator)
        z[own[yes]], value[own[yes]] = trial[yes], height[yes]
        density = torch.where(yes, proposed, density)


def _accept(ratio: Tensor, generator: torch.Generator) -> Tensor:
    chance = torch.rand(len(ratio), generator=generator, dtype=ratio.dtype)
    return chance.log() < ratio.nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=math.inf)


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
    stages: list[Tensor] | None = None,
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
        stages: the draws before the first step and after every one but the last are added to it.

    Returns:
        Draws of `end`, `[S, D]`.
    """
    done = 0.0
    first, second = start(z), end(z)
    for _ in range(steps):
        if stages is not None:
            stages.append(z)
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
