"""Write the compact tables of the New Zealand study from a folder of source tables.

    python scripts/make_data.py SOURCE_FOLDER [--output FOLDER]

The source tables are tidy copies of public files; `data/sources.json` names the origin of each. Nothing is
smoothed or filled in: the tables are weekly sums, margins and distributions, and one estimate
(`vaccination.csv`), whose making `vaccination()` describes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DISTRICTS = (
    "Northland", "Waitemata", "Auckland", "Counties Manukau", "Waikato", "Lakes", "Bay of Plenty",
    "Tairawhiti", "Taranaki", "Hawke's Bay", "Whanganui", "MidCentral", "Hutt Valley", "Capital and Coast",
    "Wairarapa", "Nelson Marlborough", "West Coast", "Canterbury", "South Canterbury", "Southern",
)  # fmt: skip
AGE_BANDS = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
LAST_WEEK = "2022-06-05"
TABLES = Path(__file__).resolve().parents[1] / "experiments" / "nz_calibration" / "data"

Source = dict[str, pd.DataFrame]
Counts = NDArray[np.float64]


def ten_year_band(band: str) -> str:
    """The 10-year band that holds a narrower one: `"15-19" -> "10-19"`, `"90+" -> "70+"`."""
    return AGE_BANDS[min(int(band.rstrip("+").split("-")[0]) // 10, 7)]


def by_place_and_week(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Order rows by week (if there is one), then district and age band in the study's order."""
    rank = {name: i for i, name in enumerate((*DISTRICTS, *AGE_BANDS, "New Zealand"))}
    return table.sort_values(keys, key=lambda c: c.map(rank) if c.name in ("district", "age_band") else c)[
        list(table.columns)
    ].reset_index(drop=True)


def weekly(table: pd.DataFrame, first: str, last: str = LAST_WEEK) -> pd.DataFrame:
    """Replace `date` by the Sunday that ends its week and keep the weeks first..last."""
    end = pd.to_datetime(table["date"]).dt.to_period("W-SUN").dt.end_time.dt.strftime("%Y-%m-%d")
    return table.assign(week_ending=end).drop(columns="date")[end.between(first, last)]


def cases_district(source: Source) -> pd.DataFrame:
    """Reported cases by week and district; `Unknown`, `Border` and the national total are left out."""
    table = source["cases_daily_district"]
    table = weekly(table[table["district"].isin(DISTRICTS)], "2022-01-23")
    return by_place_and_week(
        table.groupby(["week_ending", "district"], as_index=False)["cases"].sum(), ["week_ending", "district"]
    )


def cases_age(source: Source) -> pd.DataFrame:
    """Cases, admissions and deaths by week and age; the source starts on Tuesday 25 January 2022."""
    table = weekly(source["cases_daily_age"], "2022-01-30")
    return by_place_and_week(
        table.groupby(["week_ending", "age_band"], as_index=False)[["cases", "admissions", "deaths"]].sum(),
        ["week_ending", "age_band"],
    )


def admissions_age(source: Source) -> pd.DataFrame:
    """The Ministry's weekly admissions for COVID-19 by age."""
    table = source["hospitalisations_weekly"]
    table = table[table["week_ending"].between("2022-01-23", LAST_WEEK)]
    return by_place_and_week(
        table[["week_ending", "age_band", "admissions", "icu_admissions"]], ["week_ending", "age_band"]
    )


def occupancy(source: Source) -> pd.DataFrame:
    """Mean number in hospital over the counted days of each week, by district and nationally; the first week has three."""
    table = weekly(source["hospital_occupancy_daily"], "2022-03-13")
    mean = table.groupby(["week_ending", "district"], as_index=False)["in_hospital"].mean().round(2)
    return by_place_and_week(mean, ["week_ending", "district"])


def wastewater(source: Source) -> pd.DataFrame:
    """Weekly SARS-CoV-2 RNA of the historic site set, January to June 2022."""
    table = source["wastewater_weekly"]
    table = table[(table["site_set"] == "historic") & table["week_ending"].between("2022-01-02", "2022-06-26")]
    kept = ["week_ending", "region", "genome_copies_per_person_per_day", "population_covered"]
    return table[kept].sort_values(kept[:2]).reset_index(drop=True)


def border_cohort(source: Source) -> pd.DataFrame:
    """New infections per 1,000 tested border workers compared with reported cases per 1,000 people."""
    table = source["border_worker_incidence_weekly"]
    return table[table["week_ending"] <= LAST_WEEK].reset_index(drop=True)


def population(source: Source) -> pd.DataFrame:
    """People by district (rows) and 10-year band (columns)."""
    table = source["population_district_age"]
    table = table.assign(age_band=table["age_band"].map(ten_year_band))
    wide = table.pivot_table(index="district", columns="age_band", values="population", aggfunc="sum")
    return wide.loc[list(DISTRICTS), list(AGE_BANDS)].rename_axis(columns=None).reset_index()


