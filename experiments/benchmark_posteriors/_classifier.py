"""Training of the C2ST's classifier, an epoch a call, as compiled loops: as tensor operations most of its time goes in calls.

All arrays are float32. The six weights of a fold lie in one vector `[W]`: D x H, H, H x H, H, H x 1, 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

BATCH, RATE, DECAY = 200, 1e-3, 1e-4
BETA_1, BETA_2, SMALL = 0.9, 0.999, 1e-8
F = np.float32
jit: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@jit
def _layer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    np.dot(x, weight, out)
    for i in range(len(x)):
        for j in range(len(bias)):
            out[i, j] = max(out[i, j] + bias[j], F(0.0))


@jit
def _back(slope: np.ndarray, active: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
    """Pass `slope [N, H]` through the rectifier in place, then write the slopes of weights and bias."""
    bias[:] = F(0.0)
    for i in range(len(slope)):
        for j in range(len(bias)):
            slope[i, j] = slope[i, j] if active[i, j] > F(0.0) else F(0.0)
            bias[j] += slope[i, j]
    np.dot(x.T, slope, weight)


@jit
def epoch(
    x: np.ndarray,
    y: np.ndarray,
    order: np.ndarray,
    weights: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    width: int,
    step: int,
) -> float:
    """One pass over the points of a fold by Adam (Kingma & Ba 2015), in place.

    Args:
        x: points, `[S, D]`.
        y: 0 or 1, `[S]`.
        order: of the points, `[S]`.
        weights: `[W]`.
        mean: Adam's running mean of slopes, `[W]`.
        square: and of their squares, `[W]`.
        width: hidden units a layer, H.
        step: steps made before.

    Returns:
        Mean loss, with the decayed weights as scikit-learn counts them.
    """
    count, dim = x.shape
    ends = np.cumsum(np.array([dim * width, width, width * width, width, width, 1]))
    slopes = np.empty_like(weights)
    w1, b1 = weights[: ends[0]].reshape(dim, width), weights[ends[0] : ends[1]]
    w2, b2 = weights[ends[1] : ends[2]].reshape(width, width), weights[ends[2] : ends[3]]
    w3 = weights[ends[3] : ends[4]]
    s1, t1 = slopes[: ends[0]].reshape(dim, width), slopes[ends[0] : ends[1]]
    s2, t2 = slopes[ends[1] : ends[2]].reshape(width, width), slopes[ends[2] : ends[3]]
    s3 = slopes[ends[3] : ends[4]]
    points = np.empty((BATCH, dim), dtype=np.float32)
    hidden = np.empty((4, BATCH, width), dtype=np.float32)
    total = np.float64(0.0)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        part, first, second = points[:size], hidden[0, :size], hidden[1, :size]
        back_2, back_1 = hidden[2, :size], hidden[3, :size]
        for i in range(size):
            part[i] = x[order[start + i]]
        _layer(part, w1, b1, first)
        _layer(first, w2, b2, second)
        s3[:] = F(0.0)
        slope_3 = F(0.0)
        for i in range(size):
            out = weights[-1]
            for j in range(width):
                out += second[i, j] * w3[j]
            answer = y[order[start + i]]
            small = math.exp(-abs(out))
            total += max(out, F(0.0)) + math.log1p(small) - answer * out
            share = F(1.0 / (1.0 + small)) if out > F(0.0) else F(small / (1.0 + small))
            slope = (share - answer) / F(size)
            slope_3 += slope
            for j in range(width):
                s3[j] += slope * second[i, j]
                back_2[i, j] = slope * w3[j]
        slopes[-1] = slope_3
        _back(back_2, second, first, s2, t2)
        np.dot(back_2, w2.T, back_1)
        _back(back_1, first, part, s1, t1)
        step += 1
        decay, squares = F(DECAY / size), F(0.0)
        for low, high in ((0, ends[0]), (ends[1], ends[2]), (ends[3], ends[4])):
            for i in range(low, high):
                squares += weights[i] * weights[i]
                slopes[i] += decay * weights[i]
        total += 0.5 * DECAY * squares
        rate = F(RATE * math.sqrt(1 - BETA_2**step) / (1 - BETA_1**step))
        for i in range(len(weights)):
            mean[i] = F(BETA_1) * mean[i] + F(1 - BETA_1) * slopes[i]
            square[i] = F(BETA_2) * square[i] + F(1 - BETA_2) * slopes[i] * slopes[i]
            weights[i] -= rate * mean[i] / (math.sqrt(square[i]) + F(SMALL))
    return float(total / count)
