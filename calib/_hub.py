"""The forecast-hub format: 23 quantile levels, one row a quantile, and a check of such rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

HUB_LEVELS: tuple[float, ...] = (0.01, 0.025, *(round(0.05 * k, 2) for k in range(1, 20)), 0.975, 0.99)
"""Levels that the forecast hubs ask for: 0.01, 0.025, 0.05 to 0.95 by 0.05, 0.975, 0.99."""

HUB_COLUMNS: tuple[str, ...] = (
    "reference_date",
    "target",
    "horizon",
    "target_end_date",
    "location",
    "output_type",
    "output_type_id",
    "value",
)


OUTPUT_TYPES: tuple[str, ...] = ("quantile", "mean", "median", "sample", "cdf", "pmf")
"""Kinds of rows that the hubs' standard knows."""

DECIMALS = 6
"""Levels are written with so many decimals at most."""


def quantile_table(draws: ArrayLike, levels: Sequence[float] = HUB_LEVELS) -> NDArray[np.float64]:
    """Quantiles of predictive draws.

    Args:
        draws: `[draw, ...]`, finite.
        levels: Quantile levels in (0, 1), ascending.

    Returns:
        `[..., level]`, non-decreasing along the last axis (linear interpolation between order statistics).

    Raises:
        ValueError: There is no draw, or a draw is not finite.

    Examples:
        >>> import numpy as np
        >>> from calib import quantile_table
        >>> draws = np.arange(101.0)[:, None]  # draws of one forecast
        >>> quantile_table(draws, levels=(0.05, 0.5, 0.95))
        array([[ 5., 50., 95.]])
    """
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(f"Predictive draws have shape {values.shape}; expected [draw, ...] with at least one draw.")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {values.size} predictive draws are not finite; "
            "drop those draws, and count them, before taking quantiles."
        )
    return np.moveaxis(np.quantile(values, np.asarray(levels), axis=0), 0, -1)


def hub_rows(
    quantiles: ArrayLike,
    reference_date: date | str | np.datetime64,
    target: str,
    locations: Sequence[str],
    horizons: Sequence[int] | None = None,
    levels: Sequence[float] = HUB_LEVELS,
) -> pd.DataFrame:
    """Write one row a quantile, in the columns that forecast hubs read.

    Args:
        quantiles: `[horizon, location, level]`, in the target's units, finite and not decreasing along the levels.
        reference_date: The date that ends the last week with data; horizon h ends 7 h days later.
        target: What is forecast, for instance `"cases_district"`.
        locations: Names along the location axis.
        horizons: Weeks ahead along the horizon axis; 1, 2, ... by default.
        levels: Levels along the last axis, rounded to 6 decimals.

    Returns:
        A frame with the columns `HUB_COLUMNS`, ordered by horizon, location, level, which `check_hub_rows` accepts.

    Raises:
        ValueError: The shape does not agree with the names, the date has a time or a zone, or `check_hub_rows` refuses
            the rows.
    """
    values = np.asarray(quantiles, dtype=np.float64)
    steps = np.arange(1, values.shape[0] + 1) if horizons is None else np.asarray(horizons)
    expected = (len(steps), len(locations), len(levels))
    if values.shape != expected:
        raise ValueError(
            f"Quantiles of {target} have shape {values.shape}; expected [horizon, location, level] = {expected}."
        )
    if not np.array_equal(steps, np.floor(steps)):
        raise ValueError(f"Horizons of {target} are {list(steps)}; expected whole numbers of weeks.")
    start = _day(reference_date)
    horizon, location, level = (axis.ravel() for axis in np.indices(expected))
    ends = [(start + timedelta(days=7 * int(h))).isoformat() for h in steps]
    rows = pd.DataFrame(
        {
            "reference_date": start.isoformat(),
            "target": target,
            "horizon": steps.astype(np.int64)[horizon],
            "target_end_date": np.asarray(ends, dtype=object)[horizon],
            "location": np.asarray(locations, dtype=object)[location],
            "output_type": "quantile",
            "output_type_id": np.round(np.asarray(levels, dtype=np.float64), DECIMALS)[level],
            "value": values.ravel(),
        },
        columns=list(HUB_COLUMNS),
    )
    check_hub_rows(rows)
    return rows


def _day(value: date | str | np.datetime64) -> date:
    """A calendar day from a date, ISO text, or a time stamp at midnight without a zone."""
    try:
        stamp = datetime.fromisoformat(value) if isinstance(value, str) else value
        stamp = pd.Timestamp(stamp)
        if pd.isna(stamp):
            raise ValueError("no date")
    except (ValueError, TypeError) as error:
        raise ValueError(f"The reference date is {value!r}; expected a date, or text such as 2022-03-13.") from error
    if stamp.tz is not None or stamp.time() != time(0):
        raise ValueError(f"The reference date is {value!r}; expected a day without time and zone: pass its date alone.")
    return stamp.date()


