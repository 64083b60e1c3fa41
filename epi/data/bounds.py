"""Bounds of the columns of a study's tables, declared once, and the checks of a header that precede them."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epi.errors import DataError

__all__ = ["LARGEST_COUNT", "Bound", "bound_of", "check_header", "header_of", "outside"]

LARGEST_COUNT = 1e12
"""No table counts more people or events than this; float64 holds every whole number up to 9e15."""
LARGEST_AMOUNT = 1e18
"""No measurement, such as gene copies a day, is larger."""
MOST_COLUMNS = 5_000


@dataclass(frozen=True)
class Bound:
    """Least and greatest value of a column."""

    low: float
    high: float


BOUNDS = {
    "latitude": Bound(-90.0, 90.0), "longitude": Bound(-180.0, 180.0), "age_min": Bound(0, 120), "age_max": Bound(0, 120),
    "from_age": Bound(0, 120), "size": Bound(0, 100_000), "schools": Bound(0, 1e6),
}  # fmt: skip
"""By name of the column; all others are counts of at most `LARGEST_COUNT`, or measurements of at most `LARGEST_AMOUNT`."""


def bound_of(column: str, low: float = 0.0, high: float = LARGEST_COUNT) -> Bound:
    """The bound of a column; `low` and `high` where it is not declared.

    Examples:
        >>> bound_of("latitude")
        Bound(low=-90.0, high=90.0)
    """
    return BOUNDS.get(column, Bound(low, high))


def header_of(path: Path) -> list[str]:
    """Names of the columns of a table, read without its rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader([file.readline()]), [])


def check_header(path: Path) -> None:
    """Refuse a header that names a column twice, has thousands of columns or is no text.

    Raises:
        DataError: it does.
    """
    header = header_of(path)
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{path.name} has {len(header):,} columns, expected at most {MOST_COLUMNS:,}; check the file.")
    if any("\0" in name for name in header):
        raise DataError(f"{path.name} begins with bytes that are no text; write it as comma-separated UTF-8.")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"{path.name} has the column {twice[0]!r} more than once, expected once; remove or rename one.")


def outside(values: np.ndarray, column: str, low: float, high: float) -> tuple[np.ndarray, str]:
    """Which values `[n]` are not finite or outside the bound, and what was expected in words."""
    bound = bound_of(column, low, high)
    bad = ~np.isfinite(values) | (values < bound.low) | (values > bound.high)
    return bad, f"from {bound.low:g} to {bound.high:g}"
