"""Noisy numbers of a table held together by its rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor


def pooled(mean: Tensor, error: Tensor, weight: Tensor) -> Tensor:
    """Estimates drawn towards the product of a column's level and a row's factor, the more so the noisier they are.

    `level[column] * factor[row]` is fitted with weights; what is left over is multiplied by `tau^2 / (tau^2 + error^2)`, with the
    spread tau (relative to the level) that the table itself shows beyond its errors: empirical Bayes (Efron & Morris 1973, J Am Stat
    Assoc 68:117).

    Args:
        mean: `[rows, columns]`.
        error: their standard errors.
        weight: of the cells, 0 where there is nothing.

    Returns:
        `[rows, columns]`.
    """
    here = weight / weight.sum().clamp_min(1e-30)
    factor = torch.ones(len(mean), dtype=mean.dtype)
    for _ in range(3):
        level = (here * mean * factor[:, None]).sum(0) / (here * factor[:, None] ** 2).sum(0).clamp_min(1e-30)
        factor = (here * mean * level).sum(1) / (here * level**2).sum(1).clamp_min(1e-30)
    fit = level * factor[:, None]
    size = fit.abs().clamp_min(1e-30)
    inside = weight > 0
    relative = (((mean - fit) ** 2 - error**2) / size**2 * here)[inside].sum() / here[inside].sum().clamp_min(1e-30)
    between = relative.clamp_min(0.0) * size**2
    return fit + (mean - fit) * between / (between + error**2).clamp_min(1e-30)
