"""Scores of quantile forecasts: weighted interval score, coverage, and both against a baseline."""

from __future__ import annotations

import warnings
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
        quantiles: `[..., level]`; a forecast with a NaN quantile is missing, and all its scores are NaN.
        observed: `[...]`; NaN gives NaN scores.
        levels: Levels along the last axis, ascending, symmetric about 0.5 and with 0.5 among them.

    Returns:
        The score and its parts, in the units of the observations; smaller is better.

    Raises:
        ValueError: The levels are not symmetric, the shapes disagree, a value is infinite, or quantiles cross.

    Examples:
        >>> score = weighted_interval_score([[8.0, 10.0, 12.0]], [15.0], levels=(0.25, 0.5, 0.75))
        >>> float(score.wis[0].round(2)), float(score.underprediction[0].round(2))
        (4.33, 3.67)
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
    if np.isinf(x).any() or np.isinf(y).any():
        raise ValueError(
            f"{int(np.isinf(x).sum())} quantiles and {int(np.isinf(y).sum())} observations are infinite; "
            "expected finite values, or NaN where one is missing: correct them before scoring."
        )
    if np.any(np.diff(x, axis=-1) < 0):
        raise ValueError("Forecast quantiles decrease along the level axis somewhere; sort them before scoring.")
    x = np.where(np.isnan(x).any(-1, keepdims=True), np.nan, x)
    y = np.where(np.isnan(x[..., 0]), np.nan, y)
    pairs = tau.size // 2
    lower, median, upper = x[..., :pairs], x[..., pairs], x[..., :pairs:-1]
    # alpha/2 of the central interval between levels tau_k and 1 - tau_k is tau_k itself
    dispersion = np.where(np.isnan(y), np.nan, (tau[:pairs] * (upper - lower)).sum(-1))
    gap = y[..., None]
    over = np.maximum(lower - gap, 0.0).sum(-1) + 0.5 * np.maximum(median - y, 0.0)
    under = np.maximum(gap - upper, 0.0).sum(-1) + 0.5 * np.maximum(y - median, 0.0)
    factor = 2.0 / tau.size
    return IntervalScore(factor * (dispersion + over + under), factor * dispersion, factor * over, factor * under)


def covered(quantiles: ArrayLike, observed: ArrayLike, central: float, levels: Sequence[float] = HUB_LEVELS) -> Array:
    """Whether each observation lies in the central interval, ends included; NaN where either is missing.

    Args:
        quantiles: `[..., level]`.
        observed: `[...]`.
        central: Probability of the interval, for instance 0.95.
        levels: Levels along the last axis.

    Raises:
        ValueError: The interval's ends are not among the levels.

    Examples:
        >>> from calib import covered
        >>> covered([[8.0, 10.0, 12.0]], [11.0], 0.5, levels=(0.25, 0.5, 0.75))
        array([1.])
    """
    tau, x, y = np.asarray(levels), np.asarray(quantiles), np.asarray(observed, dtype=np.float64)
    ends = [np.flatnonzero(np.isclose(tau, level)) for level in (0.5 - central / 2, 0.5 + central / 2)]
    if any(end.size == 0 for end in ends):
        raise ValueError(f"The ends of the central {central:.0%} interval are not among the levels {list(levels)}.")
    inside = (x[..., ends[0][0]] <= y) & (y <= x[..., ends[1][0]])
    return np.where(np.isnan(y) | np.isnan(x).any(-1), np.nan, inside)


