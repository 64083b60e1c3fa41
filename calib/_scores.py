"""Scores of quantile forecasts: weighted interval score, coverage, and both against a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib._baseline import baseline_quantiles
from calib._hub import HUB_LEVELS, quantile_table

Array = NDArray[np.float64]


@dataclass(frozen=True)
class IntervalScore:
    """Weighted interval score and its parts, each with the shape of the observations; `wis` is their sum."""

    wis: Array
    dispersion: Array
    overprediction: Array
    underprediction: Array


def weighted_interval_score(
    quantiles: ArrayLike, observed: ArrayLike, levels: Sequence[float] = HUB_LEVELS
) -> IntervalScore:
    """Weighted interval score, defined as twice the mean pinball loss over the levels.

    `WIS = 2/Q sum_q (1{y < x_q} - tau_q) (x_q - y)`. With the levels in symmetric pairs about a median it
    equals Bracher et al. (2021), PLoS Comput. Biol. 17, e1008618, equation 1 with `w_0 = 1/2`, `w_k = alpha_k
    / 2`. The parts are theirs: widths of the central intervals, and penalties for values below them (the
    forecast was too high: overprediction) and above them (underprediction); the median counts in the
    penalties.

    Args:
        quantiles: `[..., level]`.
        observed: `[...]`; NaN gives NaN scores.
        levels: Levels along the last axis, ascending, symmetric about 0.5 and with 0.5 among them.

    Returns:
        The score and its parts, in the units of the observations; smaller is better.

    Raises:
        ValueError: The levels are not symmetric, the shapes disagree, or quantiles cross.
    """
    tau = np.asarray(levels, dtype=np.float64)
    x, y = np.asarray(quantiles, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if tau.size % 2 == 0 or not np.allclose(tau, 1.0 - tau[::-1]) or np.any(np.diff(tau) <= 0):
        raise ValueError(f"Levels {list(levels)} are not ascending and symmetric about a median; pass such levels.")
    if x.shape != (*y.shape, tau.size):
        raise ValueError(
            f"Quantiles have shape {x.shape} and observations {y.shape}; "
            f"expected quantiles [..., level] = {(*y.shape, tau.size)}."
        )
    if np.any(np.diff(x, axis=-1) < 0):
        raise ValueError("Forecast quantiles decrease along the level axis somewhere; sort them before scoring.")
    pairs = tau.size // 2
    lower, median, upper = x[..., :pairs], x[..., pairs], x[..., :pairs:-1]
    # alpha/2 of the central interval between levels tau_k and 1 - tau_k is tau_k itself
    dispersion = (tau[:pairs] * (upper - lower)).sum(-1)
    gap = y[..., None]
    over = np.maximum(lower - gap, 0.0).sum(-1) + 0.5 * np.maximum(median - y, 0.0)
    under = np.maximum(gap - upper, 0.0).sum(-1) + 0.5 * np.maximum(y - median, 0.0)
    factor = 2.0 / tau.size
    return IntervalScore(factor * (dispersion + over + under), factor * dispersion, factor * over, factor * under)


def covered(quantiles: ArrayLike, observed: ArrayLike, central: float, levels: Sequence[float] = HUB_LEVELS) -> Array:
    """Whether each observation lies in the central interval, ends included; NaN where there is none.

    Args:
        quantiles: `[..., level]`.
        observed: `[...]`.
        central: Probability of the interval, for instance 0.95.
        levels: Levels along the last axis.

    Raises:
        ValueError: The interval's ends are not among the levels.
    """
    tau, x, y = np.asarray(levels), np.asarray(quantiles), np.asarray(observed, dtype=np.float64)
    ends = [np.flatnonzero(np.isclose(tau, level)) for level in (0.5 - central / 2, 0.5 + central / 2)]
    if any(end.size == 0 for end in ends):
        raise ValueError(f"The ends of the central {central:.0%} interval are not among the levels {list(levels)}.")
    inside = (x[..., ends[0][0]] <= y) & (y <= x[..., ends[1][0]])
    return np.where(np.isnan(y), np.nan, inside)


@dataclass(frozen=True)
class Scores:
    """Scores of one target cell by cell; arrays are `[horizon, place]`, NaN where there is no observation.

    `log` holds the scores of `log(1 + value)` (Bosse et al. 2023, PLoS Comput. Biol. 19, e1011393): errors of
    growth rates rather than of counts, so that small places weigh as much as large ones.
    """

    target: str
    horizons: tuple[int, ...]
    places: tuple[str, ...]
    natural: IntervalScore
    log: IntervalScore
    baseline_wis: Array
    baseline_wis_log: Array
    inside_50: Array
    inside_95: Array

    def mean(self, cells: tuple[Any, Any] = (slice(None), slice(None))) -> dict[str, float | int | None]:
        """Means over some cells; `relative_wis` is a ratio of means, below 1 if the baseline is beaten."""

        def average(values: Array) -> float | None:
            chosen = values[cells]
            return None if np.isnan(chosen).all() else float(np.nanmean(chosen))

        def ratio(first: float | None, second: float | None) -> float | None:
            return None if first is None or not second else first / second

        wis, baseline = average(self.natural.wis), average(self.baseline_wis)
        wis_log, baseline_log = average(self.log.wis), average(self.baseline_wis_log)
        return {
            "wis": wis,
            "baseline_wis": baseline,
            "relative_wis": ratio(wis, baseline),
            "coverage_50": average(self.inside_50),
            "coverage_95": average(self.inside_95),
            "dispersion": average(self.natural.dispersion),
            "overprediction": average(self.natural.overprediction),
            "underprediction": average(self.natural.underprediction),
            "wis_log": wis_log,
            "baseline_wis_log": baseline_log,
            "relative_wis_log": ratio(wis_log, baseline_log),
            "cells": int(np.isfinite(self.natural.wis[cells]).sum()),
        }

    def summary(self, periods: Sequence[tuple[int, int]] = ((1, 4), (5, 11))) -> dict[str, Any]:
        """Plain data for `scores.json`: `by_horizon`, `by_place`, and `overall` by period of horizons.

        A place's row also holds the same scores by period under `periods`.
        """
        horizons = np.asarray(self.horizons)
        rows = {f"{a}-{b}": np.flatnonzero((horizons >= a) & (horizons <= b)) for a, b in periods}
        rows = {name: chosen for name, chosen in rows.items() if chosen.size}
        everywhere = slice(None)
        return {
            "by_horizon": [{"horizon": h, **self.mean((i, everywhere))} for i, h in enumerate(self.horizons)],
            "by_place": [
                {
                    "place": place,
                    **self.mean((everywhere, j)),
                    "periods": {name: self.mean((chosen, j)) for name, chosen in rows.items()},
                }
                for j, place in enumerate(self.places)
            ],
            "overall": {name: self.mean((chosen, everywhere)) for name, chosen in rows.items()},
        }


def score_forecast(
    quantiles: ArrayLike,
    observed: ArrayLike,
    baseline: ArrayLike,
    target: str,
    places: Sequence[str],
    horizons: Sequence[int] | None = None,
    levels: Sequence[float] = HUB_LEVELS,
) -> Scores:
    """Score a quantile forecast and a baseline's on the natural and on the log scale.

    Args:
        quantiles: The forecast `[horizon, place, level]`, not negative.
        observed: What happened `[horizon, place]`; NaN where unknown, left out of every mean.
        baseline: The baseline's quantiles, same shape as the forecast's.
        target: Name of the target.
        places: Names along the place axis.
        horizons: Weeks ahead along the horizon axis; 1, 2, ... by default.
        levels: Levels along the last axis.

    Returns:
        The scores of every cell, as plain arrays.

    Raises:
        ValueError: Shapes disagree, a quantile is negative, or `weighted_interval_score` refuses the
            quantiles.
    """
    forecast, reference = np.asarray(quantiles, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    y = np.asarray(observed, dtype=np.float64)
    steps = tuple(range(1, y.shape[0] + 1)) if horizons is None else tuple(int(h) for h in horizons)
    if y.shape != (len(steps), len(places)):
        raise ValueError(
            f"Observations of {target} have shape {y.shape}; expected [horizon, place] = {(len(steps), len(places))}."
        )
    if np.any(forecast < 0) or np.any(reference < 0):
        raise ValueError(f"Quantiles of {target} include negative values; counts are scored, so cut them at 0.")
    natural = weighted_interval_score(forecast, y, levels)
    log = weighted_interval_score(np.log1p(forecast), np.log1p(y), levels)
    return Scores(
        target=target,
        horizons=steps,
        places=tuple(places),
        natural=natural,
        log=log,
        baseline_wis=weighted_interval_score(reference, y, levels).wis,
        baseline_wis_log=weighted_interval_score(np.log1p(reference), np.log1p(y), levels).wis,
        inside_50=covered(forecast, y, 0.5, levels),
        inside_95=covered(forecast, y, 0.95, levels),
    )


@dataclass(frozen=True)
class Forecast:
    """Predictive draws of one target with what happened and what was known.

    Attributes:
        draws: `[draw, horizon, place]`.
        observed: `[horizon, place]`, NaN where unknown.
        history: `[week, place]`: the known weeks, oldest first, that the baseline is made of; with no week the target has no baseline,
            and scores relative to it are None.
        places: Names along the place axis.
    """

    draws: ArrayLike
    observed: ArrayLike
    history: ArrayLike
    places: Sequence[str]


def score_run(
    forecasts: Mapping[str, Forecast],
    generator: np.random.Generator,
    periods: Sequence[tuple[int, int]] = ((1, 4), (5, 11)),
) -> dict[str, Any]:
    """The content of `scores.json`: for every target the scores by horizon, by place and overall by period.

    Args:
        forecasts: One `Forecast` a target.
        generator: Source of the baseline's paths.
        periods: First and last horizon of each period in `overall`.

    Returns:
        `{target: {"by_horizon": [...], "by_place": [...], "overall": {"1-4": {...}, ...}}}`, plain data.
    """
    result = {}
    for target, forecast in forecasts.items():
        quantiles = quantile_table(forecast.draws)
        known = np.asarray(forecast.history)
        baseline = baseline_quantiles(known, quantiles.shape[0], generator) if len(known) else quantiles * np.nan
        scores = score_forecast(quantiles, forecast.observed, baseline, target, forecast.places)
        result[target] = scores.summary(periods)
    return result
