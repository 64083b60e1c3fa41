"""Days and weeks of the study."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.errors import StudyError

START = date(2022, 1, 20)
"""Day 0: first day on which infections are seeded."""
OPEN = date(2022, 2, 7)
"""First day on which people meet outside their households; before it infections are seeded and spread at home."""
DRIFT_FROM = date(2022, 2, 7)
"""Start of the four-week steps in which transmission may drift."""
DOSES_COUNTED = date(2022, 2, 15)
"""Day from which the ages of doses of the within-host archetypes count."""
DOSES_TABLE, DOSES_KNOWN = date(2022, 2, 8), date(2022, 3, 8)
"""Day of the table of people by doses, and the last day before the forecast on which third doses were counted."""
VARIANT = date(2022, 3, 5)
"""Day on which half of the infections were BA.2, give or take the parameter `variant_midpoint`."""
RAPID_TESTS = date(2022, 2, 25)
"""First report date on which self-reported rapid antigen tests were the main test."""
OCCUPANCY_FROM = date(2022, 3, 11)
"""First day on which people in hospital were counted by district."""
FIRST_WEEK, FORECAST_DATE, LAST_WEEK = date(2022, 2, 6), date(2022, 3, 13), date(2022, 5, 29)
MASKED_WEEK = date(2022, 2, 27)
"""Rapid tests were loaded on 25 February and laboratories were days behind: this week's counts mix two regimes."""
SCHOOL_TERMS = ((date(2022, 2, 3), date(2022, 4, 14)), (date(2022, 5, 2), date(2022, 7, 8)))


def weeks(first: date = FIRST_WEEK, last: date = LAST_WEEK) -> pd.DatetimeIndex:
    """The Sundays that end the weeks from `first` to `last`."""
    return pd.date_range(first, last, freq="W-SUN", name="week")


def days_until(last: date) -> int:
    """Number of simulated days when `last` is the last of them."""
    return (last - START).days + 1


def day_of(when: date) -> int:
    """Number of a date's day, counted from `START`."""
    return (when - START).days


def fitted_weeks(index: pd.DatetimeIndex) -> NDArray[np.bool_]:
    """Which weeks the likelihood sees: up to the forecast date, without the masked one."""
    return np.asarray((index <= pd.Timestamp(FORECAST_DATE)) & (index != pd.Timestamp(MASKED_WEEK)))


def school_days(days: int) -> NDArray[np.float64]:
    """`[days]` 1 on weekdays of a school term, else 0."""
    dates = [START + timedelta(days=t) for t in range(days)]
    open_ = [d.weekday() < 5 and any(a <= d <= b for a, b in SCHOOL_TERMS) for d in dates]
    return np.array(open_, dtype=np.float64)


def weekdays(days: int) -> NDArray[np.float64]:
    """`[days]` 1 on Monday to Friday, else 0."""
    return np.array([(START + timedelta(days=t)).weekday() < 5 for t in range(days)], dtype=np.float64)


def week_matrix(days: int, index: pd.DatetimeIndex) -> NDArray[np.float64]:
    """`[week, day]` 1 where the day lies in the week.

    Raises:
        StudyError: a week ends after the last simulated day.
    """
    out = np.zeros((len(index), days))
    for row, sunday in enumerate(index):
        end = day_of(sunday.date())
        if end >= days:
            raise StudyError(
                f"The week ending {sunday.date()} lies beyond the {days} simulated days; simulate at least {end + 1} days."
            )
        out[row, max(0, end - 6) : end + 1] = 1.0
    return out
