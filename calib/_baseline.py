"""The forecast hubs' baseline: tomorrow is like today, as uncertain as past changes were large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib._hub import HUB_LEVELS


def baseline_quantiles(
    history: ArrayLike,
    horizons: int,
    generator: np.random.Generator,
    levels: Sequence[float] = HUB_LEVELS,
    paths: int = 20_000,
) -> NDArray[np.float64]:
    """Quantiles of a random walk on the natural scale with symmetrised past one-step differences.

    For each place the differences of successive weeks and their negatives form a distribution; steps are
    drawn from its quantile function (linear between order statistics), summed along independent paths,
    re-centred so that the median is the last observed value, and cut at 0. At horizon 1 the paths give the
    step distribution itself. This is the definition of the COVID-19 Forecast Hub's `COVIDhub-baseline`
    (Cramer et al. 2022, PNAS 119, e2113561119) as its authors' `simplets` code computes it.

    Args:
        history: Observed values `[week, place]`, oldest first, finite; at least 2 weeks.
        horizons: How many weeks ahead.
        generator: Source of the paths.
        levels: Quantile levels.
        paths: Monte Carlo paths a place.

    Returns:
        `[horizon, place, level]`; where 0.5 is a level, its quantile equals the last value exactly.

    Raises:
        ValueError: The history is too short, has the wrong shape, or holds a value that is not finite.

    Examples:
        >>> import numpy as np
        >>> from calib import baseline_quantiles
        >>> history = np.array([[10.0], [12.0], [11.0], [13.0], [12.0]])  # week, place
        >>> found = baseline_quantiles(history, 2, np.random.default_rng(0), levels=(0.05, 0.5, 0.95))
        >>> found.shape
        (2, 1, 3)
    """
    observed = np.asarray(history, dtype=np.float64)
    if observed.ndim != 2 or observed.shape[0] < 2:
        raise ValueError(
            f"The baseline's history has shape {observed.shape}; expected [week, place] with at least 2 weeks."
        )
    if not np.isfinite(observed).all():
        raise ValueError(
            "The baseline's history holds values that are not finite; pass the weeks that have data, without gaps."
        )
    if horizons < 1:
        raise ValueError(f"The baseline was asked for {horizons} horizons; ask for at least 1.")
    result = np.empty((horizons, observed.shape[1], len(levels)))
    for place, series in enumerate(observed.T):
        differences = np.diff(series)
        symmetric = np.concatenate([differences, -differences])
        steps = np.quantile(symmetric, generator.random((paths, horizons)))
        walk = np.cumsum(steps, axis=1)
        walk += series[-1] - np.median(walk, axis=0)
        result[:, place] = np.quantile(np.maximum(walk, 0.0), np.asarray(levels), axis=0).T
    median = np.isclose(np.asarray(levels), 0.5)
    result[:, :, median] = observed[-1][None, :, None]  # the median of paths is within rounding of it
    return result
