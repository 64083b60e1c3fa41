"""Write the compact tables of the study from folders of public source tables.

    python -m experiments.massachusetts.build_tables SOURCE CONTACTS [--output FOLDER]

SOURCE holds `county_daily.csv` and `population_county_age.csv`, CONTACTS is the table of contacts by setting; `data/README.md` names the origin
and licence of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from calib import atomic_write_csv
from epi.population import household_types_from_sizes
from experiments.massachusetts._data import read, weekly_tables

HERE = Path(__file__).parent
COUNTIES = ("25001", "25003", "25005", "25009", "25011", "25013", "25015", "25021", "25023", "25027")
FIRST, LAST = "2020-02-01", "2020-08-22"
SIZES = (26.7, 32.8, 16.1, 13.4, 6.5, 2.6, 1.8)
"""Per cent of households of the United States with 1, 2, ..., 6 and 7 or more members (2010 census); see `data/README.md`."""
WEIGHTS = {"school": 11.41, "work": 8.07, "community": 2.79}
"""Contacts a day for each unit of frequency of a setting (Mistry et al. 2021)."""
BREAKS = (0, 20, 30, 40, 50, 60, 70, 80)
COLUMNS = {"deaths": "deaths", "cases": "cases", "doctor_visits_percent": "doctor_visits", "wcli": "covid_like_illness"}


def daily(source: Path) -> pd.DataFrame:
    """Deaths, cases, doctor visits and emergency visits by day and county."""
    table = pd.read_csv(source / "county_daily.csv", dtype={"county": str})
    table = table[table["county"].isin(COUNTIES) & table["date"].between(FIRST, LAST)]
    table = table.rename(columns=COLUMNS)[["date", "county", *COLUMNS.values()]]
    for column in ("deaths", "cases"):
        table[column] = table[column].astype("Int64")
    rounded = table.round({"doctor_visits": 3, "covid_like_illness": 3})
    return rounded.sort_values(["date", "county"])


def population(source: Path) -> pd.DataFrame:
    """People by county (rows) and age band (columns)."""
    table = pd.read_csv(source / "population_county_age.csv", dtype={"county": str})
    wide = table.pivot(index="county", columns="age_band", values="population").loc[list(COUNTIES)]
    return wide.reset_index()


def households(people: pd.DataFrame) -> pd.DataFrame:
    """Types of household drawn from sizes and ages."""
    bands = list(people.columns[1:])
    types, counts = household_types_from_sizes(np.array(SIZES), people[bands].sum().to_numpy(float), 1, count=4000)
    return pd.DataFrame(types, columns=bands).assign(households=counts)


def contacts(path: Path, bands: list[str]) -> pd.DataFrame:
    """Contacts a day outside the home by age band, at school, work and in the community."""
    table = pd.read_csv(path)
    total = pd.DataFrame()
    for setting, weight in WEIGHTS.items():
        wide = weight * table[table["setting"] == setting].pivot(
            index="age_of_individual", columns="age_of_contact", values="value"
        )
        total = wide if total.empty else total + wide
    first = [int(name.split("-")[0].rstrip("+")) for name in total.index]
    band = np.array([bands[sum(b <= age for b in BREAKS) - 1] for age in first])
    by_individual = total.groupby(band).mean()
    joined = (
        by_individual.T.groupby(np.array([band[list(total.index).index(c)] for c in by_individual.columns])).sum().T
    )
    return joined.loc[bands, bands].round(4).rename_axis("age_band").reset_index()


def main() -> None:
    """Read the source tables and write every table atomically."""
    parser = argparse.ArgumentParser(description="Write the compact tables of the Massachusetts study.")
    parser.add_argument("source", type=Path, help="folder with the source tables")
    parser.add_argument("contacts", type=Path, help="table of contacts by setting and age")
    parser.add_argument("--output", type=Path, default=HERE / "data", help="folder to write to")
    arguments = parser.parse_args()
    people = population(arguments.source)
    made = {
        "daily.csv": daily(arguments.source),
        "population.csv": people,
        "households.csv": households(people),
        "contacts.csv": contacts(arguments.contacts, list(people.columns[1:])),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, table in made.items():
        atomic_write_csv(arguments.output / name, table)
    for name, table in weekly_tables(read(arguments.output)).items():
        atomic_write_csv(arguments.output / name, table)
    for name in (*made, "deaths_county.csv", "cases_county.csv"):
        print(f"{name:18s} {(arguments.output / name).stat().st_size / 1000:7.1f} kB")


if __name__ == "__main__":
    main()
