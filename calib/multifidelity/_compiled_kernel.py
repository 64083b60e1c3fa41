"""The likelihood of observations by an emulator with a quadratic term as compiled loops, value and derivative together.

As tensor operations it is some three hundred passes over small tensors, most of their time in calls, which threads cannot share.
Here an observation is walked from coordinates to value and back at once, for all points side by side. `CompiledLikelihood` says what is
computed. Numba looks only at this file to see whether kernels have changed: after an edit of `_compiled_densities` delete
`calib/__pycache__/_compiled*.nb?`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from calib.multifidelity._compiled_densities import INNER, count_density, inner, level_density

# threads of Numba: those of Python wait for the interpreter, also while the caller goes on
shared: Callable[..., Any] = njit(parallel=True, cache=True, error_model="numpy")
# products and sums as one operation
fused: Callable[..., Any] = njit(fastmath={"contract"}, **INNER)
# sums in any order, else they are no vector loops
loose: Callable[..., Any] = njit(fastmath={"reassoc", "contract"}, **INNER)
BLOCKS = 8
"""Of observations, and most threads that share them."""


class Table(NamedTuple):
    """All coefficients, float64 (indices int64, those of `pick` uint64, flags bool).

    E coordinates, M observations, Q coordinates that bend an output, V runs, L errors, R parameters that observations scatter by.

    Attributes:
        intercept: `[M]`. line: `[M, E]`. pick: `[M, Q]` and curve: `[M, Q, Q]`, symmetric: the log mean is
            `intercept + line x + y' curve y`, y the picked coordinates.
        points: `[V, E]` the runs, scaled twice, and at_curved: `[V, C]` in those `curved` that bend the kernel of the mean's
            error. scale: `[E]`. inverse: `[V, V]`. constant, linear, quadratic, factor,
            min_variance: numbers of that kernel (`PredictiveVariance`).
        loading: `[M, L]`, rest: `[M]`, share: `[M]`: errors that observations share (`SharedError`).
        data: `[M]`, the first `counts` of them counts, the others logs of levels. smallest: mean that is told from zero.
        by: `[M]` by which parameter each scatters. clustered: `[M]` which come in outbreaks.
    """

    intercept: np.ndarray
    line: np.ndarray
    pick: np.ndarray
    curve: np.ndarray
    points: np.ndarray
    at_curved: np.ndarray
    curved: np.ndarray
    scale: np.ndarray
    inverse: np.ndarray
    constant: float
    linear: float
    quadratic: float
    factor: float
    min_variance: float
    loading: np.ndarray
    rest: np.ndarray
    share: np.ndarray
    data: np.ndarray
    counts: int
    smallest: float
    by: np.ndarray
    clustered: np.ndarray


class Parts(NamedTuple):
    """What blocks of observations add to the log likelihood of each point, and to its derivatives; zero to begin with.

    A block is the work of one thread, however many there are: sums are made in one order, and numbers do not depend on the machine.
    Threads share observations and not points, so that each keeps its own coefficients in fast memory: all together are megabytes.

    Attributes:
        value: `[B, P]`. to_x: `[B, E, P]`. to_errors: `[B, L, P]`. to_scatter: `[B, 1 + R, P]`. to_predictive: `[B, P]`.
    """

    value: np.ndarray
    to_x: np.ndarray
    to_errors: np.ndarray
    to_scatter: np.ndarray
    to_predictive: np.ndarray


def log_density(
    t: Table, x: np.ndarray, errors: np.ndarray, scatter: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Log likelihood of points, without terms of the observations alone, and its derivatives.

    Args:
        t: the coefficients.
        x: `[P, E]`, measured from the centre.
        errors: `[P, L]`.
        scatter: `[P, 1 + R]`, size of outbreaks, then the parameters that observations scatter by.

    Returns:
        `[P]`, then `[P, E]`, `[P, L]` and `[P, 1 + R]`.
    """
    count, runs = len(x), len(t.inverse)
    predictive, dots, weight = np.empty(count), np.empty((count, runs)), np.empty((count, runs))
    _predictive_variance(t, x, predictive, dots, weight)
    across = tuple(np.ascontiguousarray(a.T) for a in (x, errors, scatter))
    shapes = ((count,), *(a.shape for a in across), (count,))
    parts = Parts(*(np.zeros((BLOCKS, *shape)) for shape in shapes))
    _blocks(t, *across, predictive, parts)
    value, to_x, to_errors, to_scatter, to_predictive = (a.sum(0).T for a in parts)
    to_x = np.ascontiguousarray(to_x)
    _predictive_variance_back(t, x, predictive, dots, weight, to_predictive, to_x)
    return value, to_x, to_errors, to_scatter


