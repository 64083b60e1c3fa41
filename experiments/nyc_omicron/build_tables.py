"""The compact tables of the study, made from a folder of source tables: `python -m experiments.nyc_omicron.build_tables SOURCE`.

Two are estimates: `vaccination*.csv` (boosters by borough and age from two margins) and the days of `prior_infections*.csv`. Source, commit
and licence of each table stand in `data/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments._tables import write_tables
from experiments.nyc_omicron.study import BEFORE_OPEN, BEFORE_START, FORECAST_FROM, PUBLISHED, study

BOROUGHS, BANDS = study.region.names, study.ages.names
REPORT = pd.Timedelta(days=5)
"""From infection to report, the mean of the study's delay."""
FINAL = pd.Timestamp("2021-11-20")
"""Last day of the finished series; later days as published on `PUBLISHED`."""
RUNS = {
    "": (FORECAST_FROM, "2021-12-18", "2021-10-15", "2021-12-11"),
    "_october": (date(2021, 10, 30), "2021-10-23", "2021-08-20", ""),
    "_december": (date(2021, 12, 11), "2021-12-04", "2021-10-01", "2021-12-04"),
}
"""By suffix of tables: last fitted week, day of the doses, day up to which a publication of earlier cases counts, last week of sequences."""

Source = dict[str, pd.DataFrame]
Floats = NDArray[np.float64]


def daily(source: Source) -> pd.DataFrame:
    """Cases (confirmed and probable), admissions and confirmed deaths by day and borough: final, and then as known on `PUBLISHED`."""
    final, known = source["cases_daily_borough"], source["vintages_daily"]
    final = final.assign(date=pd.to_datetime(final["date"]))
    known = known[known["published"] == str(PUBLISHED)].assign(date=lambda t: pd.to_datetime(t["date"]))
    table = pd.concat([final[final["date"] <= FINAL], known[known["date"] > FINAL]])
    table = table[table["borough"].isin(BOROUGHS)]
    cases = table["confirmed_cases"] + table["probable_cases"]
    return table.assign(cases=cases, admissions=table["hospitalisations"], deaths=table["deaths_confirmed"])


def counts(source: Source) -> pd.DataFrame:
    """Cases, admissions and deaths by week (ending on Saturday) and borough, weeks ending 2 October to 25 December 2021."""
    table = daily(source)
    end = table["date"].dt.to_period("W-SAT").dt.end_time.dt.strftime("%Y-%m-%d")
    table = table.assign(week_ending=end)[end.between("2021-10-02", str(FORECAST_FROM))]
    sums = table.groupby(["week_ending", "borough"])[["cases", "admissions", "deaths"]].sum()
    return sums.reindex(BOROUGHS, level="borough").astype(int).reset_index()


