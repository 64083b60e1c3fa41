"""Where chains on a log density start: modes found from draws of N(0, I), and the Gaussians there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from calib._slopes import with_slope

SEARCHES = 4
PROPOSED = 64  # draws of N(0, I) from which searches start
ITERATIONS = 150  # of a search
SHARE = 0.25  # of the budget that searches may spend
FAR_BELOW = 10.0  # nats of approximate evidence below the best at which a mode holds no chain
DISPERSED = 2.0  # standard deviations of the starts, in those of the Gaussian at their mode
HALVINGS = 12
TIGHT = 1e-12  # variance of a coordinate below which curvature is not believed


@dataclass(frozen=True, eq=False)
class Start:
    """What searches found.

    Attributes:
        z: starts of the chains, more widely spread than the posterior, `[C, D]`.
        centre: the best mode, `[D]`.
        root: lower triangular root of the covariance there, `[D, D]`.
        spent: evaluations of the density.
    """

    z: Tensor
    centre: Tensor
    root: Tensor
    spent: int


def find_start(log_density: Callable[[Tensor], Tensor], dim: int, chains: int, budget: int, seed: int) -> Start:
    """Search for modes by L-BFGS and spread the starts of chains around them.

    Args:
        log_density: `z [P, D]` to `[P]`, differentiable.
        dim: D.
        chains: number of starts, C.
        budget: evaluations of which `SHARE` may be spent.
        seed: of everything random.

    Returns:
        The starts.

    Raises:
        ValueError: the density is finite at no draw of N(0, I).
    """
    generator = torch.Generator().manual_seed(seed)
    proposed = torch.randn(min(PROPOSED, max(8, budget // 20)), dim, generator=generator, dtype=torch.float64)
    value, slope = with_slope(log_density, proposed)
    good = torch.isfinite(value) & torch.isfinite(slope).all(1)
    if not bool(good.any()):
        raise ValueError(
            f"the log density is finite at none of {len(proposed)} draws of the priors, so that no chain can start: check "
            "data and likelihood, or narrow the priors."
        )
    spent, found = len(proposed), []
    most = max(20, int(SHARE * budget) // SEARCHES)
    for z in proposed[good][:SEARCHES]:
        at, height, count = _climb(log_density, z, most)
        found.append((height, at))
        spent += count
    modes = []
    for height, at in sorted(found, key=lambda pair: -pair[0]):
        root, count = _root(log_density, at)
        spent += count
        modes.append((height + float(root.diagonal().log().sum()), height, at, root))
    best = max(modes, key=lambda mode: mode[0])
    kept = [mode for mode in modes if mode[0] > best[0] - FAR_BELOW]
    rows = []
    for chain in range(chains):
        _, height, at, root = kept[chain % len(kept)]
        away = DISPERSED * root @ torch.randn(dim, generator=generator, dtype=torch.float64)
        rows.append((at, away, height))
    z, count = _disperse(log_density, rows, dim)
    return Start(z, best[2], best[3], spent + count)


def _climb(log_density: Callable[[Tensor], Tensor], z: Tensor, most: int) -> tuple[Tensor, float, int]:
    """One search, `(z [D], height, evaluations)`."""
    spent = 0

    def down(at: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal spent
        spent += 1
        value, slope = with_slope(log_density, torch.from_numpy(at)[None])
        if not (bool(torch.isfinite(value).all()) and bool(torch.isfinite(slope).all())):
            return 1e100, np.zeros_like(at)
        return -float(value[0]), -slope[0].numpy()

    found = minimize(
        down, z.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxfun": most, "maxcor": 20}
    )
    return torch.from_numpy(np.array(found.x)), -float(found.fun), spent


def _root(log_density: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, int]:
    """Root of the inverse of minus the curvature at z, by central differences of the slope over about a tenth of a standard deviation."""
    dim, step, spent = len(z), torch.full((len(z),), 1e-4, dtype=z.dtype), 0
    curvature = torch.eye(dim, dtype=z.dtype)
    for _ in range(3):
        ends = torch.cat([z + step.diag(), z - step.diag()])
        _, slope = with_slope(log_density, ends)
        spent += len(ends)
        found = -(slope[:dim] - slope[dim:]) / (2 * step[:, None])
        found = torch.where(torch.isfinite(found), found, torch.eye(dim, dtype=z.dtype))
        curvature = 0.5 * (found + found.mT)
        step = 0.1 / curvature.diagonal().abs().clamp(0.01, 1 / TIGHT).sqrt()
    scale = curvature.diagonal().abs().clamp(0.1, 1 / TIGHT).rsqrt()
    size, axes = torch.linalg.eigh(scale[:, None] * curvature * scale)
    covariance = scale[:, None] * ((axes / size.abs().clamp_min(1e-6)) @ axes.mT) * scale
    return torch.linalg.cholesky(covariance), spent


def _disperse(
    log_density: Callable[[Tensor], Tensor], rows: list[tuple[Tensor, Tensor, float]], dim: int
) -> tuple[Tensor, int]:
    """Starts away from their modes, nearer where the density is nearly nothing there."""
    at, away = torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])
    height = torch.tensor([row[2] for row in rows], dtype=torch.float64)
    least, spent = height - 20.0 - 3.0 * DISPERSED**2 * dim, 0
    factor = torch.ones(len(rows), dtype=torch.float64)
    for _ in range(HALVINGS):
        value, slope = with_slope(log_density, at + factor[:, None] * away)
        spent += len(rows)
        bad = ~(torch.isfinite(value) & torch.isfinite(slope).all(1) & (value > least))
        if not bool(bad.any()):
            break
        factor = torch.where(bad, 0.5 * factor, factor)
    else:
        factor = torch.where(bad, math.pow(0.5, 2 * HALVINGS), factor)
    return at + factor[:, None] * away, spent
