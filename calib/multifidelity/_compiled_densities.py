"""Distributions of counts and of levels as compiled functions of one figure, value and derivatives together.

`_densities` remains the definition: tests hold these equal to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@inner
def count_density(count: float, mean: float, cluster: float, relative: float) -> tuple[float, float, float, float]:
    """`log_counts` of one count without `lgamma(count + 1)`, and its derivatives in mean, relative and cluster."""
    odds = cluster - 1.0 + relative * mean
    size = mean / odds
    total, tail = size + count, math.log1p(odds)
    above, by_above = log_gamma(total)
    below, by_below = log_gamma(size)
    by_size = by_above - by_below - tail
    by_odds = (count - size * by_size) / odds - total / (1.0 + odds)
    value = count * math.log(odds) - total * tail + (above - below)
    return value, by_size / odds + relative * by_odds, mean * by_odds, by_odds


@inner
def level_density(log_level: float, mean: float, relative: float) -> tuple[float, float, float]:
    """`log_levels` of one level without its constant, and its derivatives in mean and relative."""
    off = log_level - math.log(mean)
    fit = off * off / relative
    return -0.5 * (fit + math.log(relative)), off / (relative * mean), 0.5 * (fit - 1.0) / relative


@jit
def log_gamma(x: float) -> tuple[float, float]:
    """Log Gamma and its derivative of a positive number, to rounding (Stirling's series from 10 on; Abramowitz & Stegun 6.1.41)."""
    if not 0.0 < x < math.inf:
        return math.nan, math.nan
    product, slope = 1.0, 0.0  # of x (x + 1) ..., and its derivative
    while x < 10.0:
        slope = slope * x + product
        product *= x
        x += 1.0
    log, over = math.log(x), 1.0 / x
    f = over * over
    series = over * (1 / 12 - f * (1 / 360 - f * (1 / 1260 - f * (1 / 1680 - f * (1 / 1188 - f * 691 / 360360)))))
    slopes = f * (1 / 12 - f * (1 / 120 - f * (1 / 252 - f * (1 / 240 - f * (1 / 132 - f * 691 / 32760)))))
    value = (x - 0.5) * log - x + HALF_LOG_TWO_PI + series - math.log(product)
    return value, log - 0.5 * over - slopes - slope / product
