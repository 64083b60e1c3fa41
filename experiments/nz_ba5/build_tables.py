"""Write the compact tables of the BA.5 study from a folder of public source tables.

    python -m experiments.nz_ba5.build_tables SOURCE_FOLDER [--output FOLDER]

The source tables are tidy copies of public files; `data/README.md` names the origin and licence of each. Two tables are estimates and say
how they are made: `vaccination` and `prior_infections`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments._tables import write_tables
from experiments.nz_ba5.study import COUNTED_ON, DOSES_ON, study

DISTRICTS, BANDS = study.region.names, study.ages.names
START, OPEN = pd.Timestamp(study.calendar.start), pd.Timestamp(study.calendar.opened)
REPORT = pd.Timedelta(days=5)
"""From infection to report, the mean of the study's delay."""
FIRST_CASE = pd.Timestamp("2022-01-25")
"""First day of the table by age."""
FIRST_WEEK, LAST_WEEK = "2022-05-29", str(study.calendar.last_week)
WHOLE = {"5-11": {0: 5 / 7, 1: 2 / 7}, "12-17": {1: 1.0}, "18-24": {1: 2 / 7, 2: 5 / 7}}
"""Bands of the register that are no part of a ten-year band, split by years."""

Source = dict[str, pd.DataFrame]
Floats = NDArray[np.float64]