def ages(source: Source) -> pd.DataFrame:
    """People of the country by five-year band, named by its first year, with the 10-year band that it is part of; 90 is open."""
    table = source["population_district_age"]
    table = table.assign(from_age=table["age_band"].str.extract(r"^(\d+)", expand=False).astype(int))
    people = table.groupby(["from_age", "age_band"], as_index=False)["population"].sum()
    people["age_band"] = people["age_band"].map(ten_year_band)
    return people.rename(columns={"population": "people"})[["age_band", "from_age", "people"]]


def households(source: Source) -> pd.DataFrame:
    """Household types: members in each 10-year band, and the number of such households."""
    return source["household_composition_age"].rename(columns=lambda c: c.removeprefix("n_"))


def schools(source: Source) -> pd.DataFrame:
    """Schools and early-childhood services by district; rows alike in everything are counted together."""
    area = source["geography_sa2"][["sa2_code", "district"]]
    table = source["schools"].merge(area, on="sa2_code", how="left")
    # A few areas have no district: give them the district that holds most people of their region.
    table["district"] = table["district"].fillna(table["region"].map(main_district(source)))
    kept = ["district", "type", "age_min", "age_max", "size"]
    table = table[table["size"] > 0].assign(schools=1)
    return by_place_and_week(table.groupby(kept, as_index=False)["schools"].sum(), kept)


def main_district(source: Source) -> pd.Series:
    """For each region the district with most of its people aged 12 and over."""
    shares = region_shares(source)
    return shares.sort_values("people").groupby("region")["district"].last()


def region_shares(source: Source) -> pd.DataFrame:
    """People aged 12 and over by region and district, with the share of the region's people."""
    area = source["geography_sa2"].dropna(subset=["region", "district"])
    people = area.groupby(["region", "district"], as_index=False)["population_12plus_hsu2020"].sum()
    people = people.rename(columns={"population_12plus_hsu2020": "people"})
    return people.assign(share=people["people"] / people.groupby("region")["people"].transform("sum"))


def work(source: Source) -> pd.DataFrame:
    """Employees and business units by district: regional totals shared out by residents aged 12 and over."""
    region = source["work_region_sector"].groupby("region", as_index=False)[["business_units", "employees"]].sum()
    table = region_shares(source).merge(region, on="region")
    for column in ("business_units", "employees"):
        table[column] *= table["share"]
    total = table.groupby("district")[["business_units", "employees"]].sum().round().astype(int)
    return total.loc[list(DISTRICTS)].reset_index()


def districts(source: Source) -> pd.DataFrame:
    """Population-weighted centroid of each district and the region most of its people live in."""
    area = source["geography_sa2"].dropna(subset=["district", "population_12plus_hsu2020", "latitude"])
    people = area["population_12plus_hsu2020"]
    sums = area.assign(people=people, latitude=area["latitude"] * people, longitude=area["longitude"] * people)
    sums = sums.groupby("district")[["people", "latitude", "longitude"]].sum()
    shares = region_shares(source).sort_values("people").groupby("district")["region"].last()
    table = pd.DataFrame(
        {
            "region": shares,
            "latitude": (sums["latitude"] / sums["people"]).round(4),
            "longitude": (sums["longitude"] / sums["people"]).round(4),
        }
    )
    return table.loc[list(DISTRICTS)].rename_axis("district").reset_index()


def third_doses(source: Source) -> pd.DataFrame:
    """Third doses given by each Tuesday, national, cumulative, by 10-year band; none of them young enough for the first."""
    table = source["vaccination_national_age_weekly"]
    table = table[table["date"].between("2021-11-30", "2022-04-19")]
    table = table.assign(age_band=table["age_band"].map(ten_year_band))
    sums = table.groupby(["date", "age_band"], as_index=False)["cum_dose3"].sum()
    return by_place_and_week(sums.rename(columns={"cum_dose3": "third_doses"}), ["date", "age_band"])


def policy(source: Source) -> pd.DataFrame:
    """Changes of rules from December 2021 to July 2022."""
    table = source["policy_timeline"]
    return table[table["effective_date"].between("2021-12-01", "2022-07-31")].reset_index(drop=True)


def ipf(seed: Counts, rows: Counts, columns: Counts, cap: Counts) -> Counts:
    """Scale a table to row and column sums by iterative proportional fitting, no cell above its cap."""
    table = seed.astype(float).copy()
    columns = columns * rows.sum() / columns.sum()
    for _ in range(500):
        table *= (rows / table.sum(1))[:, None]
        table = np.minimum(table, cap)
        table *= columns / table.sum(0)
        table = np.minimum(table, cap)
    return table


