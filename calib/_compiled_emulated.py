"""The likelihood of figures by a bent local mean as one compiled loop, value and derivative together.

As tensor operations it is some three hundred passes over small tensors, which several threads cannot share: most of their time is
in calls. Here a point is walked from coordinates to value and back at once. `EmulatedLikelihood` says what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

jit: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")
# called by other kernels alone: what would make it callable from Python costs more time to compile than the kernel
INNER: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
inner: Callable[..., Any] = njit(**INNER)
# sums in any order, else they are no vector loops
loose: Callable[..., Any] = njit(fastmath={"reassoc", "contract"}, **INNER)
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Table(NamedTuple):
    """All coefficients, float64 (indices int64, flags bool).

    E coordinates, M figures, Q coordinates that bend a figure, V runs, L errors, R parameters that figures scatter by.

    Attributes:
        log_mean: `[M]`. line: `[M, E]`. pick: `[M, Q]` and curve: `[M, Q, Q]`, symmetric: the log mean is
            `log_mean + line x + y' curve y`, y the picked coordinates.
        points: `[V, E]` the runs, scaled twice, and at_curved: `[V, C]` in the coordinates `curved` that bend the kernel of the mean's
            error. scale: `[E]`. inverse: `[V, V]`. constant, linear, quadratic, sure, surest: numbers of that kernel (`Unsure`).
        loading: `[M, L]`, rest: `[M]`, share: `[M]`: errors that figures share (`CommonError`).
        figure: `[M]`, the first `counts` of them counts, the others logs of levels. smallest: mean that is told from zero.
        by: `[M]` by which parameter each scatters. clustered: `[M]` which come in outbreaks.
    """

    log_mean: np.ndarray
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
    sure: float
    surest: float
    loading: np.ndarray
    rest: np.ndarray
    share: np.ndarray
    figure: np.ndarray
    counts: int
    smallest: float
    by: np.ndarray
    clustered: np.ndarray


class Parts(NamedTuple):
    """What blocks of figures add to the log likelihood of each point, and to its derivatives; zero to begin with.

    A block is the work of one thread, however many there are: sums are made in one order, and numbers do not hang on the machine.
    Threads share figures and not points, so that each keeps its own coefficients in fast memory: all together are megabytes.

    Attributes:
        value: `[B, P]`. to_x: `[B, P, E]`. to_errors: `[B, P, L]`. to_scatter: `[B, P, 1 + R]`. to_unsure: `[B, P]`.
    """

    value: np.ndarray
    to_x: np.ndarray
    to_errors: np.ndarray
    to_scatter: np.ndarray
    to_unsure: np.ndarray


class Spread(NamedTuple):
    """What is not known of the mean at each point, and what its derivative needs.

    Attributes:
        unsure: `[P]`, relative variance over noise. bent: `[P, V]` and weight: `[P, V]`, of `_unsure`.
    """

    unsure: np.ndarray
    bent: np.ndarray
    weight: np.ndarray


@jit
def spread(t: Table, x: np.ndarray, out: Spread, first: int, last: int) -> None:
    """Write what is not known of the mean at the points `x [P, E]`, measured from the centre, from `first` up to `last`."""
    for p in range(first, last):
        out.unsure[p] = _unsure(t, x[p], out.bent[p], out.weight[p])


@jit
def density(
    t: Table,
    x: np.ndarray,
    errors: np.ndarray,
    scatter: np.ndarray,
    unsure: np.ndarray,
    out: Parts,
    first: int,
    last: int,
) -> None:
    """Log likelihood of all points by the blocks of figures from `first` up to `last`, without terms of the figures alone.

    Args:
        t: the coefficients.
        x: `[P, E]`, measured from the centre.
        errors: `[P, L]`.
        scatter: `[P, 1 + R]`, size of outbreaks, then the parameters that figures scatter by.
        unsure: `[P]`, of `Spread`.
        out: added to.
        first: the first block.
        last: the block after the last one.
    """
    own, turned = np.empty(t.pick.shape[1]), np.empty(t.pick.shape[1])
    figures, blocks = len(t.log_mean), len(out.value)
    for b in range(first, last):
        value, to_unsure = out.value[b], out.to_unsure[b]
        to_x, to_errors, to_scatter = out.to_x[b], out.to_errors[b], out.to_scatter[b]
        for m in range(figures * b // blocks, figures * (b + 1) // blocks):
            line, pick, curve, loading = t.line[m], t.pick[m], t.curve[m], t.loading[m]
            level, figure, rest, share, by = t.log_mean[m], t.figure[m], t.rest[m], t.share[m], 1 + t.by[m]
            clustered, counted = t.clustered[m], m < t.counts
            for p in range(len(x)):
                size, width, variance = scatter[p, 0], scatter[p, by], unsure[p] + share
                off, wide = _dot(loading, errors[p]), math.sqrt(variance)
                mean = math.exp(level + _dot(line, x[p]) + _quadratic(curve, pick, x[p], own, turned) + wide * off)
                relative, small = variance * rest + width * width, mean < t.smallest
                if counted:
                    grouped = clustered and size > 1.0
                    got, by_mean, by_relative, by_size = _count(
                        figure, t.smallest if small else mean, size if grouped else 1.0, relative
                    )
                    if grouped:
                        to_scatter[p, 0] += by_size
                else:
                    got, by_mean, by_relative = _level(figure, t.smallest if small else mean, relative)
                by_log = 0.0 if small else by_mean * mean
                value[p] += got
                to_unsure[p] += by_log * off * 0.5 / wide + by_relative * rest
                to_scatter[p, by] += by_relative * 2.0 * width
                _add(to_x[p], by_log, line)
                _add(to_errors[p], by_log * wide, loading)
                _add_at(to_x[p], 2.0 * by_log, turned, pick)


@jit
def gather(t: Table, x: np.ndarray, known: Spread, parts: Parts, first: int, last: int) -> None:
    """Sum all blocks into the first one, for the points from `first` up to `last`; what is not known of the mean included in `to_x`."""
    for p in range(first, last):
        for b in range(1, len(parts.value)):
            parts.value[0, p] += parts.value[b, p]
            parts.to_unsure[0, p] += parts.to_unsure[b, p]
            _add(parts.to_x[0, p], 1.0, parts.to_x[b, p])
            _add(parts.to_errors[0, p], 1.0, parts.to_errors[b, p])
            _add(parts.to_scatter[0, p], 1.0, parts.to_scatter[b, p])
        if known.unsure[p] > t.surest:
            _unsure_back(t, x[p], known.bent[p], known.weight[p], parts.to_unsure[0, p] * t.sure, parts.to_x[0, p])


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
def _add_at(to: np.ndarray, factor: float, a: np.ndarray, where: np.ndarray) -> None:
    for i in range(len(a)):
        to[where[i]] += factor * a[i]


@loose
def _quadratic(curve: np.ndarray, pick: np.ndarray, here: np.ndarray, own: np.ndarray, turned: np.ndarray) -> float:
    """`y' curve y`, y the picked coordinates; leaves `curve y`."""
    for i in range(len(pick)):
        own[i] = here[pick[i]]
    total = 0.0
    for i in range(len(pick)):
        sum_ = 0.0
        for j in range(len(pick)):
            sum_ += curve[i, j] * own[j]
        turned[i] = sum_
        total += sum_ * own[i]
    return total


@loose
def _unsure(t: Table, here: np.ndarray, bent: np.ndarray, weight: np.ndarray) -> float:
    """`Unsure` at a point; leaves its inner products with the runs in the coordinates that bend, and inverse times kernel."""
    near, curved = np.empty(len(bent)), np.empty(len(t.curved))
    square, bent_square = 0.0, 0.0
    for e in range(len(here)):
        square += (t.scale[e] * here[e]) ** 2
    for k in range(len(curved)):
        curved[k] = here[t.curved[k]]
        bent_square += (t.scale[t.curved[k]] * curved[k]) ** 2
    for v in range(len(bent)):
        bent[v] = _dot(t.at_curved[v], curved)
        near[v] = t.constant + t.linear * _dot(t.points[v], here) + t.quadratic * bent[v] * bent[v]
    variance = t.constant + t.linear * square + t.quadratic * bent_square * bent_square
    for v in range(len(bent)):
        weight[v] = _dot(t.inverse[v], near)
        variance -= weight[v] * near[v]
    return max(t.sure * variance, t.surest)


@loose
def _unsure_back(t: Table, here: np.ndarray, bent: np.ndarray, weight: np.ndarray, by: float, out: np.ndarray) -> None:
    """Add to `out [E]` the derivative of `by` times the variance of `_unsure` before its factor and bound."""
    bent_square, by_curved = 0.0, np.zeros(len(t.curved))
    for e in t.curved:
        bent_square += (t.scale[e] * here[e]) ** 2
    for v in range(len(bent)):
        _add(out, -2.0 * by * weight[v] * t.linear, t.points[v])
        _add(by_curved, -4.0 * by * weight[v] * t.quadratic * bent[v], t.at_curved[v])
    for e in range(len(here)):
        out[e] += 2.0 * by * t.linear * t.scale[e] ** 2 * here[e]
    for k in range(len(t.curved)):
        e = t.curved[k]
        out[e] += by_curved[k] + 4.0 * by * t.quadratic * bent_square * t.scale[e] ** 2 * here[e]


@inner
def _count(count: float, mean: float, cluster: float, relative: float) -> tuple[float, float, float, float]:
    """`log_counts` of one count without `lgamma(count + 1)`, and its derivatives in mean, relative and cluster."""
    odds = cluster - 1.0 + relative * mean
    size = mean / odds
    total, tail = size + count, math.log1p(odds)
    above, by_above = _log_gamma(total)
    below, by_below = _log_gamma(size)
    by_size = by_above - by_below - tail
    by_odds = (count - size * by_size) / odds - total / (1.0 + odds)
    value = count * math.log(odds) - total * tail + (above - below)
    return value, by_size / odds + relative * by_odds, mean * by_odds, by_odds


@inner
def _level(log_level: float, mean: float, relative: float) -> tuple[float, float, float]:
    """`log_levels` of one level without its constant, and its derivatives in mean and relative."""
    off = log_level - math.log(mean)
    fit = off * off / relative
    return -0.5 * (fit + math.log(relative)), off / (relative * mean), 0.5 * (fit - 1.0) / relative


@jit
def _log_gamma(x: float) -> tuple[float, float]:
    """Log Gamma and its derivative of a positive number, to rounding (Stirling's series from 10 on; Abramowitz & Stegun 6.1.41)."""
    if not 0.0 < x < math.inf:
        return math.nan, math.nan
    product, raised = 1.0, 0.0
    while x < 10.0:
        product *= x
        raised += 1.0 / x
        x += 1.0
    log, over = math.log(x), 1.0 / x
    f = over * over
    series = over * (1 / 12 - f * (1 / 360 - f * (1 / 1260 - f * (1 / 1680 - f * (1 / 1188 - f * 691 / 360360)))))
    slopes = f * (1 / 12 - f * (1 / 120 - f * (1 / 252 - f * (1 / 240 - f * (1 / 132 - f * 691 / 32760)))))
    value = (x - 0.5) * log - x + HALF_LOG_TWO_PI + series - math.log(product)
    return value, log - 0.5 * over - slopes - raised
