"""How much of the last weeks was known when they were published: `python -m experiments.nyc_omicron.completeness SOURCE`.

Prints, for cases, admissions and confirmed deaths of the city, the share of a week that its first and later reports held, from the weekly
publications of 26 November 2021 to 1 January 2022: where the priors of `study.KNOWN` come from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from epi.data import share_known

FIRST = pd.Timestamp("2021-11-26")
REPORTS = {"cases": 3, "admissions": 4, "deaths": 3}
"""Reports that are followed after a week's first."""


def weekly_vintages(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """`[publication, week]` sums of the city's weeks that a publication holds whole and that ended after the first publication's horizon.

    Args:
        table: rows `published, date, borough, <column>`, with dates as timestamps.
        column: of the counts.
    """
    city = table[(table["borough"] == "Citywide") & (table["published"] >= FIRST)]
    city = city.assign(week=city["date"].dt.to_period("W-SAT").dt.end_time.dt.normalize())
    grouped = city.groupby(["published", "week"])[column]
    sums = grouped.sum().where(grouped.size() == 7)
    # a week's first report is its first only where an earlier publication could have held it and did not
    return sums.unstack().loc[:, FIRST - pd.Timedelta(days=8) :].dropna(axis=1, how="all")


def completeness(source: Path) -> dict[str, pd.DataFrame]:
    """`share_known` of each count, from a folder with `vintages_daily.csv`."""
    table = pd.read_csv(source / "vintages_daily.csv", parse_dates=["published", "date"])
    table = table.assign(
        cases=table["confirmed_cases"] + table["probable_cases"].fillna(0),
        admissions=table["hospitalisations"],
        deaths=table["deaths_confirmed"],
    )
    return {name: share_known(weekly_vintages(table, name), n) for name, n in REPORTS.items()}


def main() -> None:
    """Print the shares, and their log odds with the sd that one sd of the logarithm makes of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("source", type=Path, help="folder with vintages_daily.csv")
    for name, table in completeness(parser.parse_args().source).items():
        inside = table[table["known"] < 1]
        odds = np.log(inside["known"] / (1 - inside["known"]))
        print(name)
        print(inside.assign(log_odds=odds, odds_sd=inside["log_sd"] / (1 - inside["known"])).round(3).to_string())


if __name__ == "__main__":
    main()
