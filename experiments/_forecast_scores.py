"""Scores of forecasts against what happened: normalised deviation, errors, weighted interval score, coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calib import covered, weighted_interval_score

Floats = NDArray[np.float64]


def normalised_deviation(point: Floats, truth: Floats) -> float:
    """`sum |forecast - truth| / sum |truth|` over all entries with a truth; NaN where all truths are zero."""
    known = np.isfinite(truth)
    total = float(np.abs(truth[known]).sum())
    return float(np.abs(point - truth)[known].sum()) / total if total else float("nan")


def errors(point: Floats, truth: Floats, name: str = "") -> dict[str, float]:
    """Normalised deviation, root mean squared error, and mean absolute error of point forecasts."""
    off = (point - truth)[np.isfinite(truth)]
    return {
        f"nd{name}": normalised_deviation(point, truth),
        f"rmse{name}": float(np.sqrt((off**2).mean())),
        f"mae{name}": float(np.abs(off).mean()),
    }


def intervals(
    quantiles: Floats, truth: Floats, baseline: Floats, levels: Sequence[float], name: str = ""
) -> dict[str, float]:
    """Weighted interval score, that relative to a baseline's, and coverage of the central 50 and 95 %.

    Args:
        quantiles: `[..., level]`.
        truth: `[...]`.
        baseline: quantiles of the baseline.
        levels: along the last axis.
        name: end of the scores' names.
    """
    own = weighted_interval_score(quantiles, truth, levels).wis
    other = weighted_interval_score(baseline, truth, levels).wis
    return {
        f"wis{name}": float(np.nanmean(own)),
        f"relative_wis{name}": float(np.nanmean(own) / np.nanmean(other)),
        f"coverage_50{name}": float(np.nanmean(covered(quantiles, truth, 0.5, levels))),
        f"coverage_95{name}": float(np.nanmean(covered(quantiles, truth, 0.95, levels))),
    }