# what a shared loop itself writes to are arguments: a write to an array of a tuple Numba takes for one that nobody reads, unless, as in
# `_blocks`, it stands behind a call
@shared
def _predictive_variance(t: Table, x: np.ndarray, predictive: np.ndarray, dots: np.ndarray, weight: np.ndarray) -> None:
    """Write what is not known of the mean at the points `x [P, E]`, and what its derivative needs.

    Args:
        t: the coefficients.
        x: `[P, E]`.
        predictive: `[P]`, relative variance over noise.
        dots: `[P, V]`, of `_predictive`.
        weight: `[P, V]`, likewise.
    """
    for p in prange(len(x)):
        predictive[p] = _predictive(t, x[p], dots[p], weight[p])


@shared
def _predictive_variance_back(
    t: Table,
    x: np.ndarray,
    predictive: np.ndarray,
    dots: np.ndarray,
    weight: np.ndarray,
    by: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add to `out [P, E]` the derivatives of `by [P]` times what is not known; the others as of `_predictive_variance`."""
    for p in prange(len(x)):
        if predictive[p] > t.min_variance:
            _predictive_back(t, x[p], dots[p], weight[p], by[p] * t.factor, out[p])


@shared
def _blocks(
    t: Table, x: np.ndarray, errors: np.ndarray, scatter: np.ndarray, predictive: np.ndarray, out: Parts
) -> None:
    """All blocks of observations; points last."""
    for b in prange(len(out.value)):
        _block(t, x, errors, scatter, predictive, out, b)


@inner
def _block(
    t: Table, x: np.ndarray, errors: np.ndarray, scatter: np.ndarray, predictive: np.ndarray, out: Parts, b: int
) -> None:
    """One block of observations."""
    value, to_predictive = out.value[b], out.to_predictive[b]
    to_x, to_errors, to_scatter = out.to_x[b], out.to_errors[b], out.to_scatter[b]
    points, outputs, blocks = len(value), len(t.intercept), len(out.value)
    turned = np.empty((t.pick.shape[1], points))
    log, off, by_log, by_off = np.empty(points), np.empty(points), np.empty(points), np.empty(points)
    for m in range(outputs * b // blocks, outputs * (b + 1) // blocks):
        log[:], off[:] = t.intercept[m], 0.0
        _add_rows(log, t.line[m], x)
        _add_quadratic(log, t.curve[m], t.pick[m], x, turned)
        _add_rows(off, t.loading[m], errors)
        datum, rest, share, by = t.data[m], t.rest[m], t.share[m], 1 + t.by[m]
        clustered, counted = t.clustered[m], m < t.counts
        for p in range(points):
            size, width, variance = scatter[0, p], scatter[by, p], predictive[p] + share
            wide = math.sqrt(variance)
            mean = math.exp(log[p] + wide * off[p])
            relative, small = variance * rest + width * width, mean < t.smallest
            if counted:
                grouped = clustered and size > 1.0
                got, by_mean, by_relative, by_size = count_density(
                    datum, t.smallest if small else mean, size if grouped else 1.0, relative
                )
                if grouped:
                    to_scatter[0, p] += by_size
            else:
                got, by_mean, by_relative = level_density(datum, t.smallest if small else mean, relative)
            by_log[p] = 0.0 if small else by_mean * mean
            by_off[p] = by_log[p] * wide
            value[p] += got
            to_predictive[p] += by_log[p] * off[p] * 0.5 / wide + by_relative * rest
            to_scatter[by, p] += by_relative * 2.0 * width
        _scatter_rows(to_x, t.line[m], by_log)
        _scatter_rows(to_errors, t.loading[m], by_off)
        _scatter_quadratic(to_x, t.pick[m], turned, by_log)


# arrays are indexed, not cut into rows: a row counts its references, which costs as much as the sum over sixty-four points
@fused
def _add_rows(to: np.ndarray, factor: np.ndarray, rows: np.ndarray) -> None:
    """Add `factor [N]` times `rows [N, P]` to `to [P]`, four rows at once."""
    whole = len(factor) // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = factor[i], factor[i + 1], factor[i + 2], factor[i + 3]
        for p in range(len(to)):
            to[p] += a * rows[i, p] + b * rows[i + 1, p] + c * rows[i + 2, p] + d * rows[i + 3, p]
    for i in range(whole, len(factor)):
        for p in range(len(to)):
            to[p] += factor[i] * rows[i, p]


@fused
def _add_quadratic(to: np.ndarray, curve: np.ndarray, pick: np.ndarray, x: np.ndarray, turned: np.ndarray) -> None:
    """Add `y' curve y` to `to [P]`, y the picked rows of `x [E, P]`; leaves `curve y` in `turned [Q, P]`."""
    whole = len(pick) // 4 * 4
    turned[:] = 0.0
    for i in range(len(pick)):
        for j in range(0, whole, 4):
            a, b, c, d = curve[i, j], curve[i, j + 1], curve[i, j + 2], curve[i, j + 3]
            e, f, g, h = pick[j], pick[j + 1], pick[j + 2], pick[j + 3]
            for p in range(len(to)):
                turned[i, p] += a * x[e, p] + b * x[f, p] + c * x[g, p] + d * x[h, p]
        for j in range(whole, len(pick)):
            for p in range(len(to)):
                turned[i, p] += curve[i, j] * x[pick[j], p]
        e = pick[i]
        for p in range(len(to)):
            to[p] += turned[i, p] * x[e, p]


@fused
def _scatter_rows(to: np.ndarray, factor: np.ndarray, by: np.ndarray) -> None:
    """Add `factor [N]` times `by [P]` to the rows of `to [N, P]`."""
    for i in range(len(factor)):
        for p in range(len(by)):
            to[i, p] += factor[i] * by[p]


@fused
def _scatter_quadratic(to: np.ndarray, pick: np.ndarray, turned: np.ndarray, by: np.ndarray) -> None:
    """Add the derivative of `by [P]` times `y' curve y` to `to [E, P]`."""
    for i in range(len(pick)):
        e = pick[i]
        for p in range(len(by)):
            to[e, p] += 2.0 * by[p] * turned[i, p]


@loose
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@loose
def _add(to: np.ndarray, factor: float, a: np.ndarray) -> None:
    for i in range(len(a)):
        to[i] += factor * a[i]


@loose
def _predictive(t: Table, here: np.ndarray, dots: np.ndarray, weight: np.ndarray) -> float:
    """`PredictiveVariance` at a point; leaves its inner products with the runs in the coordinates that quadratic, and inverse times kernel."""
    near, curved = np.empty(len(dots)), np.empty(len(t.curved))
    square, curved_square = 0.0, 0.0
    for e in range(len(here)):
        square += (t.scale[e] * here[e]) ** 2
    for k in range(len(curved)):
        curved[k] = here[t.curved[k]]
        curved_square += (t.scale[t.curved[k]] * curved[k]) ** 2
    for v in range(len(dots)):
        dots[v] = _dot(t.at_curved[v], curved)
        near[v] = t.constant + t.linear * _dot(t.points[v], here) + t.quadratic * dots[v] * dots[v]
    variance = t.constant + t.linear * square + t.quadratic * curved_square * curved_square
    for v in range(len(dots)):
        weight[v] = _dot(t.inverse[v], near)
        variance -= weight[v] * near[v]
    return max(t.factor * variance, t.min_variance)


@loose
def _predictive_back(
    t: Table, here: np.ndarray, dots: np.ndarray, weight: np.ndarray, by: float, out: np.ndarray
) -> None:
    """Add to `out [E]` the derivative of `by` times the variance of `_predictive` before its factor and bound."""
    curved_square, by_curved = 0.0, np.zeros(len(t.curved))
    for e in t.curved:
        curved_square += (t.scale[e] * here[e]) ** 2
    for v in range(len(dots)):
        _add(out, -2.0 * by * weight[v] * t.linear, t.points[v])
        _add(by_curved, -4.0 * by * weight[v] * t.quadratic * dots[v], t.at_curved[v])
    for e in range(len(here)):
        out[e] += 2.0 * by * t.linear * t.scale[e] ** 2 * here[e]
    for k in range(len(t.curved)):
        e = t.curved[k]
        out[e] += by_curved[k] + 4.0 * by * t.quadratic * curved_square * t.scale[e] ** 2 * here[e]