def district_age(table: pd.DataFrame, column: str) -> Counts:
    """A source vaccination column summed to `[district, age]`; bands that straddle are split by years."""
    counts = np.zeros((len(DISTRICTS), len(AGE_BANDS)))
    split = {"12-17": {1: 1.0}, "18-24": {1: 2 / 7, 2: 5 / 7}, "5-11": {0: 5 / 7, 1: 2 / 7}}
    for district, band, value in zip(table["district"], table["age_band"], table[column], strict=True):
        parts = split.get(band, {AGE_BANDS.index(ten_year_band(band)): 1.0})
        for age, share in parts.items():
            counts[DISTRICTS.index(district), age] += share * (0.0 if np.isnan(value) else value)
    return counts


def national_doses(source: Source, day: str) -> pd.DataFrame:
    """National cumulative doses by 10-year band on a day of the weekly table."""
    table = source["vaccination_national_age_weekly"]
    table = table[table["date"] == day]
    return table.groupby(table["age_band"].map(ten_year_band)).sum(numeric_only=True).loc[list(AGE_BANDS)]


def vaccination(source: Source) -> pd.DataFrame:
    """Fractions of each district and age with 0, 1, 2 and 3 or more doses at about 8 February 2022.

    * Doses 1 and 2, 12+: the district-by-age counts of 8 February. Ages 5-11: the district counts of
      22 February times the national ratio of doses given to 5-9-year-olds by 8 and by 22 February.
    * Third doses by district and age were not published for that day. They are the table of 8 March brought
      by iterative proportional fitting to the national third doses per second dose by age of 8 February, and
      to the districts' shares of 22 February; no cell above its second doses.
    * Denominator: the districts' shares of `population.csv` scaled to the official 2021 national projection
      by age (the health service's own count gives coverage above 1 in its 2020 release and below the
      published numbers in that of 2022); coverage capped at 0.99.
    """
    cells = source["vaccination_district_age"]
    users = population(source)[list(AGE_BANDS)].to_numpy(float)
    projection = source["population_national_age"]
    projection = projection[projection["source"] == "statsnz_projection_2021"]
    by_age = projection.groupby(projection["age_band"].map(ten_year_band))["population"].sum().loc[list(AGE_BANDS)]
    people = users * by_age.to_numpy(float) / users.sum(0)

    national = {day: national_doses(source, day) for day in ("2022-02-08", "2022-02-22")}
    doses = national["2022-02-08"]
    children = cells[(cells["as_at"] == "2022-02-22") & (cells["age_band"] == "5-11")]
    adults = cells[cells["as_at"] == "2022-02-08"]
    first, second = (
        district_age(adults, column)
        + district_age(children, column) * doses.iloc[0][cumulative] / national["2022-02-22"].iloc[0][cumulative]
        for column, cumulative in (("dose1", "cum_dose1"), ("dose2", "cum_dose2"))
    )
    first = np.minimum(first, 0.99 * people)
    second = np.minimum(second, first)

    third = np.zeros_like(people)
    target = second.sum(0) * (doses["cum_dose3"] / doses["cum_dose2"]).to_numpy(float)
    given = target > 0
    seed = district_age(cells[cells["as_at"] == "2022-03-08"], "booster")[:, given]
    boosters = (
        source["boosters_district_20220222"].set_index("district")["booster_count"].loc[list(DISTRICTS)].to_numpy(float)
    )
    third[:, given] = ipf(seed, boosters * target.sum() / boosters.sum(), target[given], second[:, given])
    counts = np.stack([people - first, first - second, second - third, third], -1) / people[..., None]
    counts = counts.round(4)
    counts[..., 2] = (1 - counts[..., [0, 1, 3]].sum(-1)).round(4)
    rows_out = [
        (district, band, *(f"{x:.4f}" for x in counts[d, a]))
        for d, district in enumerate(DISTRICTS)
        for a, band in enumerate(AGE_BANDS)
    ]
    return pd.DataFrame(rows_out, columns=["district", "age_band", "doses_0", "doses_1", "doses_2", "doses_3"])


MAKERS = (
    cases_district, cases_age, admissions_age, occupancy, wastewater, border_cohort, population, ages, households,
    schools, work, vaccination, third_doses, districts, policy,
)  # fmt: skip


def main() -> None:
    """Read the source folder, write every table atomically and print its size."""
    parser = argparse.ArgumentParser(description="Write the compact tables of the New Zealand study.")
    parser.add_argument("source", type=Path, help="folder with the source tables")
    parser.add_argument("--output", type=Path, default=TABLES, help="folder to write to")
    arguments = parser.parse_args()
    source = {path.stem: pd.read_csv(path) for path in sorted(arguments.source.glob("*.csv"))}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for make in MAKERS:
        path = arguments.output / f"{make.__name__}.csv"
        partial = path.with_suffix(".partial")
        make(source).to_csv(partial, index=False)
        os.replace(partial, path)
        print(f"{path.name:22s} {path.stat().st_size / 1000:7.1f} kB")


if __name__ == "__main__":
    main()
