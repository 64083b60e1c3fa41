"""The tables that a study's parts and streams ask for, read from its folder and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.data import compare, tables
from epi.data.prior_infection import PriorCases, read_prior_cases
from epi.data.series import read_series
from epi.errors import DataError
from epi.study import (
    Campaign,
    Community,
    Households,
    Importations,
    PriorInfection,
    Schools,
    Study,
    Vaccination,
    Workplaces,
)
from epi.study.families import BetaBinomial

__all__ = ["EpidemicData", "load_data", "read_places"]

LARGEST_HOUSEHOLD = 10_000
"""People of one household; homes and barracks are households too."""


@dataclass(frozen=True, eq=False)
class EpidemicData:
    """What the tables of a study say.

    Axes: R regions, A age bands, S states of vaccination. Frames "by week" have the day that ends the week as their index
    (`DatetimeIndex`, name `week`). What no part asks for is None.

    Attributes:
        study: the study.
        folder: where the tables were read.
        series: by stream, a frame by week with a column for each place; counts or measurements in the stream's units.
        tested: the same of the number tested, for streams of positives among the tested.
        population: `[R, A]` people (int64).
        ages: rows `age_band, from_age, people`: finer bands of all regions together, each with the band that it is part of.
        household_types: `[type, A]` members of each household type by age (int64).
        household_counts: `[type]` households of each type (int64), or `[R, type]` where the table has a column for each region.
        schools: rows `<axis>, type, age_min, age_max, size, schools`.
        work: by region (index), column `employees` (int64).
        vaccination: `[R, A, S]` fraction of people in each state, sums to 1 over S; all ones where S is 1.
        campaign_doses: doses given in all regions by a day (index `date`), one column an age band (int64).
        places: by region (index), columns `latitude, longitude` in degrees.
        contacts: `[A, A]` contacts a day of a person (row) with people of an age (column).
        importations: `[day, R]` infections from outside by date (index) and region (columns).
        prior_cases: reported infections before the study.
        own: what parts of the user's own read, by the name of their class.
    """

    study: Study
    folder: Path
    series: dict[str, pd.DataFrame]
    tested: dict[str, pd.DataFrame]
    population: NDArray[np.int64]
    ages: pd.DataFrame
    household_types: NDArray[np.int64]
    household_counts: NDArray[np.int64]
    schools: pd.DataFrame | None
    work: pd.DataFrame | None
    vaccination: NDArray[np.float64]
    campaign_doses: pd.DataFrame | None
    places: pd.DataFrame | None
    contacts: NDArray[np.float64] | None
    importations: pd.DataFrame | None
    prior_cases: PriorCases | None = None
    own: dict[str, Any] = field(default_factory=dict)


def load_data(study: Study, folder: Path | str | None = None) -> EpidemicData:
    """Read and check the tables of a study.

    Args:
        study: says which tables, columns, regions, age bands and weeks.
        folder: where they lie; None for the study's own folder.

    Returns:
        The checked tables.

    Raises:
        DataError: a file or column is missing or misspelt, a count is negative or not whole, a week is left out, a region or age band is
            unknown, missing, twice there or out of order, or two tables of cases disagree.
    """
    folder = _folder_of(study, folder)
    series, tested = {}, {}
    for s in study.observed:
        series[s.name] = read_series(folder, study, s, s.column)
        if isinstance(s.family, BetaBinomial):
            column = getattr(s, "tested_column", "tested")
            tested[s.name] = read_series(folder, study, s, column)
            compare.tested(s, series[s.name], tested[s.name], column)
    compare.totals(study, series)
    population = _population(folder, study)
    compare.people(study, series, population)
    types, counts = _households(folder, study)
    community = study.need(Community, "The model")
    schools, work, imported = study.part(Schools), study.part(Workplaces), study.part(Importations)
    vaccination, before = study.part(Vaccination), study.part(PriorInfection)
    campaign = None if vaccination is None else vaccination.campaign
    own = {type(part).__name__: part.read(folder, study) for part in study.parts if hasattr(part, "read")}
    schools_of = None if schools is None else _schools(folder, study, schools)
    work_of = None if work is None else _work(folder, study, work)
    doses = None if campaign is None else _campaign(folder, study, campaign)
    compare.venues(study, schools_of, work_of, doses, population)
    return EpidemicData(
        study=study,
        folder=folder,
        series=series,
        tested=tested,
        population=population,
        ages=_ages(folder, study, population),
        household_types=types,
        household_counts=counts,
        schools=schools_of,
        work=work_of,
        vaccination=_vaccination(folder, study, vaccination, population),
        campaign_doses=doses,
        places=read_places(folder, study) if community.coupling is not None else None,
        contacts=None if community.contacts is None else _contacts(folder, study, community.contacts),
        importations=None if imported is None else _importations(folder, study, imported),
        prior_cases=None if before is None else read_prior_cases(folder, study, before, population),
        own=own,
    )


def people_of(study: Study, folder: Path | str | None = None) -> int:
    """How many people the study's region has, from its table of the population alone.

    Raises:
        DataError: the folder or the table is missing or damaged.
    """
    return int(_population(_folder_of(study, folder), study).sum())


def _folder_of(study: Study, folder: Path | str | None) -> Path:
    """The folder of a study's tables, or the one given instead."""
    out = study.data if folder is None else Path(folder)
    if not out.is_dir():
        raise DataError(f"The folder of data {out} was not found; give a folder that holds the study's tables.")
    return out


