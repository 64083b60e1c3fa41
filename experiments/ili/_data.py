"""Influenza-like illness of the state: earlier seasons, and the season forecast up to a week."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HERE = Path(__file__).parent
STATE = "MA"
FIRST_WEEK = 201740
WEEKS = 35
"""Weeks of a season, from week 40 on."""
HORIZON = 4
FORECAST_WEEKS = (*range(201746, 201753, 2), *range(201802, 201819, 2))
SEARCHES = ("search_fever", "search_cough", "search_sore_throat", "search_fatigue", "search_shortness_of_breath")
"""Symptom searches taken as covariates."""


def place(epiweek: int) -> int:
    """Weeks after week 40 of a season, counted through the end of the year.

    >>> [place(w) for w in (201740, 201752, 201801)]
    [0, 12, 13]
    """
    year, week = divmod(epiweek, 100)
    return week - 40 if week >= 40 else week + _weeks_in(year - 1) - 40


def _weeks_in(year: int) -> int:
    """Epidemic weeks of a year: 53 where 4 January of the next lies eight days or more after the end of week 52."""
    first, after = (_first_sunday(y) for y in (year, year + 1))
    return (after - first).days // 7


def _first_sunday(year: int) -> date:
    fourth = date(year, 1, 4)
    return date.fromordinal(fourth.toordinal() - (fourth.weekday() + 1) % 7)


def epiweek_at(index: int, year: int = 2017) -> int:
    """The inverse of `place` in the season that begins in a year."""
    last = _weeks_in(year) - 40
    return year * 100 + 40 + index if index <= last else (year + 1) * 100 + index - last


@dataclass(frozen=True, eq=False)
class Season:
    """What is known at the end of a week.

    Attributes:
        past: `[season, week]` per cent of visits in earlier seasons; NaN where not known.
        ill: `[week]` of this season so far.
        searches: `[week, search]` of the same weeks.
    """

    past: NDArray[np.float64]
    ill: NDArray[np.float64]
    searches: NDArray[np.float64]

    @property
    def weeks(self) -> int:
        """Weeks known."""
        return len(self.ill)

    def until(self, weeks: int) -> Season:
        """The first weeks of the season; everything later is dropped.

        Raises:
            ValueError: fewer weeks are known.
        """
        if not 0 < weeks <= self.weeks:
            raise ValueError(
                f"{weeks} weeks of the season were asked for, and {self.weeks} are known: choose from 1 to {self.weeks}."
            )
        return replace(self, ill=self.ill[:weeks].copy(), searches=self.searches[:weeks].copy())

    def all_seasons(self) -> NDArray[np.float64]:
        """`[season, WEEKS]` with this season last; NaN where not known."""
        table = np.full((len(self.past) + 1, WEEKS), np.nan)
        table[:-1] = self.past
        table[-1, : self.weeks] = self.ill
        return table


def read(folder: Path = HERE / "data") -> Season:
    """Read the tables, whole.

    Raises:
        ValueError: a week of the season is missing.
    """
    table = pd.read_csv(folder / "weekly.csv").set_index("epiweek").sort_index()
    expected = [epiweek_at(i) for i in range(len(table))]
    if list(table.index) != expected:
        raise ValueError(f"weekly.csv does not hold each week from {FIRST_WEEK} on: give one row for each week.")
    before = pd.read_csv(folder / "history.csv")
    years = sorted({w // 100 if w % 100 >= 40 else w // 100 - 1 for w in before["epiweek"]})
    past = np.full((len(years), WEEKS), np.nan)
    for epiweek, value in zip(before["epiweek"], before["ili_percent"], strict=True):
        year = epiweek // 100 if epiweek % 100 >= 40 else epiweek // 100 - 1
        past[years.index(year), place(int(epiweek))] = value
    return Season(past, table["ili_percent"].to_numpy(float), table[list(SEARCHES)].to_numpy(float))


def without(season: Season, left: int) -> Season:
    """An earlier season in the place of this one, and the other earlier ones as its past: for validation. It has no searches."""
    own = season.past[left]
    known = own[: int(np.isfinite(own).sum())]
    return Season(np.delete(season.past, left, 0), known, np.zeros((len(known), len(SEARCHES))))
