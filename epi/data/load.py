"""The figures of the study, read from a folder of CSV tables and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.data import tables
from epi.errors import FiguresError

__all__ = ["AGE_BANDS", "DISTRICTS", "Figures", "load_figures"]

DISTRICTS: tuple[str, ...] = (
    "Northland", "Waitemata", "Auckland", "Counties Manukau", "Waikato", "Lakes", "Bay of Plenty",
    "Tairawhiti", "Taranaki", "Hawke's Bay", "Whanganui", "MidCentral", "Hutt Valley", "Capital and Coast",
    "Wairarapa", "Nelson Marlborough", "West Coast", "Canterbury", "South Canterbury", "Southern",
)  # fmt: skip
"""The 20 health districts (former district health boards), north to south."""

AGE_BANDS: tuple[str, ...] = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
"""The 8 age bands."""

SCHOOL_TYPES: tuple[str, ...] = ("composite", "early_childhood", "primary", "secondary")
DOSES: tuple[str, ...] = ("doses_0", "doses_1", "doses_2", "doses_3")

# Cases by age leave out those at the border and without an age, and were frozen at another date.
_TOTALS_MAY_DIFFER = 0.05


@dataclass(frozen=True, eq=False)
class Figures:
    """What the study knows of New Zealand, early 2022.

    Axes: 20 districts d, 8 age bands a, 4 dose states s (0, 1, 2, 3 or more). Frames "by week"
    have the Sunday that ends the week as their index (`DatetimeIndex`, name `week`).

    Attributes:
        folder: where the tables were read.
        cases_district: cases by week, one column a district (int64).
        cases_age: cases by week, one column an age band (int64).
        deaths_age: deaths attributed to COVID-19 by week and age (int64).
        admissions_age: admissions to hospital for COVID-19 by week and age, as the Ministry counts (int64).
        icu_age: of which to intensive care (int64).
        admissions_age_linked: admissions by week and age linked to cases, a second count (int64).
        occupancy: mean number in hospital by week, one column a district (float64; from the week
            ending 2022-03-20).
        wastewater: rows `week, region, genome_copies_per_person_per_day, population_covered`.
        border_cohort: rows `week, region, border_workers_per_1000, general_population_reported_per_1000`.
        population: `[d, a]` people (int64).
        ages: rows `age_band, from_age, people`, five-year bands of the country, each with the band a that it is part of.
        household_types: `[type, a]` members of each household type by age (int64).
        household_counts: `[type]` households of each type in the 2018 census (int64).
        schools: rows `district, type, age_min, age_max, size, schools`.
        work: by district (index), columns `business_units, employees` (int64).
        vaccination: `[d, a, s]` fraction of people with s doses, sums to 1 over s, on 8 February 2022.
        third_doses: third doses given in the country by a day (index `date`), one column an age band (int64).
        districts: by district (index), columns `region, latitude, longitude` (population-weighted, degrees).
        policy: rows `effective_date, scope, kind, setting, note, source_url`.
    """

    folder: Path
    cases_district: pd.DataFrame
    cases_age: pd.DataFrame
    deaths_age: pd.DataFrame
    admissions_age: pd.DataFrame
    icu_age: pd.DataFrame
    admissions_age_linked: pd.DataFrame
    occupancy: pd.DataFrame
    wastewater: pd.DataFrame
    border_cohort: pd.DataFrame
    population: NDArray[np.int64]
    ages: pd.DataFrame
    household_types: NDArray[np.int64]
    household_counts: NDArray[np.int64]
    schools: pd.DataFrame
    work: pd.DataFrame
    vaccination: NDArray[np.float64]
    third_doses: pd.DataFrame
    districts: pd.DataFrame
    policy: pd.DataFrame


def load_figures(folder: Path | str | None = None) -> Figures:
    """Read and check the tables of a folder.

    Args:
        folder: the folder; None for the tables that come with the study.

    Returns:
        The checked figures.

    Raises:
        FiguresError: a file or column is missing or misspelt, a count is negative or not whole, a week is
            left out, a district or age band is unknown, missing, twice there or out of order, or cases by
            district and by age disagree.
    """
    folder = (
        Path(__file__).parents[2] / "experiments" / "nz_calibration" / "figures" if folder is None else Path(folder)
    )
    if not folder.is_dir():
        raise FiguresError(
            f"The folder of figures {folder} was not found; give a folder that holds the study's tables."
        )
    cases_district = _counts(folder, "cases_district.csv", "district", DISTRICTS, ("cases",))
    linked = _counts(folder, "cases_age.csv", "age_band", AGE_BANDS, ("cases", "admissions", "deaths"))
    weekly = _counts(folder, "admissions_age.csv", "age_band", AGE_BANDS, ("admissions", "icu_admissions"))
    _compare_totals(cases_district["cases"], linked["cases"])
    types, counts = _households(folder)
    return Figures(
        folder=folder,
        cases_district=cases_district["cases"],
        cases_age=linked["cases"],
        deaths_age=linked["deaths"],
        admissions_age=weekly["admissions"],
        icu_age=weekly["icu_admissions"],
        admissions_age_linked=linked["admissions"],
        occupancy=_occupancy(folder),
        wastewater=_series(folder, "wastewater.csv", ("genome_copies_per_person_per_day", "population_covered")),
        border_cohort=_series(
            folder, "border_cohort.csv", ("border_workers_per_1000", "general_population_reported_per_1000")
        ),
        population=_population(folder),
        ages=_ages(folder),
        household_types=types,
        household_counts=counts,
        schools=_schools(folder),
        work=_work(folder),
        vaccination=_vaccination(folder),
        third_doses=_third_doses(folder),
        districts=_districts(folder),
        policy=_policy(folder),
    )


def _counts(
    folder: Path, name: str, key: str, order: tuple[str, ...], values: tuple[str, ...]
) -> dict[str, pd.DataFrame]:
    """Weekly counts of one file, a frame by week for each value column."""
    table = tables.read_table(folder, name, ("week_ending", key, *values), text=("week_ending", key))
    table = tables.weeks(tables.whole_numbers(table, name, values), name)
    return {value: tables.by_week(table, name, key, order, value) for value in values}


def _compare_totals(by_district: pd.DataFrame, by_age: pd.DataFrame) -> None:
    """Cases by district and by age must tell of one epidemic: totals over the common weeks agree."""
    common = by_district.index.intersection(by_age.index)
    if not len(common):
        raise FiguresError(
            "cases_district.csv and cases_age.csv have no week in common; both must cover the study's weeks."
        )
    district, age = int(by_district.loc[common].to_numpy().sum()), int(by_age.loc[common].to_numpy().sum())
    if abs(district - age) > _TOTALS_MAY_DIFFER * max(district, 1):
        raise FiguresError(
            f"cases_district.csv counts {district:,} cases in the weeks {common[0].date()} to "
            f"{common[-1].date()} and cases_age.csv {age:,}, expected to agree within "
            f"{_TOTALS_MAY_DIFFER:.0%}; check both for missing or repeated counts."
        )


def _occupancy(folder: Path) -> pd.DataFrame:
    name = "occupancy.csv"
    table = tables.read_table(folder, name, ("week_ending", "district", "in_hospital"), ("week_ending", "district"))
    table = tables.weeks(tables.numbers(table, name, ("in_hospital",)), name)
    return tables.by_week(table, name, "district", (*DISTRICTS, "New Zealand"), "in_hospital")


def _series(folder: Path, name: str, values: tuple[str, ...]) -> pd.DataFrame:
    """Rows of a weekly series by region; a region may lack weeks."""
    table = tables.read_table(folder, name, ("week_ending", "region", *values), text=("week_ending", "region"))
    table = tables.weeks(tables.numbers(table, name, values), name)
    twice = table.duplicated(["week_ending", "region"])
    if twice.any():
        line = int(np.flatnonzero(twice)[0]) + 2
        raise FiguresError(f"{name}, line {line}: found a second row for a week and region, expected one; remove one.")
    return table.rename(columns={"week_ending": "week"})


def _population(folder: Path) -> NDArray[np.int64]:
    name = "population.csv"
    table = tables.read_table(folder, name, ("district", *AGE_BANDS), text=("district",))
    tables.ordered(table, name, "district", DISTRICTS)
    people = tables.whole_numbers(table, name, AGE_BANDS)[list(AGE_BANDS)].to_numpy(np.int64)
    if (people == 0).any():
        row, column = (int(i[0]) for i in np.nonzero(people == 0))
        raise FiguresError(
            f"{name}, line {row + 2}, column {AGE_BANDS[column]!r}: found 0 people, expected at least one; correct it."
        )
    return people


def _ages(folder: Path) -> pd.DataFrame:
    name = "ages.csv"
    table = tables.read_table(folder, name, ("age_band", "from_age", "people"), text=("age_band",))
    tables.known(table, name, "age_band", AGE_BANDS)
    table = tables.whole_numbers(table, name, ("from_age", "people"))
    first = table["age_band"].str.extract(r"^(\d+)", expand=False).astype(np.int64)
    beyond = (table["from_age"] >= first + 10) & (table["age_band"] != AGE_BANDS[-1])
    bad = ((table["from_age"] < first) | beyond | table.duplicated("from_age")).to_numpy()
    if bad.any():
        line = int(np.flatnonzero(bad)[0])
        raise FiguresError(
            f"{name}, line {line + 2}: found people from {table['from_age'][line]} on in the band {table['age_band'][line]}, expected each age "
            "once and in its band; correct the row."
        )
    empty = [band for band in AGE_BANDS if not table.loc[table["age_band"] == band, "people"].sum()]
    if empty:
        raise FiguresError(f"{name}: found nobody in the age band {empty[0]}, expected people in every band; add rows.")
    return table


def _households(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    name = "households.csv"
    table = tables.whole_numbers(
        tables.read_table(folder, name, (*AGE_BANDS, "households")), name, (*AGE_BANDS, "households")
    )
    types = table[list(AGE_BANDS)].to_numpy(np.int64)
    empty, twice = types.sum(1) == 0, table.duplicated(list(AGE_BANDS)).to_numpy()
    if empty.any() or twice.any():
        line = int(np.flatnonzero(empty | twice)[0]) + 2
        what = "a household type without members" if empty.any() else "a household type that is listed before"
        raise FiguresError(f"{name}, line {line}: found {what}, expected each type once with members; remove the row.")
    return types, table["households"].to_numpy(np.int64)


def _schools(folder: Path) -> pd.DataFrame:
    name, whole = "schools.csv", ("age_min", "age_max", "size", "schools")
    table = tables.read_table(folder, name, ("district", "type", *whole), text=("district", "type"))
    tables.known(table, name, "district", DISTRICTS)
    tables.known(table, name, "type", SCHOOL_TYPES)
    table = tables.whole_numbers(table, name, whole)
    bad = (table["age_max"] < table["age_min"]) | (table["size"] == 0) | (table["schools"] == 0)
    if bad.any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise FiguresError(
            f"{name}, line {line}: expected age_min <= age_max and size and schools above 0; correct the row."
        )
    return table


def _work(folder: Path) -> pd.DataFrame:
    name, whole = "work.csv", ("business_units", "employees")
    table = tables.read_table(folder, name, ("district", *whole), text=("district",))
    tables.ordered(table, name, "district", DISTRICTS)
    return tables.whole_numbers(table, name, whole).set_index("district")


def _vaccination(folder: Path) -> NDArray[np.float64]:
    name = "vaccination.csv"
    table = tables.read_table(folder, name, ("district", "age_band", *DOSES), text=("district", "age_band"))
    tables.known(table, name, "district", DISTRICTS)
    tables.known(table, name, "age_band", AGE_BANDS)
    table = tables.fractions(table, name, DOSES)
    cell = table["district"] + ", " + table["age_band"]
    cells = [f"{d}, {a}" for d in DISTRICTS for a in AGE_BANDS]
    tables.ordered(pd.DataFrame({"district, age_band": cell}), name, "district, age_band", cells)
    return table[list(DOSES)].to_numpy(np.float64).reshape(len(DISTRICTS), len(AGE_BANDS), len(DOSES))


def _third_doses(folder: Path) -> pd.DataFrame:
    name = "third_doses.csv"
    table = tables.read_table(folder, name, ("date", "age_band", "third_doses"), text=("date", "age_band"))
    tables.known(table, name, "age_band", AGE_BANDS)
    table = tables.whole_numbers(table, name, ("third_doses",))
    day = pd.to_datetime(table["date"], format="%Y-%m-%d", errors="coerce")
    bad = (day.isna() | table.duplicated(["date", "age_band"])).to_numpy()
    if bad.any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise FiguresError(
            f"{name}, line {line}: expected a date as YYYY-MM-DD and one row for each day and age band; correct the row."
        )
    wide = (
        table.assign(date=day)
        .pivot(index="date", columns="age_band", values="third_doses")
        .reindex(columns=list(AGE_BANDS))
    )
    if wide.isna().any(axis=None) or (wide.diff().iloc[1:] < 0).any(axis=None):
        raise FiguresError(
            f"{name}: expected every age band on every day, and doses given that never fall; add or correct rows."
        )
    return wide.astype(np.int64)


def _districts(folder: Path) -> pd.DataFrame:
    name, degrees = "districts.csv", ("latitude", "longitude")
    table = tables.read_table(folder, name, ("district", "region", *degrees), text=("district", "region"))
    tables.ordered(table, name, "district", DISTRICTS)
    return tables.numbers(table, name, degrees, low=-180.0).set_index("district")


def _policy(folder: Path) -> pd.DataFrame:
    name = "policy.csv"
    table = tables.read_table(folder, name, ("effective_date", "scope", "kind", "setting", "note", "source_url"))
    day = pd.to_datetime(table["effective_date"], format="%Y-%m-%d", errors="coerce")
    if day.isna().any():
        line = int(np.flatnonzero(day.isna())[0]) + 2
        raise FiguresError(f"{name}, line {line}, column 'effective_date': expected a date as YYYY-MM-DD; correct it.")
    return table.assign(effective_date=day)
