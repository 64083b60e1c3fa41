"""Exact moments of a posterior of one to three parameters by a grid that closes in on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from experiments.calibration_gallery._problem import Array

NEGLIGIBLE = 1e-9
"""Share of the mass that a narrower grid may leave out."""


def moments(
    log_joint: Callable[[Tensor], Tensor], bounds: Sequence[tuple[float, float]], points: int = 0
) -> tuple[Array, Array]:
    """Mean and sd `[D]` of a density over a box.

    The grid is narrowed to where the mass lies until that no longer changes it, then doubled to show that it is fine enough.

    Args:
        log_joint: `[P, D] -> [P]` log density, up to a constant; minus infinity where it is zero.
        bounds: of each of the D parameters; the density outside must be negligible.
        points: grid points of an axis; 0 for 20,001, 401 or 101 with one, two or three parameters.

    Raises:
        ValueError: two grids disagree by more than two thousandths of the sd.
    """
    points = points or {1: 20_001, 2: 401, 3: 101}[len(bounds)]
    box = [(float(low), float(high)) for low, high in bounds]
    for _ in range(12):
        axes, weight = _grid(log_joint, box, points)
        new = [_support(a, weight.sum(tuple(j for j in range(len(axes)) if j != i))) for i, a in enumerate(axes)]
        done = all(hi - lo > 0.7 * (b - a) for (lo, hi), (a, b) in zip(new, box, strict=True))
        box = new
        if done:
            break
    fine, coarse = (_moments(*_grid(log_joint, box, n)) for n in (points, points // 2 + 1))
    off = np.abs(fine[0] - coarse[0]) / fine[1]
    if off.max() > 2e-3 or np.abs(fine[1] / coarse[1] - 1).max() > 2e-3:
        raise ValueError(
            f"grids of {points} and {points // 2 + 1} points disagree by {off.max():.2g} sd; use a finer one."
        )
    return fine


def _grid(
    log_joint: Callable[[Tensor], Tensor], box: Sequence[tuple[float, float]], n: int
) -> tuple[list[Array], Array]:
    # midpoints of cells: an integrable pole at a bound is not evaluated
    axes = [lo + (hi - lo) * (np.arange(n) + 0.5) / n for lo, hi in box]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    with torch.no_grad():
        parts = [
            log_joint(torch.as_tensor(part)).double().numpy()
            for part in np.array_split(mesh, max(1, len(mesh) // 200_000))
        ]
    log = np.nan_to_num(np.concatenate(parts), nan=-np.inf)
    weight = np.exp(log - log.max()).reshape([n] * len(axes))
    return axes, weight / weight.sum()


def _support(axis: Array, mass: Array) -> tuple[float, float]:
    """Where an axis has its mass, with a cell to spare on both sides."""
    cumulated, width = np.cumsum(mass), axis[1] - axis[0]
    low = int(np.searchsorted(cumulated, NEGLIGIBLE))
    high = int(np.searchsorted(cumulated, 1 - NEGLIGIBLE))
    return float(max(axis[low] - 1.5 * width, axis[0] - width / 2)), float(
        min(axis[min(high, len(axis) - 1)] + 1.5 * width, axis[-1] + width / 2)
    )


def _moments(axes: Sequence[Array], weight: Array) -> tuple[Array, Array]:
    mean, sd = [], []
    for i, axis in enumerate(axes):
        mass = weight.sum(tuple(j for j in range(len(axes)) if j != i))
        m = float(mass @ axis)
        mean.append(m)
        sd.append(float(np.sqrt(mass @ (axis - m) ** 2)))
    return np.array(mean), np.array(sd)