def _population(folder: Path, study: Study) -> NDArray[np.int64]:
    name, axis, bands = "population.csv", study.region.axis, study.ages.names
    table = tables.read_table(folder, name, (axis, *bands), text=(axis,))
    tables.ordered(table, name, axis, study.region.names)
    people = tables.whole_numbers(table, name, bands)[list(bands)].to_numpy(np.int64)
    if (people == 0).any():
        row, column = (int(i[0]) for i in np.nonzero(people == 0))
        raise DataError(
            f"{name}, line {row + 2}, column {bands[column]!r}: found 0 people, expected at least one; correct it."
        )
    return people


def _ages(folder: Path, study: Study, population: NDArray[np.int64]) -> pd.DataFrame:
    """Finer ages from `ages.csv`; without this file the study's own bands."""
    name, bands = "ages.csv", study.ages.names
    if not (folder / name).is_file():
        people = population.sum(0)
        return pd.DataFrame({"age_band": list(bands), "from_age": list(study.ages.breaks), "people": people})
    table = tables.read_table(folder, name, ("age_band", "from_age", "people"), text=("age_band",))
    tables.known(table, name, "age_band", bands)
    table = tables.whole_numbers(table, name, ("from_age", "people"))
    right = [bands[study.ages.band_of(age)] for age in table["from_age"]]
    bad = ((table["age_band"] != right) | table.duplicated("from_age")).to_numpy()
    if bad.any():
        line = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{name}, line {line + 2}: found people from {table['from_age'][line]} on in the band {table['age_band'][line]}, expected each age "
            "once and in its band; correct the row."
        )
    empty = [band for band in bands if not table.loc[table["age_band"] == band, "people"].sum()]
    if empty:
        raise DataError(f"{name}: found nobody in the age band {empty[0]}, expected people in every band; add rows.")
    return table


def _households(folder: Path, study: Study) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    name, bands, regions = study.need(Households, "The population").table, study.ages.names, study.region.names
    by_region = tables.has_column(folder, name, regions[0])
    counted = regions if by_region else ("households",)
    table = tables.whole_numbers(tables.read_table(folder, name, (*bands, *counted)), name, (*bands, *counted))
    types = table[list(bands)].to_numpy(np.int64)
    large = types.sum(1) > LARGEST_HOUSEHOLD
    if large.any():
        line = int(np.flatnonzero(large)[0])
        raise DataError(
            f"{name}, line {line + 2}: found a household of {int(types.sum(1)[line]):,} people, expected at most {LARGEST_HOUSEHOLD:,}; "
            "correct it."
        )
    empty, twice = types.sum(1) == 0, table.duplicated(list(bands)).to_numpy()
    if empty.any() or twice.any():
        line = int(np.flatnonzero(empty | twice)[0]) + 2
        what = "a household type without members" if empty.any() else "a household type that is listed before"
        raise DataError(f"{name}, line {line}: found {what}, expected each type once with members; remove the row.")
    counts = table[list(counted)].to_numpy(np.int64)
    return types, counts.T if by_region else counts[:, 0]


def _schools(folder: Path, study: Study, part: Schools) -> pd.DataFrame:
    name, whole, axis = part.table, ("age_min", "age_max", "size", "schools"), study.region.axis
    table = tables.read_table(folder, name, (axis, "type", *whole), text=(axis, "type"))
    tables.known(table, name, axis, study.region.names)
    tables.known(table, name, "type", part.types)
    table = tables.whole_numbers(table, name, whole)
    bad = (table["age_max"] < table["age_min"]) | (table["size"] == 0) | (table["schools"] == 0)
    if bad.any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise DataError(
            f"{name}, line {line}: expected age_min <= age_max and size and schools above 0; correct the row."
        )
    return table