def ten_year_band(band: str) -> str:
    """The ten-year band that holds a narrower one: `"15-19" -> "10-19"`."""
    return BANDS[min(int(band.rstrip("+").split("-")[0]) // 10, 7)]


def weekly(table: pd.DataFrame) -> pd.DataFrame:
    """Replace `date` by the Sunday that ends its week and keep the study's weeks."""
    end = pd.to_datetime(table["date"]).dt.to_period("W-SUN").dt.end_time.dt.strftime("%Y-%m-%d")
    return table.assign(week_ending=end).drop(columns="date")[end.between(FIRST_WEEK, LAST_WEEK)]


def in_order(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows by week or date, then district and age band in the study's order."""
    rank = {name: i for i, name in enumerate((*DISTRICTS, *BANDS))}
    return table.sort_values(keys, key=lambda c: c.map(rank) if c.name in ("district", "age_band") else c)


def cases_district(source: Source) -> pd.DataFrame:
    """Reported cases by week and district; `Unknown`, `Border` and the national total are left out."""
    table = source["cases_daily_district"]
    table = weekly(table[table["district"].isin(DISTRICTS)])
    keys = ["week_ending", "district"]
    return in_order(table.groupby(keys, as_index=False)["cases"].sum(), keys)


def cases_age(source: Source) -> pd.DataFrame:
    """Cases by report date, admissions by day of admission and deaths by day of death, by week and age."""
    table, keys = weekly(source["cases_daily_age"]), ["week_ending", "age_band"]
    return in_order(table.groupby(keys, as_index=False)[["cases", "admissions", "deaths"]].sum(), keys)


def border_cohort(source: Source) -> pd.DataFrame:
    """New infections per 1,000 tested border workers of the country."""
    table = source["border_worker_incidence_weekly"]
    table = table[(table["region"] == "National") & table["week_ending"].between(FIRST_WEEK, LAST_WEEK)]
    return table[["week_ending", "region", "border_workers_per_1000"]]


def importations(source: Source) -> pd.DataFrame:
    """Reported cases of each district and week, spread evenly over its days and put back by the report delay: a first guess of infections."""
    table = source["cases_daily_district"]
    wide = table.assign(date=pd.to_datetime(table["date"]) - REPORT).pivot(
        index="date", columns="district", values="cases"
    )
    wide = wide.loc[START : OPEN - pd.Timedelta(days=1), list(DISTRICTS)]
    week = (wide.index - START).days // 7
    even = wide.groupby(week).transform("mean").round(2)
    long = even.rename_axis(columns="district").stack().rename("infections").reset_index()
    return in_order(long.assign(date=long["date"].dt.strftime("%Y-%m-%d")), ["date", "district"])


def prior_infections(source: Source) -> pd.DataFrame:
    """Reported cases infected by `COUNTED_ON`, by district and age, and mean days from infection to that day.

    Only the two margins were published: people by district and age, fitted to both in turn (iterative proportional fitting).
    """
    last = pd.Timestamp(COUNTED_ON) + REPORT

    def reported(name: str) -> pd.DataFrame:
        table = source[name].assign(date=pd.to_datetime(source[name]["date"]))
        return table[table["date"].between(FIRST_CASE, last)]

    by_district = reported("cases_daily_district")
    by_district = by_district.assign(days=(last - by_district["date"]).dt.days * by_district["cases"])
    sums = by_district.groupby("district")[["cases", "days"]].sum().loc[list(DISTRICTS)]
    rows = sums["cases"].to_numpy(float)
    columns = reported("cases_daily_age").groupby("age_band")["cases"].sum().loc[list(BANDS)].to_numpy(float)
    cells = people(source).copy()
    for _ in range(200):
        cells *= (rows / cells.sum(1))[:, None]
        cells *= columns * rows.sum() / columns.sum() / cells.sum(0)
    days = (sums["days"] / sums["cases"]).round(1)
    return pd.DataFrame(
        [(d, a, int(cells[i, j].round()), days.iloc[i]) for i, d in enumerate(DISTRICTS) for j, a in enumerate(BANDS)],
        columns=["district", "age_band", "cases", "days"],
    )


def people(source: Source) -> Floats:
    """`[district, age]` health service users."""
    table = source["population_district_age"]
    table = table.assign(age_band=table["age_band"].map(ten_year_band))
    wide = table.pivot_table(index="district", columns="age_band", values="population", aggfunc="sum")
    return wide.loc[list(DISTRICTS), list(BANDS)].to_numpy(float)


def population(source: Source) -> pd.DataFrame:
    """People by district (rows) and ten-year band (columns)."""
    table = pd.DataFrame(people(source).astype(int), columns=list(BANDS))
    return table.assign(district=DISTRICTS)[["district", *BANDS]]


def ages(source: Source) -> pd.DataFrame:
    """People of the country by five-year band, named by its first year."""
    table = source["population_district_age"]
    table = table.assign(from_age=table["age_band"].str.extract(r"^(\d+)", expand=False).astype(int))
    sums = table.groupby(["from_age", "age_band"], as_index=False)["population"].sum()
    sums["age_band"] = sums["age_band"].map(ten_year_band)
    return sums.rename(columns={"population": "people"})[["age_band", "from_age", "people"]]


def _register(table: pd.DataFrame, column: str) -> Floats:
    """`[district, age]` of a column of the register; bands that straddle are split by years."""
    counts = np.zeros((len(DISTRICTS), len(BANDS)))
    for district, band, value in zip(table["district"], table["age_band"], table[column].fillna(0.0), strict=True):
        for age, share in WHOLE.get(band, {BANDS.index(ten_year_band(band)): 1.0}).items():
            counts[DISTRICTS.index(district), age] += share * value
    return counts


def vaccination(source: Source) -> pd.DataFrame:
    """Fractions with 0, 1, 2 and 3 or more doses at `DOSES_ON`: the register of 8 March by district and age, and doses given since.

    Those are known by age for the country; they went to people with one dose less, alike in all districts.

    Denominator: the districts' shares of people, scaled to the official projection of 2021 by age; coverage capped at 0.99.
    """
    cells = source["vaccination_district_age"]
    cells = cells[(cells["as_at"] == "2022-03-08") & cells["district"].isin(DISTRICTS)]
    users, projection = people(source), source["population_national_age"]
    projection = projection[projection["source"] == "statsnz_projection_2021"]
    official = projection.groupby(projection["age_band"].map(ten_year_band))["population"].sum().loc[list(BANDS)]
    number = users * official.to_numpy(float) / users.sum(0)
    national = source["vaccination_national_age_weekly"]
    by_age = national.assign(age_band=national["age_band"].map(ten_year_band)).groupby(["date", "age_band"]).sum()
    had, before = [], 0.99 * number
    for dose, column in ((1, "dose1"), (2, "dose2"), (3, "booster")):
        then, now = (by_age.loc[day, f"cum_dose{dose}"].loc[list(BANDS)] for day in ("2022-03-08", str(DOSES_ON)))
        given = np.minimum(_register(cells, column), before)
        able = before - given
        given = given + able * np.clip((now - then).to_numpy(float) / np.maximum(able.sum(0), 1.0), 0.0, 1.0)
        had.append(given)
        before = given
    first, second, third = (x / number for x in had)
    states = np.stack([1 - first, first - second, second - third, third], -1).round(4)
    states[..., 2] = (1 - states[..., [0, 1, 3]].sum(-1)).round(4)
    rows = [(d, a, *(f"{x:.4f}" for x in states[i, j])) for i, d in enumerate(DISTRICTS) for j, a in enumerate(BANDS)]
    return pd.DataFrame(rows, columns=["district", "age_band", "doses_0", "doses_1", "doses_2", "doses_3"])


MAKERS = (cases_district, cases_age, border_cohort, importations, prior_infections, population, ages, vaccination)


if __name__ == "__main__":
    write_tables(MAKERS, "Write the compact tables of the BA.5 study.", study.data)
