"""The feature map and its reverse mode as compiled loops: chains and fits ask for them tens of thousands of times.

As tensor operations they are two hundred passes over small tensors.
`StudyFeatures.__call__` remains the definition: tests hold this equal to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from calib.multifidelity import compiled_inner as inner

shared: Callable[..., Any] = njit(parallel=True, cache=True, error_model="numpy")

ITSELF, SHARE, LOG_SHARE, HAZARD, VENUE, EFFECT = range(6)


class Table(NamedTuple):
    """E features by what they are made of; `a = loc + scale z[source]`.

    Attributes:
        kind: `[E]`, one of
            ITSELF (z[source]), SHARE (sigmoid(a)), LOG_SHARE (log sigmoid(a)), HAZARD (1 - exp(-exp(a) strength)),
            VENUE (exp(a) strength), EFFECT (exp(spread_loc + spread_scale z[spread]) a).
        source, spread: `[E]` int64. loc, scale, spread_loc, spread_scale: `[E]`.
        host: `[N]` int64, coordinates of the within-host model, of which the log strength is a cubic with the forms
            line `[N]`, square `[N, N]` and cube `[N, N, N]`.
    """

    kind: np.ndarray
    source: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    sd: np.ndarray
    sd_loc: np.ndarray
    sd_scale: np.ndarray
    host: np.ndarray
    line: np.ndarray
    square: np.ndarray
    cube: np.ndarray


@shared
def coordinates(t: Table, z: np.ndarray, out: np.ndarray) -> None:
    """Write those of `z [P, D]` to `out [P, E]`."""
    for p in prange(len(z)):
        strength = math.exp(_cubic(t, z[p]))
        for e in range(len(t.kind)):
            kind, a = t.kind[e], t.loc[e] + t.scale[e] * z[p, t.source[e]]
            if kind == ITSELF:
                out[p, e] = z[p, t.source[e]]
            elif kind == SHARE:
                out[p, e] = 1 / (1 + math.exp(-a))
            elif kind == LOG_SHARE:
                out[p, e] = min(a, 0.0) - math.log1p(math.exp(-abs(a)))
            elif kind == HAZARD:
                out[p, e] = -math.expm1(-math.exp(a) * strength)
            elif kind == VENUE:
                out[p, e] = math.exp(a) * strength
            else:
                out[p, e] = math.exp(t.sd_loc[e] + t.sd_scale[e] * z[p, t.sd[e]]) * a


@shared
def back(t: Table, z: np.ndarray, eta: np.ndarray, by: np.ndarray, out: np.ndarray) -> None:
    """Add to `out [P, D]` the derivatives in `z [P, D]` of those in the coordinates `eta [P, E]` there, `by [P, E]`."""
    for p in prange(len(z)):
        to_log_strength, strength = 0.0, math.exp(_cubic(t, z[p]))
        for e in range(len(t.kind)):
            kind, i, scale, x, y = t.kind[e], t.source[e], t.scale[e], by[p, e], eta[p, e]
            a = t.loc[e] + scale * z[p, i]
            if kind == ITSELF:
                out[p, i] += x
            elif kind == SHARE:
                out[p, i] += x * y * (1 - y) * scale
            elif kind == LOG_SHARE:
                out[p, i] += x * scale / (1 + math.exp(a))
            elif kind in (HAZARD, VENUE):
                hazard = math.exp(a) * strength
                slope = x * hazard * (math.exp(-hazard) if kind == HAZARD else 1.0)
                out[p, i] += slope * scale
                to_log_strength += slope
            else:
                unit = math.exp(t.sd_loc[e] + t.sd_scale[e] * z[p, t.sd[e]])
                out[p, i] += x * unit * scale
                out[p, t.sd[e]] += x * y * t.sd_scale[e]
        _cubic_back(t, z[p], to_log_strength, out[p])


@inner
def _cubic(t: Table, z: np.ndarray) -> float:
    total = 0.0
    for j in range(len(t.host)):
        linear = t.line[j]
        for k in range(len(t.host)):
            pair = t.square[j, k]
            for i in range(len(t.host)):
                pair += t.cube[i, j, k] * z[t.host[i]]
            linear += pair * z[t.host[k]]
        total += linear * z[t.host[j]]
    return total


@inner
def _cubic_back(t: Table, z: np.ndarray, by: float, out: np.ndarray) -> None:
    for j in range(len(t.host)):
        y = z[t.host[j]]
        out[t.host[j]] += by * t.line[j]
        for k in range(len(t.host)):
            x = z[t.host[k]]
            out[t.host[j]] += by * t.square[j, k] * x
            out[t.host[k]] += by * t.square[j, k] * y
            for i in range(len(t.host)):
                w, c = z[t.host[i]], by * t.cube[i, j, k]
                out[t.host[i]] += c * x * y
                out[t.host[j]] += c * w * x
                out[t.host[k]] += c * w * y
