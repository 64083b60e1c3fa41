"""True derivatives by differences: common random numbers, two widths, extrapolated to a step of zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sim
from experiments.gradient_audit.estimators import outcomes, sample, zeros
from experiments.gradient_audit.worlds import World

__all__ = ["Differences", "differences", "pilot_step", "simulate"]

Outcomes = Callable[[Tensor, Tensor], NDArray[np.float64]]
"""`theta [P, Q], streams [P] -> outcomes [P, O]`."""

CHANGE_OF_LOG_TOTAL, LARGEST_STEP = 0.15, 0.3
EVERY = 4
"""Of the streams of the smaller width, one in so many also has the larger: its noise counts for less."""
CELLS = 4e7


@dataclass(frozen=True)
class Differences:
    """Central differences in one parameter, one a random stream.

    Attributes:
        step: half-width h of the smaller difference.
        small: `[n, O]` differences of width h.
        large: `[n / EVERY, O]` of width 2 h.
        level: `[O]` mean outcome at the ends of the small differences.
    """

    step: float
    small: NDArray[np.float64]
    large: NDArray[np.float64]
    level: NDArray[np.float64]

    @property
    def value(self) -> NDArray[np.float64]:
        """`[O]` Richardson's extrapolation `(4 D(h) - D(2 h)) / 3`: its error is of order h^4."""
        extrapolated: NDArray[np.float64] = (4 * self.small.mean(0) - self.large.mean(0)) / 3
        return extrapolated

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """`[O]` standard error of `value`, with the covariance of the streams that both widths share."""
        a, b = self.small, self.large
        n, m = len(a), len(b)
        both = ((a[:m] - a[:m].mean(0)) * (b - b.mean(0))).sum(0) / (m - 1)
        variance = (16 * a.var(0, ddof=1) / n + b.var(0, ddof=1) / m - 8 * both / n) / 9
        error: NDArray[np.float64] = np.sqrt(np.maximum(variance, 0.0))
        return error


def differences(
    run: Outcomes, parameters: int, q: int, step: float, wanted: float, most: int, batch: int
) -> Differences:
    """Add streams until the first outcome's standard error is under `wanted` of its derivative, or `most` are used up.

    Args:
        run: the simulation.
        parameters: Q.
        q: the parameter that is varied.
        step: half-width h.
        wanted: relative standard error at which to stop.
        most: streams at most.
        batch: streams simulated at once, a multiple of `EVERY`.
    """
    small: list[NDArray[np.float64]] = []
    large: list[NDArray[np.float64]] = []
    levels: list[NDArray[np.float64]] = []
    for first in range(0, max(most, 2 * batch), batch):
        a, level = _central(run, parameters, q, step, torch.arange(first, first + batch))
        b, _ = _central(run, parameters, q, 2 * step, torch.arange(first // EVERY, (first + batch) // EVERY))
        small.append(a)
        large.append(b)
        levels.append(level)
        so_far = Differences(step, np.concatenate(small), np.concatenate(large), np.mean(levels, 0))
        if first and so_far.standard_error[0] < wanted * abs(so_far.value[0]):
            break
    return so_far


def pilot_step(world: World, q: int, seed: int, device: str) -> float:
    """Half-width by which the log of the first outcome changes by about 0.15, at most 0.3 in the parameter.

    A wide step has little noise, and extrapolation removes its error of order h^2. The local score is good enough to choose it.
    """
    name, weight = next(iter(world.outcomes.items()))
    runs = 20 if world.people.agents < 10_000 else 4
    pilot = sample(replace(world, outcomes={name: weight}), "local-score", seed, runs, device)
    slope, level = abs(pilot.gradient[:, 0, q].mean()), pilot.outcome[:, 0].mean()
    return float(min(CHANGE_OF_LOG_TOTAL * level / max(slope, 1e-12), LARGEST_STEP))


def simulate(world: World, seed: int, device: str) -> tuple[Outcomes, int]:
    """The simulation of a world for `differences`, and how many streams go at once."""

    def run(theta: Tensor, streams: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            rates = world.rates(theta.to(zeros(world, 1, device)))
            x = outcomes(world, sim.epidemic(world.people, rates, seed, streams=streams))
        numbers: NDArray[np.float64] = x.cpu().numpy()
        return numbers

    at_once = CELLS / (2 * world.people.agents * world.days)
    return run, EVERY * int(max(1, min(500, at_once / EVERY)))


def _central(
    run: Outcomes, parameters: int, q: int, h: float, streams: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[len(streams), O]` central differences, both ends with the same random numbers, and their mean level."""
    theta = torch.zeros(2 * len(streams), parameters, dtype=torch.float64)
    theta[: len(streams), q], theta[len(streams) :, q] = h, -h
    up, down = np.split(run(theta, streams.repeat(2)), 2)
    return (up - down) / (2 * h), (up + down).mean(0) / 2
