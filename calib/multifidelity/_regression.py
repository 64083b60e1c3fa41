"""Derivatives of expected outputs from runs alone, for simulators that have none."""

from __future__ import annotations

import torch
from torch import Tensor

from calib.multifidelity._emulator import Link

RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Prior precisions of a slope, in units of a design of unit variance."""


def regressed_jacobian(z: Tensor, outputs: Tensor, *, link: Link, floor: float) -> Tensor:
    """Derivatives in z of outputs as straight lines of one slope, `[S, M, D]`.

    Differences of runs with one seed are no derivatives of the expectation where outputs are counts: an event that happens or does not moves
    them by whole steps. A regression over the width of a design averages such steps away. How much it is shrunk is chosen by generalised
    cross-validation, for all outputs together.

    Args:
        z: `[S, D]`, where runs were made.
        outputs: `[S, M]`, finite.
        link: scale on which outputs are straight.
        floor: with the log link outputs are treated as at least this.

    Returns:
        The slope of the linked outputs, with the log link times each run's own outputs.

    References:
        Golub, G., Heath, M. and Wahba, G. (1979). Generalized cross-validation as a method for choosing a good ridge parameter.
        Technometrics 21.
    """
    value = outputs.clamp_min(floor) if link == "log" else outputs
    linked = value.log() if link == "log" else value
    x, y = z - z.mean(0), linked - linked.mean(0)
    scale = x.std(0).clamp_min(1e-12)
    left, size, right = torch.linalg.svd(x / scale, full_matrices=False)
    within, total = left.mT @ y, y.square().sum(0).clamp_min(1e-12)

    def shrunk(ridge: float) -> Tensor:
        return size**2 / (size**2 + ridge * len(z))

    def criterion(ridge: float) -> float:
        keep = shrunk(ridge)[:, None]
        rest = y.square().sum(0) - ((2 * keep - keep**2) * within**2).sum(0)
        free = 1 - (1 + float(keep.sum())) / len(z)
        return float((rest.clamp_min(0.0) / total).mean()) / max(free, 1e-6) ** 2

    ridge = min(RIDGES, key=criterion)
    slope = (right.mT @ ((shrunk(ridge) / size.clamp_min(1e-12))[:, None] * within)) / scale[:, None]
    return value[:, :, None] * slope.mT if link == "log" else slope.mT.expand(len(z), -1, -1)
