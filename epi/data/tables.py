"""Checks of one table: every way a CSV file can disappoint has its sentence."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from epi.data.bounds import LARGEST_AMOUNT, LARGEST_COUNT, check_header, header_of, outside
from epi.errors import DataError

__all__ = ["by_week", "fractions", "has_column", "known", "numbers", "ordered", "read_table", "weeks", "whole_numbers"]


def read_table(folder: Path, name: str, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """Read `folder/name` and keep the named columns.

    Args:
        folder: the folder of tables.
        name: file name.
        columns: columns that must be there; others are ignored.
        text: those of `columns` that hold text and are read as such.

    Raises:
        DataError: the file is missing, cannot be parsed, is empty, or lacks a column.
    """
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path} was not found; the folder of data must hold {name} with columns {', '.join(columns)}.")
    try:
        check_header(path)
        table = pd.read_csv(path, dtype=dict.fromkeys(text, "string"), keep_default_na=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV table ({error}); write it as comma-separated UTF-8.") from error
    for column in columns:
        if column not in table.columns:
            near = difflib.get_close_matches(column, [str(c) for c in table.columns], 1, 0.6)
            hint = f"rename column {near[0]!r}" if near else f"add it (found {', '.join(map(str, table.columns))})"
            raise DataError(f"{name} has no column {column!r}; {hint}.")
    if table.empty:
        raise DataError(f"{name} has no rows; at least one is expected below the header.")
    for column in text:
        _reject(table[column].isna(), table, name, column, "text")
    return table[list(columns)]


def has_column(folder: Path, name: str, column: str) -> bool:
    """Whether a table has a column; no where it cannot be read, which `read_table` says."""
    try:
        return column in header_of(folder / name)
    except (OSError, ValueError, csv.Error):
        return False


def _reject(bad: pd.Series, table: pd.DataFrame, name: str, column: str, expected: str) -> None:
    """Raise for the first row marked bad, by its line in the file (the header is line 1)."""
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        value = table[column].iloc[row]
        found = "nothing" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)
        found = found if len(found) <= 80 else f"{found[:40]}... ({len(found):,} characters)"
        raise DataError(f"{name}, line {row + 2}, column {column!r}: found {found}, expected {expected}; correct it.")


def _floats(cells: pd.Series) -> pd.Series:
    """A column as float64; what is no number, or has hundreds of digits, is NaN."""
    try:
        return pd.to_numeric(cells, errors="coerce").astype("float64")
    except OverflowError:  # whole numbers of more than 308 digits
        return cells.map(lambda cell: float(str(cell)) if len(str(cell)) <= 300 else np.nan).astype("float64")


def numbers(table: pd.DataFrame, name: str, columns: Sequence[str], low: float = 0.0) -> pd.DataFrame:
    """Return the table with `columns` as float64, each finite and at least `low`.

    Raises:
        DataError: an entry is blank, not a number, infinite or below `low`.
    """
    out = table.copy()
    for column in columns:
        value = _floats(table[column])
        bad, bounds = outside(value.to_numpy(), column, low, LARGEST_AMOUNT)
        if low == 0.0:
            _reject(~np.isfinite(value) | (value < 0), table, name, column, "a number that is not negative")
        _reject(pd.Series(bad), table, name, column, f"a number {bounds}")
        out[column] = value
    return out


def whole_numbers(table: pd.DataFrame, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with `columns` as int64 counts.

    Raises:
        DataError: an entry is blank, negative or not a whole number.
    """
    out = table.copy()
    for column in columns:
        value = _floats(table[column])
        _reject(
            ~np.isfinite(value) | (value < 0) | (value != np.floor(value)),
            table, name, column, "a whole number that is not negative",
        )  # fmt: skip
        bad, bounds = outside(value.to_numpy(), column, 0.0, LARGEST_COUNT)
        _reject(pd.Series(bad), table, name, column, f"a whole number {bounds}")
        out[column] = value.astype("int64")
    return out