def importations(source: Source, suffix: str) -> pd.DataFrame:
    """Reported cases by day and borough before people meet in the study, spread evenly over weeks and put back by the report delay."""
    until = RUNS[suffix][0]
    start, opened = pd.Timestamp(until - BEFORE_START), pd.Timestamp(until - BEFORE_OPEN)
    table = daily(source)
    wide = table.assign(date=table["date"] - REPORT).pivot(index="date", columns="borough", values="cases")
    wide = wide.loc[start : opened - pd.Timedelta(days=1), list(BOROUGHS)]
    even = wide.groupby((wide.index - start).days // 7).transform("mean").round(2)
    long = even.rename_axis(columns="borough").stack().rename("infections").reset_index()
    return long.assign(date=long["date"].dt.strftime("%Y-%m-%d"))


def prior_infections(source: Source, suffix: str) -> pd.DataFrame:
    """Reported cases (confirmed and probable) by borough and age, as published before the study begins, and mean days since."""
    table = source["cumulative_borough_age"]
    day = max(d for d in table["published"].unique() if d <= RUNS[suffix][2])
    table = table[(table["published"] == day) & table["borough"].isin(BOROUGHS) & table["age_band"].isin(BANDS)]
    table = table.assign(cases=table["cum_confirmed_cases"] + table["cum_probable_cases"].fillna(0))
    wide = table.pivot(index="borough", columns="age_band", values="cases").loc[list(BOROUGHS), list(BANDS)]
    past = daily(source)
    past = past[past["date"] <= pd.Timestamp(day)]
    counted = pd.Timestamp(RUNS[suffix][0] - BEFORE_START - timedelta(1))
    ago = (counted - past["date"]).dt.days * past["cases"]
    days = (ago.groupby(past["borough"]).sum() / past.groupby("borough")["cases"].sum()).round(1)
    return pd.DataFrame(
        [(b, a, int(wide.loc[b, a]), days[b]) for b in BOROUGHS for a in BANDS],
        columns=["borough", "age_band", "cases", "days"],
    )


def _by_borough_age(source: Source, day: str, column: str) -> Floats:
    """`[borough, band]` of a column of the joint table of doses; ages without a count are 0."""
    table = source["vaccination_borough_age"]
    table = table[table["as_at"] == day]
    wide = table.pivot(index="borough", columns="age_band", values=column).fillna(0.0).loc[list(BOROUGHS)]
    joined = {"5-12": ("5-9", "10-12"), "75+": ("75-84", "85+")}
    out = [wide[band] if band in wide else wide[[b for b in joined[band] if b in wide]].sum(axis=1) for band in BANDS]
    return np.stack([column.to_numpy(float) for column in out], 1)


def vaccination(source: Source, suffix: str) -> pd.DataFrame:
    """Shares with no, one, two and three doses (a series of one counts as two), coverage capped at 0.98.

    Boosters by borough and by age are known, fitted to both in turn (iterative proportional fitting) from two-dose people on.
    """
    day = RUNS[suffix][1]
    people = _by_borough_age(source, day, "population")
    one = np.minimum(_by_borough_age(source, day, "cum_at_least_one_dose"), 0.98 * people)
    two = np.minimum(_by_borough_age(source, day, "cum_primary_series"), one)
    ages, boroughs = source["vaccination_age_weekly"], source["vaccination_borough_weekly"]
    columns = ages[ages["date"] == day].set_index("age_band")["cum_additional_dose"].reindex(BANDS).fillna(0.0)
    rows = boroughs[boroughs["date"] == day].set_index("borough")["cum_additional_dose"].reindex(BOROUGHS)
    rows = rows.fillna(0.0).to_numpy(float)
    wanted = columns.to_numpy(float)
    three = two + 1e-9
    for _ in range(200):
        three = three * (wanted / np.maximum(three.sum(0), 1e-9))
        if rows.sum():
            three = three * (rows * wanted.sum() / rows.sum() / np.maximum(three.sum(1), 1e-9))[:, None]
    three = np.minimum(three, two)
    states = (np.stack([people - one, one - two, two - three, three], -1) / people[..., None]).round(4)
    states[..., 0] = (1 - states[..., 1:].sum(-1)).round(4)
    cells = [(b, a, *(f"{x:.4f}" for x in states[i, j])) for i, b in enumerate(BOROUGHS) for j, a in enumerate(BANDS)]
    return pd.DataFrame(cells, columns=["borough", "age_band", "doses_0", "doses_1", "doses_2", "doses_3"])


def variant_odds(source: Source, suffix: str) -> pd.DataFrame:
    """Sequences of Omicron over all others by week, up to the last week that is used."""
    table = source["variants_weekly"]
    table = table[table["week_ending"].between("2021-11-27", RUNS[suffix][3])]
    omicron = table[table["lineage"].str.startswith("B.1.1.529")].groupby("week_ending")["sequences"].sum()
    total = table.groupby("week_ending")["total_sequences"].first()
    return (omicron / (total - omicron)).round(6).rename("odds").reset_index()


def population(source: Source) -> pd.DataFrame:
    """People by borough (rows) and age band (columns): the table of the first wave's study."""
    return pd.read_csv(study.data / "../../nyc_first_wave/data/population.csv")


def ages(source: Source) -> pd.DataFrame:
    """People of the city by age band, the oldest in two: likewise."""
    return pd.read_csv(study.data / "../../nyc_first_wave/data/ages.csv")


def _named(make: Callable[[Source, str], pd.DataFrame], suffix: str) -> Callable[[Source], pd.DataFrame]:
    def one(source: Source) -> pd.DataFrame:
        return make(source, suffix)

    one.__name__ = f"{make.__name__}{suffix}"
    return one


MAKERS = (
    counts,
    population,
    ages,
    *(
        _named(m, s)
        for s in RUNS
        for m in (importations, prior_infections, vaccination, variant_odds)
        if m is not variant_odds or RUNS[s][3]
    ),
)

if __name__ == "__main__":
    write_tables(MAKERS, "Write the compact tables of the study of Omicron.", study.data)
