"""Weekly series by draw as the numbers that are asked for: a week, a total, a peak, the week of a peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from epi.analyst.source import CannotAnswer
from epi.analyst.values import Origin, Value, of_draws

Array = NDArray[np.float64]

Statistic = Literal["week", "total", "forecast total", "peak", "peak week"]
STATISTICS: tuple[Statistic, ...] = ("week", "total", "forecast total", "peak", "peak week")

__all__ = ["STATISTICS", "Statistic", "statistic_of", "week_of_peak"]


def statistic_of(
    series: Array, weeks: Sequence[str], statistic: Statistic, week: str = "", forecast_from: str = ""
) -> Array:
    """`[draw]` of weekly values `[draw, week]`; a week of a peak is the index of the week.

    Raises:
        CannotAnswer: the week is not among the weeks.
    """
    if statistic == "week":
        if week not in weeks:
            raise CannotAnswer(f"The statistic 'week' needs a week from {weeks[0]} to {weeks[-1]}; name one.")
        return series[:, list(weeks).index(week)]
    if statistic == "total":
        return np.asarray(np.nansum(series, axis=1))
    if statistic == "forecast total":
        later = np.array([w >= forecast_from for w in weeks])
        return np.asarray(np.nansum(series[:, later], axis=1))
    filled = np.nan_to_num(series, nan=-np.inf)
    return filled.max(1) if statistic == "peak" else filled.argmax(1).astype(float)


def week_of_peak(name: str, index: Array, weeks: Sequence[str], origin: Origin) -> Value:
    """The week of a peak by draw, `[draw]` indices, as dates."""
    low, middle, high = np.quantile(index, (0.025, 0.5, 0.975), method="nearest").astype(int)
    said = f"week to {weeks[middle]}"
    text = said if len(index) == 1 else f"{said} (95 % interval {weeks[low]} to {weeks[high]})"
    plain = of_draws(name, index, "", origin)
    return Value(name, plain.value, "week number", origin, draws=len(index) if len(index) > 1 else 0, date=text)