def _work(folder: Path, study: Study, part: Workplaces) -> pd.DataFrame:
    name, axis = part.table, study.region.axis
    if len(part.employment) != len(study.ages):
        raise DataError(
            f"Workplaces has employment of {len(part.employment)} age bands, and the study has {len(study.ages)}; give one for each."
        )
    table = tables.read_table(folder, name, (axis, "employees"), text=(axis,))
    tables.ordered(table, name, axis, study.region.names)
    return tables.whole_numbers(table, name, ("employees",)).set_index(axis)


def _vaccination(
    folder: Path, study: Study, part: Vaccination | None, population: NDArray[np.int64]
) -> NDArray[np.float64]:
    if part is None:
        return np.ones((*population.shape, 1))
    name, axis, states = part.table, study.region.axis, part.states
    table = tables.read_table(folder, name, (axis, "age_band", *states), text=(axis, "age_band"))
    tables.known(table, name, axis, study.region.names)
    tables.known(table, name, "age_band", study.ages.names)
    table = tables.fractions(table, name, states)
    cell = table[axis] + ", " + table["age_band"]
    cells = [f"{d}, {a}" for d in study.region.names for a in study.ages.names]
    tables.ordered(pd.DataFrame({f"{axis}, age_band": cell}), name, f"{axis}, age_band", cells)
    return table[list(states)].to_numpy(np.float64).reshape(*population.shape, len(states))


def _campaign(folder: Path, study: Study, part: Campaign) -> pd.DataFrame:
    name, column, bands = part.table, part.column, study.ages.names
    table = tables.read_table(folder, name, ("date", "age_band", column), text=("date", "age_band"))
    tables.known(table, name, "age_band", bands)
    table = tables.whole_numbers(table, name, (column,))
    day = pd.to_datetime(table["date"], format="%Y-%m-%d", errors="coerce")
    bad = (day.isna() | table.duplicated(["date", "age_band"])).to_numpy()
    if bad.any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise DataError(
            f"{name}, line {line}: expected a date as YYYY-MM-DD and one row for each day and age band; correct the row."
        )
    wide = table.assign(date=day).pivot(index="date", columns="age_band", values=column).reindex(columns=list(bands))
    if wide.isna().any(axis=None) or (wide.diff().iloc[1:] < 0).any(axis=None):
        raise DataError(
            f"{name}: expected every age band on every day, and doses given that never fall; add or correct rows."
        )
    week, counted_on = timedelta(days=7), study.need(Vaccination, "The campaign").counted_on
    first, last = wide.index[0].date(), wide.index[-1].date()
    if first > counted_on + week or last < part.known_until - week:
        raise DataError(
            f"{name}: found the days {first} to {last}, expected the register from {counted_on} to {part.known_until}; add rows, or correct "
            "the years."
        )
    return wide.astype(np.int64)


def read_places(folder: Path, study: Study) -> pd.DataFrame:
    """Latitude and longitude of the regions, from the study or its table."""
    region, degrees = study.region, ("latitude", "longitude")
    if region.coordinates is not None:
        rows = [region.coordinates[name] for name in region.names]
        return pd.DataFrame(rows, columns=list(degrees), index=pd.Index(region.names, name=region.axis))
    name = region.place_table
    table = tables.read_table(folder, name, (region.axis, *degrees), text=(region.axis,))
    tables.ordered(table, name, region.axis, region.names)
    return tables.numbers(table, name, degrees, low=-180.0).set_index(region.axis)


def _contacts(folder: Path, study: Study, name: str) -> NDArray[np.float64]:
    bands = study.ages.names
    table = tables.read_table(folder, name, ("age_band", *bands), text=("age_band",))
    tables.ordered(table, name, "age_band", bands)
    matrix = tables.numbers(table, name, bands)[list(bands)].to_numpy(np.float64)
    if not matrix.sum(1).all():
        row = int(np.flatnonzero(matrix.sum(1) == 0)[0])
        raise DataError(f"{name}, line {row + 2}: people of {bands[row]} have no contact; correct the row.")
    return matrix


def _importations(folder: Path, study: Study, part: Importations) -> pd.DataFrame:
    name, axis = part.table, study.region.axis
    table = tables.read_table(folder, name, ("date", axis, "infections"), text=("date", axis))
    tables.known(table, name, axis, study.region.names)
    table = tables.numbers(table, name, ("infections",))
    day = pd.to_datetime(table["date"], format="%Y-%m-%d", errors="coerce")
    bad = (day.isna() | table.duplicated(["date", axis])).to_numpy()
    if bad.any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise DataError(
            f"{name}, line {line}: expected a date as YYYY-MM-DD and one row for each day and {axis}; correct the row."
        )
    wide = table.assign(date=day).pivot(index="date", columns=axis, values="infections")
    return wide.reindex(columns=list(study.region.names)).fillna(0.0)
