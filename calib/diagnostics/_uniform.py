"""Are ranks uniform? Tests and simultaneous bands for what should be uniform if a posterior is honest."""

from __future__ import annotations

import functools

import numpy as np
from scipy.stats import binom, chisquare, kstest

from calib.diagnostics._verdict import Array

REPEATS = 2000
POINTS = 50


def ks_p_value(u: Array) -> float:
    """Kolmogorov-Smirnov p-value of `u [N]` against the uniform distribution on [0, 1]."""
    return float(kstest(u, "uniform").pvalue)


def chi_square_p_value(ranks: Array, largest: int) -> float:
    """Chi-square p-value of ranks `[N]` in 0..largest, in bins of equal width with five expected in each or more."""
    possible = largest + 1
    wanted = max(2, min(20, len(ranks) // 5, possible))
    edges = np.linspace(0, possible, wanted + 1).round()
    found = np.histogram(ranks, edges - 0.5)[0]
    expected = np.diff(edges) / possible * len(ranks)
    return float(chisquare(found, expected).pvalue)


def c2st_uniform(ranks: Array, largest: int) -> float:
    """How often held-out ranks `[N]` are told from uniform ones by a histogram learnt on the other half, 0.5 if alike."""
    possible = largest + 1
    edges = np.linspace(0, possible, max(2, min(10, len(ranks) // 10, possible)) + 1).round()
    share = np.diff(edges) / possible
    halves = [np.histogram(part, edges - 0.5)[0] / len(part) for part in (ranks[::2], ranks[1::2])]
    pairs = ((halves[0], halves[1]), (halves[1], halves[0]))
    return float(np.mean([0.5 + 0.5 * (held - share)[learnt > share].sum() for learnt, held in pairs]))


def band_points(largest: int) -> Array:
    """Numbers of ranks k at which the ECDF `P(rank < k)` is looked at, up to 50 of 1..largest."""
    return np.unique(np.linspace(1, largest, min(POINTS, largest)).round())


def pointwise(ranks: Array, largest: int) -> Array:
    """Smallest pointwise two-sided binomial p of the ECDF, `[*batch]` for ranks `[*batch, N]`.

    Gamma of Säilynoja, Bürkner and Vehtari (2022, Stat Comput 32:32, eq. 9).
    """
    points, count = band_points(largest), ranks.shape[-1]
    below = (ranks[..., None] < points).sum(-2)
    share = points / (largest + 1)
    low, high = binom.cdf(below, count, share), binom.sf(below - 1, count, share)
    return np.asarray(2 * np.minimum(low, high).min(-1))


@functools.lru_cache(maxsize=32)
def _null(count: int, largest: int) -> Array:
    """Gamma of `REPEATS` sets of uniform ranks, sorted; its own fixed stream, so that the band is a property of (N, S)."""
    rng = np.random.default_rng([20220130, count, largest])
    parts = [
        pointwise(rng.integers(0, largest + 1, (100, count)).astype(float), largest) for _ in range(REPEATS // 100)
    ]
    return np.sort(np.concatenate(parts))


def ecdf_p_value(ranks: Array, largest: int) -> float:
    """Simultaneous p-value of the ECDF of ranks `[N]` in 0..largest: as far out at some point as this, or farther.

    From the simulated null; where none of its sets lies as far out, the sum of the pointwise p-values is a bound that goes lower.
    """
    null, gamma = _null(len(ranks), largest), float(pointwise(ranks, largest))
    p = float((1 + np.searchsorted(null, gamma * (1 + 1e-9), side="right")) / (1 + null.size))
    return min(p, gamma * band_points(largest).size)


def ecdf_band(count: int, largest: int, level: float = 0.95) -> tuple[Array, Array, Array]:
    """Simultaneous band of the ECDF of `count` uniform ranks in 0..largest.

    Returns:
        Shares z `[K]`, and the lowest and highest ECDF `[K]` that stay inside with the probability `level`.
    """
    gamma = float(np.quantile(_null(count, largest), 1 - level))
    share = band_points(largest) / (largest + 1)
    low = binom.ppf(gamma / 2, count, share) / count
    high = binom.ppf(1 - gamma / 2, count, share) / count
    return share, np.asarray(low), np.asarray(high)


def ecdf(ranks: Array, largest: int) -> Array:
    """ECDF of ranks `[N]` at the points of `ecdf_band`, `[K]`."""
    return np.asarray((ranks[:, None] < band_points(largest)).mean(0))
