"""The forecast-hub format: 23 quantile levels and one row a quantile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

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


def quantile_table(draws: ArrayLike, levels: Sequence[float] = HUB_LEVELS) -> NDArray[np.float64]:
    """Quantiles of predictive draws.

    Args:
        draws: `[draw, ...]`, finite.
        levels: Quantile levels in (0, 1), ascending.

    Returns:
        `[..., level]`, non-decreasing along the last axis (linear interpolation between order statistics).

    Raises:
        ValueError: There is no draw, or a draw is not finite.
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
    reference_date: date | str,
    target: str,
    locations: Sequence[str],
    horizons: Sequence[int] | None = None,
    levels: Sequence[float] = HUB_LEVELS,
) -> pd.DataFrame:
    """One row a quantile, in the columns that forecast hubs read.

    Args:
        quantiles: `[horizon, location, level]`, in the target's units.
        reference_date: The date that ends the last week with data; horizon h ends 7 h days later.
        target: What is forecast, for instance `"cases_district"`.
        locations: Names along the location axis.
        horizons: Weeks ahead along the horizon axis; 1, 2, ... by default.
        levels: Levels along the last axis.

    Returns:
        A frame with the columns `HUB_COLUMNS`, ordered by horizon, location, level.

    Raises:
        ValueError: The shape does not agree with the names.
    """
    values = np.asarray(quantiles, dtype=np.float64)
    steps = list(range(1, values.shape[0] + 1)) if horizons is None else [int(h) for h in horizons]
    expected = (len(steps), len(locations), len(levels))
    if values.shape != expected:
        raise ValueError(
            f"Quantiles of {target} have shape {values.shape}; expected [horizon, location, level] = {expected}."
        )
    start = date.fromisoformat(reference_date) if isinstance(reference_date, str) else reference_date
    horizon, location, level = (axis.ravel() for axis in np.indices(expected))
    ends = [(start + timedelta(days=7 * h)).isoformat() for h in steps]
    return pd.DataFrame(
        {
            "reference_date": start.isoformat(),
            "target": target,
            "horizon": np.asarray(steps)[horizon],
            "target_end_date": np.asarray(ends)[horizon],
            "location": np.asarray(locations)[location],
            "output_type": "quantile",
            "output_type_id": np.asarray(levels)[level],
            "value": values.ravel(),
        },
        columns=list(HUB_COLUMNS),
    )
