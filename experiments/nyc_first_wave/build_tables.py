"""The compact tables of the study, made from a folder of source tables: `python -m experiments.nyc_first_wave.build_tables SOURCE`.

Nothing is estimated but `households.csv` (types drawn by sizes and ages) and `schools.csv` (sizes assumed). Source, commit and licence of each
table stand in `data/README.md`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.data import odds_of_ages
from epi.population import household_types_from_sizes
from experiments._tables import write_tables
from experiments.nyc_first_wave.study import COUNTED_ON, GROUPS, study

BOROUGHS, BANDS = study.region.names, study.ages.names
FIRST, LAST = str(study.calendar.first_week), str(study.calendar.last_week)
PUBLISHED = "2020-05-18"
"""First publication of counts by borough and age."""
SURVEYED_WEEK = "2020-04-25"
"""Week that holds the middle of the survey of 19 to 28 April."""
SIZES = {"primary": (5, 10, 600), "middle": (11, 13, 500), "high": (14, 17, 700)}
"""Schools are assumed: ages and pupils of each; contact groups are of 100 at most, so that the size matters little."""
LARGEST = 8
"""Members of a household of seven or more (the published means ask for about eight)."""

Source = dict[str, pd.DataFrame]


def weekly(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Sums over the weeks of the study, which end on Saturdays."""
    end = pd.to_datetime(table["date"]).dt.to_period("W-SAT").dt.end_time.dt.strftime("%Y-%m-%d")
    table = table.assign(week_ending=end).drop(columns="date")[end.between(FIRST, LAST)]
    table = table[table["borough"].isin(BOROUGHS)]
    rank = {name: i for i, name in enumerate(BOROUGHS)}
    sums = table.groupby(["week_ending", "borough"], as_index=False)[by].sum()
    return sums.sort_values(["week_ending", "borough"], key=lambda c: c.map(rank) if c.name == "borough" else c)


def first_wave(source: Source) -> pd.DataFrame:
    """Admissions, deaths (confirmed and probable) and cases (likewise) by week of the event and borough."""
    table = source["cases_daily_borough"]
    table = table.assign(
        admissions=table["hospitalisations"],
        deaths=table["deaths_confirmed"] + table["deaths_probable"],
        cases=table["confirmed_cases"] + table["probable_cases"],
    )
    return weekly(table, ["admissions", "deaths", "cases"])


def visits(source: Source) -> pd.DataFrame:
    """Visits to emergency departments for influenza-like illness, pneumonia or COVID-like illness, per 100,000 a week."""
    table = weekly(source["ed_covid_like_illness_daily_borough"], ["visits_per_100k"])
    return table.rename(columns={"visits_per_100k": "visits"}).round(2)


def _by_age(source: Source, column: str) -> pd.DataFrame:
    table = source["cumulative_borough_age"]
    table = table[(table["published"] == PUBLISHED) & (table["age_band"] != "All ages")]
    wide = table.pivot(index="borough", columns="age_band", values=column)
    return wide.loc[list(BOROUGHS), list(GROUPS)]


def admissions_age(source: Source) -> pd.DataFrame:
    """Odds of each age among the admitted of its age and younger, by borough, of all admissions published by 18 May."""
    return odds_of_ages(_by_age(source, "cum_hospitalised"), COUNTED_ON, "admissions_borough")


def deaths_age(source: Source) -> pd.DataFrame:
    """The same of confirmed deaths; the youngest group, of a handful, joins the next."""
    counts = _by_age(source, "cum_deaths")
    young, adult = list(GROUPS)[:2]
    counts = counts.assign(**{adult: counts[adult] + counts[young]}).drop(columns=young)
    return odds_of_ages(counts, COUNTED_ON, "deaths_borough")


def serosurvey(source: Source) -> pd.DataFrame:
    """Shoppers tested for antibody and positive, by age, 19 to 28 April 2020 (crude counts)."""
    table = source["seroprevalence_surveys"]
    table = table[table["survey"].str.startswith("NYS grocery survey (Rosenberg") & (table["percent_kind"] == "crude")]
    table = table[table["age_band"] != "18+"]
    out = table[["age_band", "people_positive", "people_tested"]].astype({"people_positive": int, "people_tested": int})
    out = out.rename(columns={"age_band": "survey_age", "people_positive": "positive", "people_tested": "tested"})
    return out.assign(week_ending=SURVEYED_WEEK)[["week_ending", "survey_age", "positive", "tested"]]


