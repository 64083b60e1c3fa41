"""Which parameters the data did not move: posterior and prior are alike within Monte Carlo noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import kolmogi
from scipy.stats import norm

Array = NDArray[np.float64]

MIN_EFFECTIVE = 100
"""Fewer draws than this cannot tell a posterior from a prior half a standard deviation away."""

MIN_DISTANCE = 0.05
"""Distances below this matter to nobody: that of a shift by an eighth of a standard deviation."""


@dataclass(frozen=True, eq=False)
class PriorDistance:
    """How far the posterior of each parameter lies from its prior; arrays are `[parameter]`.

    Attributes:
        names: Of the parameters.
        distance: Largest difference of the two distribution functions, 0 if alike and 1 if apart (Kolmogorov-Smirnov).
        noise: What draws of one distribution show in 1 of 100 parameters.
        unmoved: Names of those whose distance is no larger than the noise, or than 0.05.
    """

    names: tuple[str, ...]
    distance: Array
    noise: Array
    unmoved: tuple[str, ...]


def prior_distance(
    posterior: ArrayLike,
    names: Sequence[str],
    *,
    prior: ArrayLike | None = None,
    effective: ArrayLike | None = None,
) -> PriorDistance:
    """Compare the posterior of each parameter with its prior and name those that the data did not move.

    The measure depends on the order of the draws alone, so units, bounds and heavy tails do not matter. Each parameter is seen
    by itself: data may tie two parameters together and move neither.

    Args:
        posterior: `[draw, parameter]` independent draws.
        names: Of the parameters.
        prior: `[draw, parameter]` independent draws of the prior; if None, `posterior` holds z, standard normal under the prior.
        effective: `[parameter]` or one number: how many independent draws `posterior` is worth, for chains or weighted draws;
            their number by default.

    Returns:
        Distances, noise and names.

    Raises:
        ValueError: Shapes disagree, a draw is not finite, or the draws are worth fewer than 100.

    References:
        Two-sample Kolmogorov-Smirnov statistic with its asymptotic distribution.

    Examples:
        >>> import numpy as np
        >>> z = np.random.default_rng(0).standard_normal((400, 2)) * [1.0, 0.3]
        >>> prior_distance(z, ["delay", "rate"]).unmoved
        ('delay',)
    """
    draws = _draws("posterior", posterior, names)
    reference = None if prior is None else _draws("prior", prior, names)
    worth = np.broadcast_to(np.asarray(len(draws) if effective is None else effective, dtype=np.float64), len(names))
    if not np.all(worth >= MIN_EFFECTIVE) or (reference is not None and len(reference) < MIN_EFFECTIVE):
        least = min(float(worth.min()), len(draws) if reference is None else len(reference))
        raise ValueError(
            f"Prior or posterior draws are worth {least:.0f} independent ones; telling whether data moved a parameter "
            f"takes {MIN_EFFECTIVE}: draw more."
        )
    distance = np.array(
        [_distance(column, None if reference is None else reference[:, i]) for i, column in enumerate(draws.T)]
    )
    spare = 0.0 if reference is None else 1.0 / len(reference)
    noise = kolmogi(0.01) * np.sqrt(1.0 / np.minimum(worth, len(draws)) + spare)
    still = distance <= np.maximum(noise, MIN_DISTANCE)
    return PriorDistance(tuple(names), distance, noise, tuple(n for n, s in zip(names, still, strict=True) if s))


def _draws(name: str, values: ArrayLike, names: Sequence[str]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise ValueError(f"{name} has shape {array.shape}; expected [draw, parameter] with {len(names)} parameters.")
    bad = int((~np.isfinite(array)).any(axis=1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(array)} {name} draws are not finite; leave them out, and count them.")
    return array


def _distance(posterior: Array, prior: Array | None) -> float:
    """Largest difference of the distribution function of draws from that of other draws, or of N(0, 1)."""
    x = np.sort(posterior)
    if prior is None:
        exact, steps = norm.cdf(x), np.arange(len(x) + 1) / len(x)
        return float(max((steps[1:] - exact).max(), (exact - steps[:-1]).max()))
    y = np.sort(prior)
    both = np.concatenate([x, y])
    below = np.searchsorted(x, both, side="right") / len(x) - np.searchsorted(y, both, side="right") / len(y)
    return float(np.abs(below).max())
