"""Growth of virus in wastewater next to that of infections, never fitted: `python -m experiments.nyc_omicron.wastewater RUN SOURCE`.

Plant areas are no boroughs: the mean over plants, weighted by the people they serve, stands for the city. Shedding of an infection differs
between variants and hosts: the comparison is of growth, not of level.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd


def weekly_copies(table: pd.DataFrame) -> pd.Series:
    """Million copies a person a day by week (ending on Saturday), mean over samples of a plant, then over plants by people served.

    Args:
        table: rows `sample_date, plant_code, n1_copies_per_person_per_day, population_served`.
    """
    known = table.dropna(subset="n1_copies_per_person_per_day")
    week = pd.to_datetime(known["sample_date"]).dt.to_period("W-SAT").dt.end_time.dt.strftime("%Y-%m-%d")
    plants = (
        known.assign(week=week)
        .groupby(["week", "plant_code"])[["n1_copies_per_person_per_day", "population_served"]]
        .mean()
    )
    weighted = plants["n1_copies_per_person_per_day"] * plants["population_served"]
    total: pd.Series = weighted.groupby("week").sum() / plants["population_served"].groupby("week").sum() / 1e6
    return total


def main() -> None:
    """Print both by week, each over the first week."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("source", type=Path, help="folder with wastewater.csv")
    given = parser.parse_args()
    copies = weekly_copies(pd.read_csv(given.source / "wastewater.csv"))
    derived = pd.read_csv(given.run / "derived.csv")
    infections = derived[(derived["quantity"] == "infections") & (derived["place"] == "all")].set_index("week")[
        "median"
    ]
    both = pd.DataFrame({"copies": copies, "infections": infections}).dropna()
    growth = {f"{name}_growth": both[name] / both[name].iloc[0] for name in both}
    print(both.assign(**growth).round(2))


if __name__ == "__main__":
    main()
