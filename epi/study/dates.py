"""Days and weeks of a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.errors import StudyError

__all__ = ["Calendar", "Period"]

Period = tuple[date, date]
"""First and last day, both in it."""

_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclass(frozen=True)
class Calendar:
    """Days and weeks of a study. A week is named by the day on which it ends.

    Attributes:
        start: day 0.
        first_week: first week with data.
        forecast_from: last week that the likelihood may use; the forecast begins on the day after.
        last_week: last week of the forecast.
        open_from: first day on which people meet outside their households; None for `start`.
        masked_weeks: weeks left out of the likelihood of streams that are `masked`.
        masked_because: why, as the end of a sentence that begins with "because".
        school_terms: first and last day of each term; a school is open on their weekdays.

    Examples:
        >>> from datetime import date
        >>> c = Calendar(date(2000, 1, 1), date(2000, 1, 9), date(2000, 2, 6), date(2000, 3, 5))
        >>> c.days, len(c.weeks())
        (65, 9)
    """

    start: date
    first_week: date
    forecast_from: date
    last_week: date
    open_from: date | None = None
    masked_weeks: tuple[date, ...] = ()
    masked_because: str = ""
    school_terms: tuple[Period, ...] = ()

    def __post_init__(self) -> None:
        if not self.start <= self.first_week <= self.forecast_from <= self.last_week:
            raise StudyError(
                f"Calendar goes from start {self.start} over first_week {self.first_week} and forecast_from {self.forecast_from} "
                f"to last_week {self.last_week}, expected days in this order; correct the one out of place."
            )
        ends = {
            "forecast_from": self.forecast_from,
            "last_week": self.last_week,
            **{f"masked_weeks[{i}]": week for i, week in enumerate(self.masked_weeks)},
        }
        for name, week in ends.items():
            if (week - self.first_week).days % 7:
                raise StudyError(
                    f"Calendar {name} is {week}, a {week:%A}, and weeks end on a {self.first_week:%A} as first_week does; "
                    "name weeks by the day that ends them."
                )
        if not self.start <= self.opened <= self.last_week:
            raise StudyError(f"Calendar open_from is {self.open_from}, expected a day from start on; correct it.")
        for i, (first, last) in enumerate(self.school_terms):
            if first > last:
                raise StudyError(f"Calendar school_terms[{i}] goes from {first} to {last}; put its first day first.")

    @property
    def opened(self) -> date:
        """First day on which people meet outside their households."""
        return self.open_from or self.start

    @property
    def days(self) -> int:
        """Number of days to the end of the last week."""
        return self.days_until(self.last_week)

    @property
    def frequency(self) -> str:
        """The weeks as pandas calls them, such as "W-SUN"."""
        return f"W-{_DAYS[self.first_week.weekday()]}"

    def weeks(self, last: date | None = None) -> pd.DatetimeIndex:
        """The days that end the weeks from `first_week` to `last` (default `last_week`)."""
        return pd.date_range(self.first_week, last or self.last_week, freq=self.frequency, name="week")

    def days_until(self, last: date) -> int:
        """Number of simulated days when `last` is the last of them."""
        return (last - self.start).days + 1

    def day_of(self, when: date) -> int:
        """Number of a date's day, counted from `start`."""
        return (when - self.start).days

    def date_of(self, day: int) -> date:
        """The date of a day."""
        return self.start + timedelta(days=day)

    def masked(self, index: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """Which weeks are masked."""
        return np.asarray(index.isin(pd.DatetimeIndex([pd.Timestamp(w) for w in self.masked_weeks])))

    def early(self, index: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """Which weeks end by the forecast date."""
        return np.asarray(index <= pd.Timestamp(self.forecast_from))

    def fitted_weeks(self, index: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """Which weeks the likelihood of a masked stream uses: up to the forecast date, without the masked ones."""
        return self.early(index) & ~self.masked(index)

    def since(self, days: int, when: date) -> NDArray[np.float64]:
        """`[days]` 1 from a date on, 0 before."""
        return (np.arange(days) >= self.day_of(when)).astype(np.float64)

    def school_days(self, days: int) -> NDArray[np.float64]:
        """`[days]` 1 on weekdays of a school term, else 0; without terms, 1 on every weekday."""
        if not self.school_terms:
            return self.weekdays(days)
        dates = [self.date_of(t) for t in range(days)]
        open_ = [d.weekday() < 5 and any(a <= d <= b for a, b in self.school_terms) for d in dates]
        return np.array(open_, dtype=np.float64)

    def weekdays(self, days: int) -> NDArray[np.float64]:
        """`[days]` 1 on Monday to Friday, else 0."""
        return np.array([self.date_of(t).weekday() < 5 for t in range(days)], dtype=np.float64)

    def open_days(self, when: str, days: int) -> NDArray[np.float64]:
        """`[days]` 1 where a venue is open: "school" days, "weekdays", or "always"."""
        return {"school": self.school_days, "weekdays": self.weekdays, "always": lambda n: np.ones(n)}[when](days)

    def week_matrix(self, days: int, index: pd.DatetimeIndex) -> NDArray[np.float64]:
        """`[week, day]` 1 where the day lies in the week.

        Raises:
            StudyError: a week ends after the last simulated day.
        """
        out = np.zeros((len(index), days))
        for row, last in enumerate(index):
            end = self.day_of(last.date())
            if end >= days:
                raise StudyError(
                    f"The week ending {last.date()} lies beyond the {days} simulated days; simulate at least {end + 1} days."
                )
            out[row, max(0, end - 6) : end + 1] = 1.0
        return out