def check_hub_rows(rows: pd.DataFrame, *, days_per_horizon: int = 7) -> None:
    """Check that rows can be handed to a forecast hub.

    Columns, types, dates as `YYYY-MM-DD`, end dates that follow from the horizons, levels inside (0, 1) and rounded, finite
    values, no row twice, and quantiles that do not decrease with the level.

    Args:
        rows: A frame with the columns `HUB_COLUMNS`, in any order; read files with `dtype={"location": str}`.
        days_per_horizon: Days by which a horizon of one lies ahead: 7 for weekly targets.

    Raises:
        ValueError: One sentence about the first thing that is wrong.

    References:
        The columns and rules are those of the hubs' standard, https://docs.hubverse.io.

    Examples:
        >>> rows = hub_rows([[[1.0, 2.0, 4.0]]], "2022-03-13", "cases", ["Auckland"], levels=(0.25, 0.5, 0.75))
        >>> check_hub_rows(rows)
        >>> check_hub_rows(rows.assign(value=[1.0, 5.0, 4.0]))
        Traceback (most recent call last):
        ValueError: Quantiles of cases, Auckland, horizon 1 decrease from level 0.5 to 0.75; sort or refit them.
    """
    missing = [name for name in HUB_COLUMNS if name not in rows.columns]
    unknown = [str(name) for name in rows.columns if name not in HUB_COLUMNS]
    if missing or unknown or not len(rows):
        wrong = (
            f"lack the column {missing[0]}"
            if missing
            else f"have the unknown column {unknown[0]}"
            if unknown
            else "are empty"
        )
        raise ValueError(f"Hub rows {wrong}; expected one row or more with the columns {', '.join(HUB_COLUMNS)}.")
    for name in ("target", "location", "output_type"):
        _first(rows, ~rows[name].map(lambda v: isinstance(v, str) and v != ""), name, "text that is not empty")
    days = {name: _days(rows, name) for name in ("reference_date", "target_end_date")}
    for name in ("horizon", "value"):
        number = rows[name].map(
            lambda v: isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool)
        )
        _first(rows, ~number | ~np.isfinite(rows[name].where(number, np.nan).astype(float)), name, "a finite number")
    horizon = rows["horizon"].astype(float)
    _first(rows, horizon != np.floor(horizon), "horizon", "a whole number")
    ends = days["reference_date"] + pd.to_timedelta(days_per_horizon * horizon, unit="D")
    _first(
        rows,
        days["target_end_date"] != ends,
        "target_end_date",
        f"{days_per_horizon} days after the reference date a horizon",
    )
    _first(rows, ~rows["output_type"].isin(OUTPUT_TYPES), "output_type", "one of " + ", ".join(OUTPUT_TYPES))
    quantiles = rows[rows["output_type"] == "quantile"]
    level = pd.to_numeric(quantiles["output_type_id"], errors="coerce")
    _first(quantiles, ~((level > 0) & (level < 1)), "output_type_id", "a quantile level between 0 and 1")
    _first(quantiles, level != level.round(DECIMALS), "output_type_id", f"a level rounded to {DECIMALS} decimals")
    key = [name for name in HUB_COLUMNS if name != "value"]
    twice = rows.assign(output_type_id=rows["output_type_id"].astype(str)).duplicated(key)
    if twice.any():
        one = rows[twice].iloc[0]
        raise ValueError(
            f"{int(twice.sum())} hub rows stand twice, first {one['target']}, {one['location']}, horizon {one['horizon']}, "
            f"{one['output_type']} {one['output_type_id']}; expected one value each: drop the others."
        )
    task = [name for name in key if name != "output_type_id"]
    ordered = quantiles.assign(output_type_id=level).sort_values([*task, "output_type_id"], kind="stable")
    falls = (ordered.groupby(task, sort=False)["value"].diff() < 0).to_numpy()
    if falls.any():
        at = int(np.flatnonzero(falls)[0])
        before, one = ordered.iloc[at - 1], ordered.iloc[at]
        raise ValueError(
            f"Quantiles of {one['target']}, {one['location']}, horizon {one['horizon']} decrease from level "
            f"{before['output_type_id']:g} to {one['output_type_id']:g}; sort or refit them."
        )


def _first(rows: pd.DataFrame, bad: pd.Series, name: str, expected: str) -> None:
    """Refuse the first row for which `bad` holds."""
    if bad.any():
        position = int(np.flatnonzero(bad.to_numpy())[0])
        found = rows[name].iloc[position]
        found = found.item() if isinstance(found, np.generic) else found
        raise ValueError(
            f"Hub row {position} has {name} {found!r}, one of {int(bad.sum())} such rows; expected {expected}."
        )


def _days(rows: pd.DataFrame, name: str) -> pd.Series:
    """Dates of a column of `YYYY-MM-DD` text."""
    text = rows[name].map(lambda v: v if isinstance(v, str) else "")
    days = pd.to_datetime(text.where(text.str.fullmatch(r"\d{4}-\d{2}-\d{2}")), format="%Y-%m-%d", errors="coerce")
    _first(rows, days.isna(), name, "a date as text, YYYY-MM-DD, without time and zone")
    return days
