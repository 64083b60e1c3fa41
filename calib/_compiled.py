"""Compiled loops under the local model and the mixture: thousands of points a call, a handful of numbers each.

As tensor operations these are dozens of passes over short axes, most of their time in calls. All arrays are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

jit: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


@jit
def blend(
    point: np.ndarray, runs: np.ndarray, pieces: np.ndarray, reach: np.ndarray, nearest: int, curved: bool
) -> np.ndarray:
    """Outputs of the local model: Taylor pieces of the nearest runs, averaged (`LocalModel`).

    Args:
        point: `[P, D]`, in units of the scale.
        runs: where the runs are, `[D, S]`: the runs last, so that their distances come from one loop.
        pieces: `[S, F, M]`, coefficients of 1, offsets and their products.
        reach: `[S]`, how far curvature was seen; not read if not `curved`.
        nearest: pieces blended, K.
        curved: whether products have coefficients.

    Returns:
        `[P, M]`.
    """
    dim, count = runs.shape
    width = pieces.shape[2]
    out = np.zeros((len(point), width))
    square, low = np.empty(count), np.empty(nearest + 1)
    which = np.zeros(nearest + 1, dtype=np.int64)
    weight, offset, sum_ = np.empty(nearest), np.empty(dim), np.empty(width)
    for p in range(len(point)):
        square[:] = 0.0
        for d in range(dim):
            x = point[p, d]
            for s in range(count):
                away = x - runs[d, s]
                square[s] += away * away
        low[:] = np.inf
        for s in range(count):
            new = square[s]
            if new < low[nearest]:
                k = nearest
                while k > 0 and low[k - 1] > new:
                    low[k], which[k] = low[k - 1], which[k - 1]
                    k -= 1
                low[k], which[k] = new, s
        far = 1.0 / max(math.sqrt(low[nearest]), 1e-10)
        total = 0.0
        for k in range(nearest):
            apart = max(1.0 / math.sqrt(max(low[k], 1e-20)) - far, 0.0)
            weight[k] = apart * apart + 1e-30
            total += weight[k]
        sum_[:] = 0.0
        for k in range(nearest):
            run, share = which[k], weight[k] / total
            piece = pieces[run]
            for m in range(width):
                sum_[m] += share * piece[0, m]
            for d in range(dim):
                offset[d] = point[p, d] - runs[d, run]
                factor = share * offset[d]
                for m in range(width):
                    sum_[m] += factor * piece[1 + d, m]
            if curved:
                # Beyond where it was seen, curvature goes on as a straight line.
                held = share * min(reach[run] / math.sqrt(max(low[k], 1e-20)), 1.0)
                f = 1 + dim
                for row in range(dim):
                    for column in range(row + 1):
                        factor = held * offset[row] * offset[column]
                        for m in range(width):
                            sum_[m] += factor * piece[f, m]
                        f += 1
        out[p] = sum_
    return out


@jit
def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower Cholesky factors `[K, D, D]`; NaN where a matrix is not positive definite."""
    number, dim = matrix.shape[:2]
    out = np.zeros((number, dim, dim))
    for k in range(number):
        for i in range(dim):
            for j in range(i + 1):
                left = matrix[k, i, j]
                for e in range(j):
                    left -= out[k, i, e] * out[k, j, e]
                out[k, i, j] = math.sqrt(left) if i == j else left / out[k, j, j]
    return out


@jit
def log_parts(x: np.ndarray, share: np.ndarray, centre: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Log of share times density of each Gaussian.

    Args:
        x: `[D, S]`: the draws last, so that loops run along them.
        share: log shares, `[K]`.
        centre: `[K, D]`.
        factor: lower Cholesky factors, `[K, D, D]`.

    Returns:
        `[K, S]`.
    """
    dim, count = x.shape
    number = len(share)
    out = np.empty((number, count))
    unit = np.empty((dim, count))
    for k in range(number):
        level = share[k] - 0.5 * dim * math.log(2 * math.pi)
        for i in range(dim):
            level -= math.log(factor[k, i, i])
        row = out[k]
        row[:] = level
        for i in range(dim):
            for s in range(count):
                unit[i, s] = x[i, s] - centre[k, i]
            for j in range(i):
                below = factor[k, i, j]
                for s in range(count):
                    unit[i, s] -= below * unit[j, s]
            turn = 1.0 / factor[k, i, i]
            for s in range(count):
                unit[i, s] *= turn
                row[s] -= 0.5 * unit[i, s] * unit[i, s]
    return out


@jit
def maximise(
    x: np.ndarray,
    share: np.ndarray,
    centre: np.ndarray,
    covariance: np.ndarray,
    pull: np.ndarray,
    small: np.ndarray,
    turns: int,
    prior: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turns of expectation-maximisation of a mixture of Gaussians.

    Args:
        x: `[D, S]`.
        share: log shares at the start, `[K]`.
        centre: `[K, D]`.
        covariance: `[K, D, D]`.
        pull: what every covariance is pulled towards, `[D, D]`.
        small: added to every covariance, `[D, D]`.
        turns: how many.
        prior: draws' worth of `pull`.

    Returns:
        Log shares, centres, and Cholesky factors of the covariances.
    """
    dim, count = x.shape
    number = len(share)
    share, centre, covariance = share.copy(), centre.copy(), covariance.copy()
    mass, away = np.empty(number), np.empty((dim, count))
    top, total = np.empty(count), np.empty(count)
    for _ in range(turns):
        weight = log_parts(x, share, centre, cholesky(covariance))  # [K, S]
        top[:] = -np.inf
        for k in range(number):
            for s in range(count):
                top[s] = max(top[s], weight[k, s])
        total[:] = 0.0
        for k in range(number):
            for s in range(count):
                lower = weight[k, s] - top[s]
                weight[k, s] = math.exp(lower) if lower > -700.0 else 0.0
                total[s] += weight[k, s]
        for k in range(number):
            sum_ = 0.0
            for s in range(count):
                weight[k, s] /= total[s]
                sum_ += weight[k, s]
            mass[k] = sum_ + 1e-9
        for k in range(number):
            share[k] = math.log(mass[k] / mass.sum())
            for i in range(dim):
                sum_ = 0.0
                for s in range(count):
                    sum_ += weight[k, s] * x[i, s]
                centre[k, i] = sum_ / mass[k]
                for s in range(count):
                    away[i, s] = x[i, s] - centre[k, i]
            for i in range(dim):
                for j in range(i + 1):
                    sum_ = 0.0
                    for s in range(count):
                        sum_ += weight[k, s] * away[i, s] * away[j, s]
                    value = (sum_ + prior * pull[i, j]) / (mass[k] + prior) + small[i, j]
                    covariance[k, i, j] = covariance[k, j, i] = value
    return share, centre, cholesky(covariance)