def known(table: pd.DataFrame, name: str, column: str, allowed: Sequence[str]) -> None:
    """Check that a column holds nothing but the allowed names.

    Raises:
        DataError: a name is unknown; the closest known one is suggested.
    """
    bad = ~table[column].isin(list(allowed))
    if bad.any():
        value = str(table[column][bad].iloc[0])
        near = difflib.get_close_matches(value, allowed, 1, 0.6)
        _reject(bad, table, name, column, repr(near[0]) if near else f"one of {', '.join(allowed)}")


def ordered(table: pd.DataFrame, name: str, column: str, expected: Sequence[str]) -> None:
    """Check that a column lists exactly the expected names, in their order.

    Raises:
        DataError: a name is unknown, twice there, missing or out of place.
    """
    known(table, name, column, expected)
    found = list(table[column])
    for value in found:
        if found.count(value) > 1:
            raise DataError(f"{name} has {found.count(value)} rows for {value!r}, expected one; remove the others.")
    for line, (have, want) in enumerate(zip(found, expected, strict=False), start=2):
        if have != want:
            raise DataError(f"{name}, line {line}: found {have!r}, expected {want!r}; order the rows as documented.")
    if len(found) < len(expected):
        raise DataError(f"{name} has no row for {expected[len(found)]!r}; add it as line {len(found) + 2}.")


def weeks(table: pd.DataFrame, name: str, day_name: str, *, gaps: bool = False) -> pd.DataFrame:
    """Return the table with `week_ending` as dates: the days that end weeks, none left out between first and last.

    Args:
        table: rows with a column `week_ending`.
        name: of the file.
        day_name: the day on which weeks end, such as "Sunday".
        gaps: whether weeks may be left out.

    Raises:
        DataError: a date is not ISO, is another day of the week, or a week is missing.
    """
    day = pd.to_datetime(table["week_ending"], format="%Y-%m-%d", errors="coerce")
    _reject(day.isna(), table, name, "week_ending", "a date as YYYY-MM-DD")
    _reject(day.dt.day_name() != day_name, table, name, "week_ending", f"a {day_name}, the last day of the week")
    have = pd.DatetimeIndex(sorted(day.unique()))
    gap = pd.date_range(have[0], have[-1], freq="7D").difference(have)
    if len(gap) and not gaps:
        raise DataError(f"{name} has no rows for the week ending {gap[0].date()}, expected every week; add that week.")
    return table.assign(week_ending=day)


def by_week(table: pd.DataFrame, name: str, key: str, order: Sequence[str], value: str) -> pd.DataFrame:
    """Turn rows (week, key, value) into a frame indexed by week with a column for each name in `order`.

    Raises:
        DataError: a name is unknown, a row is there twice, or a week lacks a name.
    """
    known(table, name, key, order)
    twice = table.duplicated(["week_ending", key])
    if twice.any():
        row = table[twice].iloc[0]
        raise DataError(
            f"{name}, line {int(np.flatnonzero(twice)[0]) + 2}: found a second row for {row[key]!r} in the "
            f"week ending {row['week_ending'].date()}, expected one; remove one of them."
        )
    wide = table.pivot(index="week_ending", columns=key, values=value).reindex(columns=list(order))
    missing = wide.isna()
    if missing.any().any():
        week, place = next((w, c) for w, row in missing.iterrows() for c in order if row[c])
        raise DataError(f"{name} has no row for {place!r} in the week ending {week.date()}, expected one; add it.")
    wide = wide.astype(table[value].dtype).rename_axis(index="week", columns=key)
    return wide


def fractions(table: pd.DataFrame, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with `columns` scaled to sum to exactly 1 in each row.

    Raises:
        DataError: an entry is negative or not a number, or a row is more than 0.001 off 1.
    """
    out = numbers(table, name, columns)
    total = out[list(columns)].sum(axis=1)
    off = (total - 1).abs() > 1e-3
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise DataError(
            f"{name}, line {row + 2}: {', '.join(columns)} add up to {total.iloc[row]:.4f}, expected 1; "
            "correct the fractions."
        )
    out[list(columns)] = out[list(columns)].div(total, axis=0)
    return out