def surveys(source: Source) -> pd.DataFrame:
    """Estimates to compare predictions with: what was announced or published of April 2020, never fitted."""
    table = source["seroprevalence_surveys"]
    table = table[table["survey"].str.startswith("NYS")]
    columns = ["survey", "area", "age_band", "first_sample", "last_sample", "percent_positive", "percent_kind"]
    return table[columns].assign(people_tested=table["people_tested"].astype("Int64"))


def people(source: Source) -> pd.DataFrame:
    """`[borough, band]` people of mid-2019, whole."""
    table = source["population_borough_age"]
    table = table[(table["source"] == "dohmh_2019") & table["borough"].isin(BOROUGHS)]
    return table.pivot(index="borough", columns="age_band", values="population").loc[list(BOROUGHS)].round().astype(int)


def population(source: Source) -> pd.DataFrame:
    """People by borough (rows) and age band (columns)."""
    fine = people(source)
    fine = fine.assign(**{"75+": fine["75-84"] + fine["85+"]})
    return fine[list(BANDS)].rename_axis(columns=None).reset_index()


def ages(source: Source) -> pd.DataFrame:
    """People of the city by age band, the oldest in two."""
    total = people(source).sum()
    names = [*BANDS[:-1], "75-84", "85+"]
    rows = [(n if n in BANDS else "75+", int(n.rstrip("+").split("-")[0]), int(total[n])) for n in names]
    return pd.DataFrame(rows, columns=["age_band", "from_age", "people"])


def households(source: Source) -> pd.DataFrame:
    """Household types with their number in each borough: sizes as counted in 2010, members drawn by the ages of the borough's people."""
    sizes, everybody = source["household_size_borough"], population(source).set_index("borough")
    frames = []
    for i, borough in enumerate(BOROUGHS):
        rows = sizes[sizes["borough"] == borough]
        share = np.zeros(LARGEST)
        for size, number in zip(rows["household_size"], rows["households"], strict=True):
            share[LARGEST - 1 if size == "7+" else int(size) - 1] = number
        adult = study.ages.band_of(18)
        types, counts = household_types_from_sizes(share, _array(everybody.loc[borough]), adult, seed=i, count=3000)
        frames.append(pd.DataFrame(types, columns=list(BANDS)).assign(borough=borough, n=counts))
    every = pd.concat(frames)
    wide = every.pivot_table(index=list(BANDS), columns="borough", values="n", fill_value=0, aggfunc="sum")
    return wide[list(BOROUGHS)].astype(int).rename_axis(columns=None).reset_index()


def _array(row: pd.Series) -> NDArray[np.float64]:
    return row.to_numpy(dtype=float)


def schools(source: Source) -> pd.DataFrame:
    """As many schools of an assumed size as hold the borough's children of their ages."""
    table, rows = population(source).set_index("borough"), []
    for borough in BOROUGHS:
        by_year = np.repeat(table.loc[borough].to_numpy(float) / study.ages.widths, study.ages.widths)
        for kind, (low, high, size) in SIZES.items():
            rows.append((borough, kind, low, high, size, round(by_year[low : high + 1].sum() / size)))
    return pd.DataFrame(rows, columns=["borough", "type", "age_min", "age_max", "size", "schools"])


def work(source: Source) -> pd.DataFrame:
    """Workers of 16 and more by borough of residence."""
    table = source["acs_borough"]
    table = table[table["quantity"] == "workers_16_plus"].set_index("borough").loc[list(BOROUGHS)]
    return table[["estimate"]].rename(columns={"estimate": "employees"}).astype(int).reset_index()


MAKERS = (
    first_wave,
    visits,
    admissions_age,
    deaths_age,
    serosurvey,
    surveys,
    population,
    ages,
    households,
    schools,
    work,
)


if __name__ == "__main__":
    write_tables(MAKERS, "Write the compact tables of the study of the first wave.", study.data)
