"""Tables of the ten counties up to a week, and the weeks of the protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HERE = Path(__file__).parent
START = date(2020, 2, 16)
"""First simulated day, a Sunday."""
FORECAST_WEEKS = tuple(range(202014, 202031, 2))
HORIZON = 4
"""Weeks that are forecast."""
SERIES = ("deaths", "cases", "doctor_visits", "covid_like_illness")


def week_end(epiweek: int) -> date:
    """The Saturday that ends an epidemic week (weeks of the CDC: week 1 holds 4 January).

    >>> week_end(202014)
    datetime.date(2020, 4, 4)
    """
    year, week = divmod(epiweek, 100)
    fourth = date(year, 1, 4)
    first_sunday = fourth - timedelta(days=(fourth.weekday() + 1) % 7)
    return first_sunday + timedelta(days=7 * week - 1)


@dataclass(frozen=True, eq=False)
class History:
    """What is known at the end of a week, by day from `START`.

    Attributes:
        counties: names (FIPS codes).
        people: `[county, age]`.
        deaths, cases: `[day, county]` new ones; NaN where not reported, below zero where earlier counts were corrected.
        doctor_visits, covid_like_illness: `[day, county]` per cent of visits; NaN where not reported.
    """

    counties: tuple[str, ...]
    people: NDArray[np.float64]
    deaths: NDArray[np.float64]
    cases: NDArray[np.float64]
    doctor_visits: NDArray[np.float64]
    covid_like_illness: NDArray[np.float64]

    @property
    def days(self) -> int:
        """Days known, a multiple of seven."""
        return len(self.deaths)

    @property
    def weeks(self) -> int:
        """Weeks known."""
        return self.days // 7

    @property
    def last_day(self) -> date:
        """The last day known."""
        return START + timedelta(days=self.days - 1)

    def until(self, epiweek: int) -> History:
        """What is known at the end of a week: everything later is dropped.

        Raises:
            ValueError: the tables end before.
        """
        days = (week_end(epiweek) - START).days + 1
        if days > self.days:
            raise ValueError(
                f"the tables end on {self.last_day}, and week {epiweek} on {week_end(epiweek)}: choose an earlier week, or add rows."
            )
        return replace(self, **{name: getattr(self, name)[:days].copy() for name in SERIES})

    def weekly(self, name: str) -> NDArray[np.float64]:
        """`[week, county]` sums of a series of counts; NaN where a day is missing or the sum is below zero (corrections)."""
        sums = getattr(self, name).reshape(self.weeks, 7, -1).sum(1)
        return np.where(sums < 0, np.nan, sums)


def weekly_tables(history: History) -> dict[str, pd.DataFrame]:
    """Deaths and cases by week and county as `epi` reads them, `{file: table}`; weeks with a sum below zero are left out."""
    ends = pd.date_range(START, periods=history.weeks, freq="7D") + pd.Timedelta(days=6)
    tables = {}
    for name in ("deaths", "cases"):
        wide = pd.DataFrame(history.weekly(name), index=ends.strftime("%Y-%m-%d"), columns=list(history.counties))
        long = wide.rename_axis(index="week_ending", columns="county").stack().dropna().rename(name).reset_index()
        tables[f"{name}_county.csv"] = long.astype({name: int})
    return tables


def read(folder: Path = HERE / "data") -> History:
    """Read the tables, whole.

    Raises:
        ValueError: a day or a county is missing.
    """
    table = pd.read_csv(folder / "daily.csv", dtype={"county": str}, parse_dates=["date"])
    people = pd.read_csv(folder / "population.csv", dtype={"county": str}).set_index("county")
    counties = tuple(people.index)
    wide = {}
    days = pd.date_range(START, table["date"].max(), name="date")
    for name in SERIES:
        one = table.pivot(index="date", columns="county", values=name)
        if set(counties) - set(one.columns) or len(days.difference(one.index)):
            raise ValueError(
                f"daily.csv lacks a county or a day from {START} on: give one row for each county and day."
            )
        wide[name] = one.loc[days, list(counties)].to_numpy(float)
    for name in ("deaths", "cases"):  # reports begin with the first case
        wide[name] = np.where(_before(wide[name]), 0.0, wide[name])
    return History(counties, people.to_numpy(float), **wide)


def _before(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Days without a report before the first report of any county."""
    first = int(np.argmax(~np.isnan(values).all(1)))
    return np.isnan(values) & (np.arange(len(values)) < first)[:, None]
