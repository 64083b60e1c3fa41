"""Delays as matrices between days, and reporting matrices between days and weeks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

from epi.study import Delay

__all__ = ["delay_matrix", "lag_mass", "stay_matrix"]


def lag_mass(delay: Delay) -> NDArray[np.float64]:
    """`[lag]` share of events that follow after a whole number of days, up to the longest delay and one more; sum 1.

    Both ends lie anywhere in their days, so a lag of k days has the delays between k - 1 and k + 1, most of all k: the mean is kept.

    Examples:
        >>> mass = lag_mass(Delay(5.0, 2.2))
        >>> round(float(mass @ np.arange(len(mass))), 2)
        5.0
    """
    mean, shape, scale = delay.mean, (delay.mean / delay.sd) ** 2, delay.sd**2 / delay.mean
    x = np.arange(-1, delay.longest + 2).clip(0)
    # the integral of the distribution function, whose second differences are the mass of a lag
    total = x * gamma.cdf(x, shape, scale=scale) - mean * gamma.cdf(x, shape + 1, scale=scale)
    mass: NDArray[np.float64] = np.diff(total, 2)
    mass /= mass.sum()
    return mass


def delay_matrix(days: int, delay: Delay) -> NDArray[np.float64]:
    """`[T, T]` share of the events of a day (row) that are followed on a day (column); rows sum to 1 where the delay fits the days left.

    What would follow after the last day is missing: with the days up to now it is the share that is known by now (right truncation).
    """
    return _by_lag(days, lag_mass(delay))


def stay_matrix(days: int, stay: Delay) -> NDArray[np.float64]:
    """`[T, T]` people there on a day (column) for each who came on a day (row), in all on one day."""
    left = gamma.sf(np.arange(stay.longest + 1), (stay.mean / stay.sd) ** 2, scale=stay.sd**2 / stay.mean)
    return _by_lag(days, left / left.sum())


def _by_lag(days: int, mass: NDArray[np.float64]) -> NDArray[np.float64]:
    lag = np.arange(days) - np.arange(days)[:, None]
    return np.where((lag >= 0) & (lag < len(mass)), mass[np.clip(lag, 0, len(mass) - 1)], 0.0)
