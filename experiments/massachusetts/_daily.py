"""From expected deaths of a week to deaths of its days: weekdays, and how days scatter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.massachusetts._data import History

RECENT = 8
"""Weeks from which the profile of weekdays is taken."""
PRIOR_DEATHS = 140.0
"""Deaths, even over the week, that the profile starts from."""
PRIOR_CELLS, PRIOR_DISPERSION = 70.0, 2.0
"""County-days, and their variance over mean, that the overdispersion of days starts from."""


@dataclass(frozen=True, eq=False)
class Days:
    """How deaths of a week fall on its days.

    Attributes:
        profile: `[weekday]` from Sunday on, sum 1.
        dispersion: variance over mean of a day's count given its expectation, at least 1.
    """

    profile: NDArray[np.float64]
    dispersion: float

    @staticmethod
    def learn(history: History) -> Days:
        """From the last weeks of all counties together."""
        weeks = min(RECENT, history.weeks)
        deaths = history.deaths.reshape(history.weeks, 7, -1)[-weeks:]
        counted = np.nansum(np.maximum(deaths, 0.0), axis=(0, 2))
        profile = counted + PRIOR_DEATHS / 7
        profile = profile / profile.sum()
        mean = np.maximum(np.nansum(deaths, axis=1, keepdims=True), 0.0) * profile[:, None]
        keep = (mean > 0) & np.isfinite(deaths) & (deaths >= 0)
        # six of a week's seven days are free
        square = ((deaths - mean) ** 2 / np.where(mean > 0, mean, 1.0))[keep] * 7 / 6
        # dumps of one day count as much as ten times the usual
        total = float(np.minimum(square, 10 * PRIOR_DISPERSION).sum())
        count = int(keep.sum())
        dispersion = (total + PRIOR_CELLS * PRIOR_DISPERSION) / (count + PRIOR_CELLS)
        return Days(profile, max(1.05, dispersion))

    def draw(self, weekly: NDArray[np.float64], generator: np.random.Generator, copies: int = 8) -> NDArray[np.float64]:
        """Daily counts `[draw * copies, county, day]` at expected deaths `weekly [draw, week, county]`."""
        mean = (np.maximum(weekly, 1e-9)[..., None] * self.profile).repeat(copies, 0)  # [draw, week, county, weekday]
        mean = mean.transpose(0, 2, 1, 3).reshape(len(mean), weekly.shape[2], -1)
        excess = self.dispersion - 1
        return generator.poisson(generator.gamma(mean / excess, excess)).astype(float)
