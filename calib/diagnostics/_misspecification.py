"""Can the simulator produce such data, and do the priors cover them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calib.diagnostics._pool import STATISTICS, pool_p_value
from calib.diagnostics._verdict import P_THRESHOLD, Array, Verdict, Word, array, percent, said, same, word_of

FEWEST = 20
FAR = 2.0
"""Data so many times as far out as the farthest simulation fail, however few simulations there are."""


@dataclass(frozen=True, eq=False)
class Misspecification:
    """How far the data lie from the simulations, by several distances.

    Attributes:
        distances: `{name: [S + 1]}` by statistic, the data's own value last.
        p_values: exact permutation p by statistic.
    """

    distances: dict[str, Array]
    p_values: dict[str, float]


@dataclass(frozen=True, eq=False)
class PriorPredictive:
    """Where the data lie in the prior predictive.

    Attributes:
        tail: `[M]` share of the simulations at or below each figure, ties counted half.
        outside: `[M]` whether the figure lies beyond all simulations.
        inside_90: share of observations within the central 90 % of the simulations.
        draws: number of simulations S.
    """

    tail: Array
    outside: Array
    inside_90: float
    draws: int


def compute_misspecification(
    observed: ArrayLike, prior_predictive: ArrayLike, statistics: tuple[str, ...] = tuple(STATISTICS)
) -> Misspecification:
    """Distances of the data to the simulations; the data's rank among all members of the pool gives an exact p-value.

    Args:
        observed: `[M]` data or summaries; put counts on a log scale first (`numpy.log1p`).
        prior_predictive: `[S, M]`, simulated from draws of the prior.
        statistics: which of "mahalanobis", "nearest", "mmd".

    Raises:
        ValueError: shapes differ, an entry is not finite, fewer than 20 simulations, or a statistic is unknown.
    """
    pool = _pool(observed, prior_predictive)
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown or not statistics:
        raise ValueError(f"Statistics {statistics} were asked for; choose from {', '.join(STATISTICS)}.")
    distances = {name: STATISTICS[name](pool) for name in statistics}
    return Misspecification(distances, {name: pool_p_value(values) for name, values in distances.items()})


def judge_misspecification(found: Misspecification) -> Verdict:
    """Judge by the smallest p-value, times the number of distances (Bonferroni).

    Few simulations cannot give a small p: data more than twice as far out as the farthest simulation fail whatever their number.
    """
    name = min(found.p_values, key=lambda key: (found.p_values[key], -_beyond(found.distances[key])))
    members = len(next(iter(found.distances.values())))
    p, beyond = min(1.0, found.p_values[name] * len(found.p_values)), _beyond(found.distances[name])
    if p < 0.05:
        farther = round(found.p_values[name] * members) - 1
        which = f"all but {farther} of {members - 1}" if farther else f"all {members - 1}"
        text = f"the data lie farther out than {which} simulations ({name} distance, adjusted {said(p)})"
    else:
        text = f"the data lie among the {members - 1} simulations (smallest p from the {name} distance, adjusted {said(p)})"
    if beyond > 1:
        text += f", {beyond:.2g} times as far as the farthest"
    elif len(found.p_values) / members >= 0.01:
        text += f"; with {members - 1} simulations p cannot fall below {len(found.p_values) / members:.2g}"
    return Verdict(
        "misspecification",
        "fail" if beyond > FAR else word_of(p),
        p,
        f"{P_THRESHOLD} or at {FAR:g} times the farthest simulation",
        text,
        ""
        if p >= 0.05 and beyond <= FAR
        else "widen the priors if the prior predictive check fails too; else change the simulator, its noise, or the summaries, "
        "before reading any posterior",
    )


def _beyond(distances: Array) -> float:
    """The data's distance relative to the farthest simulation's; 0 for distances that are not positive there."""
    farthest = float(distances[:-1].max())
    return float(distances[-1]) / farthest if farthest > 0 else 0.0


def compute_prior_predictive(observed: ArrayLike, prior_predictive: ArrayLike) -> PriorPredictive:
    """Where each figure lies among its simulations.

    Args:
        observed: `[M]`.
        prior_predictive: `[S, M]`.

    Raises:
        ValueError: shapes differ, an entry is not finite, or fewer than 20 simulations.
    """
    pool = _pool(observed, prior_predictive)
    simulated, data = pool[:-1], pool[-1]
    tail = (simulated < data).mean(0) + 0.5 * (simulated == data).mean(0)
    outside = (data < simulated.min(0)) | (data > simulated.max(0))
    low, high = np.quantile(simulated, [0.05, 0.95], axis=0)
    return PriorPredictive(tail, outside.astype(float), float(((low <= data) & (data <= high)).mean()), len(simulated))


def judge_prior_predictive(found: PriorPredictive) -> Verdict:
    """Judge by the share of observations beyond all simulations: warns above 2 %, or the share expected by chance, fails above 10 %."""
    share = float(found.outside.mean())
    warn = max(0.02, 2 / (found.draws + 1))
    word: Word = "pass" if share <= warn else "warn" if share <= max(0.1, warn) else "fail"
    below = float(((found.outside > 0) & (found.tail < 0.5)).mean())
    side = "below" if below > share / 2 else "above"
    text = (
        f"{percent(share)} of {found.outside.size} observations lie beyond all {found.draws} simulations"
        f"{f', mostly {side} them' if share else ''}; {percent(found.inside_90)} lie within their central 90 %"
    )
    advice = f"the priors do not reach data {side} the simulations: widen or move those that the observations answer to"
    return Verdict(
        "prior_predictive", word, share, f"warns above {percent(warn)} outside, fails above {percent(max(0.1, warn))}", text,
        "" if word == "pass" else advice,
    )  # fmt: skip


def _pool(observed: ArrayLike, simulated: ArrayLike) -> Array:
    data, draws = array("observed", observed, "M"), array("prior_predictive", simulated, "S, M")
    same(prior_predictive=("M", draws.shape[1], data.size))
    if len(draws) < FEWEST:
        raise ValueError(
            f"prior_predictive holds {len(draws)} simulations; give at least {FEWEST}, better several hundred."
        )
    return np.vstack([draws, data])