@dataclass(frozen=True)
class Scores:
    """Scores of one target cell by cell; arrays are `[horizon, place]`, NaN where forecast or observation is missing.

    `log` holds the scores of `log(1 + value)` (Bosse et al. 2023, PLoS Comput. Biol. 19, e1011393): errors of
    growth rates rather than of counts, so that small places weigh as much as large ones.

    Attributes:
        target: Name of the target.
        horizons: Weeks ahead along the first axis.
        places: Names along the second axis.
        natural: Scores on the natural scale.
        log: Scores on the log scale, of the same cells.
        baseline_wis: The baseline's score on the natural scale, NaN where it or the observation is missing.
        baseline_wis_log: The same on the log scale.
        inside_50: Whether the central 50 % interval holds the observation.
        inside_95: The same of the 95 % interval.
        observed: Cells with an observation that can be scored.
        negative: Cells whose observation is negative, a correction of earlier counts: left out of both scales.
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
    observed: NDArray[np.bool_]
    negative: NDArray[np.bool_]

    def mean(self, cells: tuple[Any, Any] = (slice(None), slice(None))) -> dict[str, float | int | None]:
        """Means over some cells, and how many cells were left out of them.

        `wis`, its parts and the coverages are means over the `cells` that have forecast and observation. `baseline_wis` and
        `relative_wis`, a ratio of means below 1 if the baseline is beaten, use the `compared` cells, in which
        the baseline has a value too.

        Args:
            cells: Index of the horizons and index of the places.

        Returns:
            Means, None where there is no cell, and counts: `missing_forecast` and `missing_baseline` are cells with an
            observation that lack the one or the other; `negative_observed` are corrections left out of both scales.
        """
        scored = np.isfinite(self.natural.wis)
        both = scored & np.isfinite(self.baseline_wis)

        def average(values: Array, use: NDArray[np.bool_] = scored) -> float | None:
            chosen = values[cells][use[cells]]
            return float(chosen.mean()) if chosen.size else None

        def ratio(values: Array, reference: Array) -> float | None:
            first, second = average(values, both), average(reference, both)
            return None if first is None or not second else first / second

        def count(where: NDArray[np.bool_]) -> int:
            return int(where[cells].sum())

        return {
            "wis": average(self.natural.wis),
            "baseline_wis": average(self.baseline_wis, both),
            "relative_wis": ratio(self.natural.wis, self.baseline_wis),
            "coverage_50": average(self.inside_50),
            "coverage_95": average(self.inside_95),
            "dispersion": average(self.natural.dispersion),
            "overprediction": average(self.natural.overprediction),
            "underprediction": average(self.natural.underprediction),
            "wis_log": average(self.log.wis),
            "baseline_wis_log": average(self.baseline_wis_log, both),
            "relative_wis_log": ratio(self.log.wis, self.baseline_wis_log),
            "cells": count(scored),
            "compared": count(both),
            "missing_forecast": count(self.observed & ~scored),
            "missing_baseline": count(self.observed & ~np.isfinite(self.baseline_wis)),
            "negative_observed": count(self.negative),
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
        quantiles: The forecast `[horizon, place, level]`, not negative; NaN where there is none.
        observed: What happened `[horizon, place]`; NaN where unknown. Negative counts are corrections of earlier
            ones and count as unknown on both scales.
        baseline: The baseline's quantiles, same shape as the forecast's; NaN where there is none.
        target: Name of the target.
        places: Names along the place axis.
        horizons: Weeks ahead along the horizon axis; 1, 2, ... by default.
        levels: Levels along the last axis.

    Returns:
        The scores of every cell, as plain arrays.

    Warns:
        UserWarning: There is no forecast where there is an observation, or an observation is negative.

    Raises:
        ValueError: Shapes disagree, a quantile is negative or infinite, or `weighted_interval_score` refuses the
            quantiles.

    Examples:
        >>> levels = (0.025, 0.25, 0.5, 0.75, 0.975)
        >>> ours, last_week = [[[6.0, 9.0, 10.0, 11.0, 14.0]]], [[[2.0, 5.0, 8.0, 12.0, 20.0]]]  # week ahead, place, level
        >>> scores = score_forecast(ours, [[10.0]], last_week, "cases", ["North"], levels=levels)
        >>> float(scores.natural.wis[0, 0].round(2)), float(scores.baseline_wis[0, 0].round(2))
        (0.28, 1.28)
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
    negative = y < 0
    y = np.where(negative, np.nan, y)
    observed = ~np.isnan(y)
    _warn_of_gaps(target, observed & np.isnan(forecast).any(-1), negative, observed, places)
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
        observed=observed,
        negative=negative,
    )


def _warn_of_gaps(
    target: str,
    missing: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    places: Sequence[str],
) -> None:
    """Say which cells `[horizon, place]` the means leave out although something was reported there."""
    if missing.any():
        where = ", ".join(str(places[i]) for i in np.flatnonzero(missing.any(axis=0)).tolist())
        warnings.warn(
            f"The forecast of {target} is missing in {int(missing.sum())} of {int(observed.sum())} cells with an observation "
            f"({where}); means leave them out, so forecast them or name the gap where scores are reported.",
            stacklevel=3,
        )
    if negative.any():
        where = ", ".join(str(places[i]) for i in np.flatnonzero(negative.any(axis=0)).tolist())
        warnings.warn(
            f"{int(negative.sum())} observations of {target} are negative ({where}), so they correct earlier counts; "
            "both scales leave them out: pass corrected counts to score these cells.",
            stacklevel=3,
        )


@dataclass(frozen=True)
class Forecast:
    """Predictive draws of one target with what happened and what was known.

    Attributes:
        draws: `[draw, horizon, place]`; a cell whose draws are all NaN has no forecast.
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
        draws = np.asarray(forecast.draws, dtype=np.float64)
        missing = np.isnan(draws).all(axis=0)
        quantiles = quantile_table(np.where(missing, 0.0, draws))
        quantiles[missing] = np.nan
        known = np.asarray(forecast.history)
        baseline = baseline_quantiles(known, quantiles.shape[0], generator) if len(known) else quantiles * np.nan
        scores = score_forecast(quantiles, forecast.observed, baseline, target, forecast.places)
        result[target] = scores.summary(periods)
    return result
