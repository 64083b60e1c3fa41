"""Counts by region and age group as the table that an `epi.AgeComposition` reads."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

__all__ = ["odds_of_ages"]


def odds_of_ages(counts: pd.DataFrame, week_ending: date, of: str) -> pd.DataFrame:
    """Odds of each age group against the younger ones, by region; no row where either has no event.

    Args:
        counts: events, one row a region (index) and one column an age group, from the youngest on.
        week_ending: end of the week up to which events count.
        of: name of the stream of events, as `AgeComposition.of`.

    Returns:
        Rows `week_ending, <of>_cell, odds`.

    Examples:
        >>> odds_of_ages(pd.DataFrame([[2, 4, 3]], ["North"], ["0-19", "20-59", "60+"]), date(2030, 3, 2), "deaths")["odds"].tolist()
        [2.0, 0.5]
    """
    groups, rows = list(counts.columns), []
    for region, line in zip(counts.index, counts.to_numpy(float), strict=True):
        younger = np.cumsum(line)
        for i, group in enumerate(groups[1:], start=1):
            if line[i] > 0 and younger[i - 1] > 0:
                rows.append((str(week_ending), f"{region} {group}", round(line[i] / younger[i - 1], 6)))
    return pd.DataFrame(rows, columns=["week_ending", f"{of}_cell", "odds"])
