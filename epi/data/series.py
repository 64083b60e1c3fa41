"""The weekly series of a stream, from its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from epi.data import tables
from epi.errors import DataError
from epi.study import Stream, Study, Wastewater
from epi.study.data_streams import ALL

__all__ = ["key_column", "read_series"]


def key_column(study: Study, stream: Stream) -> str | None:
    """The column of a stream's table that names its places; None for a stream of one number a week."""
    if stream.by == "age":
        return "age_band"
    if isinstance(stream, Wastewater) and stream.sites is not None:
        return stream.site_column or stream.by
    return None if stream.by == ALL or (len(stream.places(study)) == 1 and stream.by not in study.axes) else stream.by


def read_series(folder: Path, study: Study, stream: Stream, column: str) -> pd.DataFrame:
    """Every week that a table has of a stream, one column a place, in the units of its expectation.

    Args:
        folder: where the table lies.
        study: gives places and weeks.
        stream: the stream.
        column: which column is read.

    Raises:
        DataError: the table is damaged, or lacks a place or a week.
    """
    name, key = stream.table, key_column(study, stream)
    wanted = [k for k in (key, *stream.keep) if k is not None]
    by_people = isinstance(stream, Wastewater) and stream.sites is not None
    values = [column, stream.people_column] if isinstance(stream, Wastewater) and by_people else [column]
    text = ("week_ending", *dict.fromkeys(wanted))
    table = tables.read_table(folder, name, (*text, *values), text=text)
    whole = stream.counts and not _averages(stream)
    table = tables.whole_numbers(table, name, values) if whole else tables.numbers(table, name, values)
    table = tables.weeks(table, name, f"{study.calendar.first_week:%A}", gaps=stream.gaps)
    places = stream.places(study)
    if key is not None and not by_people:
        tables.known(table, name, key, (*places, *stream.ignore))
    # rows are checked by their lines first, then chosen
    for kept, value in stream.keep.items():
        table = table[table[kept] == value].reset_index(drop=True)
        if table.empty:
            raise DataError(
                f"{name} has no row with {kept} {value!r}, which stream {stream.name!r} reads; add its rows."
            )
    if stream.counts:  # a mean of counts over days is compared with a count
        table = table.assign(**{column: table[column].round()})
    if isinstance(stream, Wastewater) and stream.sites is not None:
        return _by_site(table, name, stream, key or stream.by, column)
    if key is None:
        table, key = table.assign(place=places[0]), "place"
    if stream.gaps:
        return _with_gaps(table, name, key, places, column)
    every = (*places, *stream.ignore)
    wide = tables.by_week(table, name, key, every, column).rename_axis(index="week", columns=key)
    return wide[list(places)]


def _averages(stream: Stream) -> bool:
    """Whether counts in the table are means over days, which need not be whole."""
    return stream.kind == "occupancy"


def _with_gaps(table: pd.DataFrame, name: str, key: str, places: tuple[str, ...], column: str) -> pd.DataFrame:
    """As `by_week` where weeks of a place may be missing (NaN)."""
    twice = table.duplicated(["week_ending", key])
    if twice.any():
        line = int(np.flatnonzero(twice)[0]) + 2
        raise DataError(f"{name}, line {line}: found a second row for a week and {key}, expected one; remove one.")
    absent = [p for p in places if p not in set(table[key])]
    if absent:
        raise DataError(f"{name} has no row for {absent[0]!r}, expected every {key}; add its weeks.")
    wide = table.pivot(index="week_ending", columns=key, values=column).reindex(columns=list(places))
    return wide.rename_axis(index="week", columns=key)


def _by_site(table: pd.DataFrame, name: str, stream: Wastewater, key: str, column: str) -> pd.DataFrame:
    """The mean over a place's sites, by the people covered."""
    twice = table.duplicated(["week_ending", key])
    if twice.any():
        line = int(np.flatnonzero(twice)[0]) + 2
        raise DataError(f"{name}, line {line}: found a second row for a week and {key}, expected one; remove one.")
    table, columns = table.rename(columns={"week_ending": "week"}), {}
    for place, sites in (stream.sites or {}).items():
        here = table[table[key].isin(sites)]
        weight = here[stream.people_column]
        copies = (here[column] * weight).groupby(here["week"]).sum()
        columns[place] = copies / weight.groupby(here["week"]).sum() / stream.divide_by
    return pd.DataFrame(columns)
