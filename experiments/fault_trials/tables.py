"""Mutants of the tables of the made-up study: each is one fault of a table, and says whether it must be refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epi.data import EpidemicData
from epi.errors import DataError
from epi.inference.settings import make_config
from epi.inference.setup import read_data
from experiments.fault_trials.outcome import Outcome
from posterity.template.study import study

__all__ = ["MUTATIONS", "SOURCE", "judge", "mutants"]

SOURCE = "posterity.template.study"
Rows = list[list[str]]
Change = Callable[[Rows, np.random.Generator, str], "Rows | bytes | None"]
COUNTS = {
    "cases_county.csv": ("cases",), "admissions_age.csv": ("admissions",), "population.csv": ("0-19", "20-59", "60+"),
    "households.csv": ("0-19", "20-59", "60+", "households"), "schools.csv": ("age_min", "age_max", "size", "schools"),
    "work.csv": ("employees",),
}  # fmt: skip
"""Columns of counts by table."""
NAMES = dict.fromkeys(COUNTS, "county") | {"admissions_age.csv": "age_band"}
"""Columns of names by table; that of households has none."""
WEEKLY = ("cases_county.csv", "admissions_age.csv")


@dataclass(frozen=True)
class Mutation:
    """A kind of fault.

    Attributes:
        name: in words.
        change: rows of a table (the first is the header) to those of the mutant, or its bytes; None where the table has no such fault.
        refuse: whether it must be refused; one that need not be gives the same data.
    """

    name: str
    change: Change
    refuse: bool = True


def _cell(value: str) -> Change:
    """A count becomes a value."""

    def change(rows: Rows, rng: np.random.Generator, table: str) -> Rows:
        column = rows[0].index(str(rng.choice(COUNTS[table])))
        rows[int(rng.integers(1, len(rows)))][column] = value
        return rows

    return change


def _only(tables: tuple[str, ...], change: Change) -> Change:
    return lambda rows, rng, table: change(rows, rng, table) if table in tables else None


def _name(value: Callable[[str], str]) -> Change:
    """The name of a place or an age becomes another."""

    def change(rows: Rows, rng: np.random.Generator, table: str) -> Rows | None:
        if NAMES[table] not in rows[0]:
            return None
        row = rows[int(rng.integers(1, len(rows)))]
        at = rows[0].index(NAMES[table])
        row[at] = value(row[at])
        return rows

    return change


def _date(value: Callable[[str], str]) -> Change:
    def change(rows: Rows, rng: np.random.Generator, table: str) -> Rows:
        row = rows[int(rng.integers(1, len(rows)))]
        row[rows[0].index("week_ending")] = value(row[rows[0].index("week_ending")])
        return rows

    return _only(WEEKLY, change)


def _header(repeat: bool) -> Change:
    """A column of counts is there twice, or has lost its name."""

    def change(rows: Rows, rng: np.random.Generator, table: str) -> Rows:
        at = rows[0].index(str(rng.choice(COUNTS[table])))
        if repeat:
            return [[*row, row[at]] for row in rows]
        rows[0][at] = "other"
        return rows

    return change


def _row(twice: bool) -> Change:
    """A row is there twice, or gone; of households and schools one that is gone cannot be missed."""

    def change(rows: Rows, rng: np.random.Generator, table: str) -> Rows | None:
        at = int(rng.integers(1, len(rows)))
        if twice:
            return None if table == "schools.csv" else [*rows[:at], rows[at], *rows[at:]]
        return None if table in ("households.csv", "schools.csv") else [*rows[:at], *rows[at + 1 :]]

    return change


def _half(rows: Rows, rng: np.random.Generator, table: str) -> Rows | None:
    return None if table in ("households.csv", "schools.csv") else rows[: 1 + (len(rows) - 1) // 2]


def _shuffled(rows: Rows, rng: np.random.Generator, table: str) -> Rows | None:
    return [rows[0], *(rows[1 + i] for i in rng.permutation(len(rows) - 1))] if table in WEEKLY else None


def _swapped(rows: Rows, rng: np.random.Generator, table: str) -> Rows | None:
    """Columns in another order."""
    order = rng.permutation(len(rows[0]))
    return [[row[i] for i in order] for row in rows]


def _bytes(make: Callable[[bytes], bytes]) -> Change:
    return lambda rows, rng, table: make(_text(rows).encode())


def _text(rows: Rows) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


MUTATIONS = (
    Mutation("a word for a count", _cell("many")),
    Mutation("a negative count", _cell("-3")),
    Mutation("half a person", _cell("2.5")),
    Mutation("a blank", _cell("")),
    Mutation("NaN", _cell("nan")),
    Mutation("infinity", _cell("inf")),
    Mutation("1e19, which wraps", _cell("1e19")),
    Mutation("2**63", _cell(str(2**63))),
    Mutation("400 digits", _cell("9" * 400)),
    Mutation("1e300", _cell("1e300")),
    Mutation("a thousands separator", _cell("1 000")),
    Mutation("a hexadecimal", _cell("0x1F")),
    Mutation("ten million in a week", _only(WEEKLY, _cell("10000000"))),
    Mutation("more employees than people", _only(("work.csv",), _cell("20000"))),
    Mutation("age 150", _only(("schools.csv",), lambda rows, rng, _: _at(rows, rng, "age_max", "150"))),
    Mutation("school for nobody", _only(("schools.csv",), lambda rows, rng, _: _at(rows, rng, "size", "0"))),
    Mutation("a school of a million", _only(("schools.csv",), lambda rows, rng, _: _at(rows, rng, "size", "1000000"))),
    Mutation("ages turned round", _only(("schools.csv",), lambda rows, rng, _: _at(rows, rng, "age_min", "90"))),
    Mutation("a household of a million", _only(("households.csv",), lambda rows, rng, _: _at(rows, rng, "20-59", "1000000"))),
    Mutation("nobody in an age", _only(("population.csv",), _cell("0"))),
    Mutation("a misspelt name", _name(lambda name: name[:-1] + "x")),
    Mutation("a name in capitals", _name(lambda name: name.upper() + "_")),
    Mutation("no name", _name(lambda name: "")),
    Mutation("a name of markup", _name(lambda name: "<b>" + name)),
    Mutation("a date of the wrong form", _date(lambda day: f"{day[8:]}/{day[5:7]}/{day[:4]}")),
    Mutation("a day that ends no week", _date(lambda day: day[:8] + f"{(int(day[8:]) % 27) + 1:02d}")),
    Mutation("a year of five digits", _date(lambda day: "1" + day)),
    Mutation("no date", _date(lambda day: "")),
    Mutation("another century", _date(lambda day: "1830" + day[4:])),
    Mutation("a header twice", _header(True)),
    Mutation("a header that is gone", _header(False)),
    Mutation("200,000 columns", lambda rows, rng, table: [[*row, *map(str, range(200_000))] for row in rows[:3]]),
    Mutation("a row twice", _row(True)),
    Mutation("a row gone", _row(False)),
    Mutation("half the table", _half),
    Mutation("no rows", lambda rows, rng, table: rows[:1]),
    Mutation("an empty file", _bytes(lambda text: b"")),
    Mutation("bytes that are no text", _bytes(lambda text: b"\xff\xfe\x00\x81" + text)),
    Mutation("zeros", _bytes(lambda text: b"\0" * len(text))),
    Mutation("a quote that never closes", _bytes(lambda text: text.replace(b"\n", b'\n"', 2))),
    Mutation("tabs for commas", _bytes(lambda text: text.replace(b",", b"\t"))),
    Mutation("semicolons for commas", _bytes(lambda text: text.replace(b",", b";"))),
    Mutation("a column more", lambda rows, rng, table: [[*row, "note" if i == 0 else "x"] for i, row in enumerate(rows)], refuse=False),
    Mutation("lines of Windows", _bytes(lambda text: text.replace(b"\n", b"\r\n")), refuse=False),
    Mutation("a mark of byte order", _bytes(lambda text: b"\xef\xbb\xbf" + text), refuse=False),
    Mutation("blank lines at the end", _bytes(lambda text: text + b"\n\n\n"), refuse=False),
    Mutation("no newline at the end", _bytes(lambda text: text.rstrip(b"\n")), refuse=False),
    Mutation("rows in another order", _shuffled, refuse=False),
    Mutation("columns in another order", _swapped, refuse=False),
    Mutation("quoted cells", lambda rows, rng, table: [[f'"{cell}"' for cell in row] for row in rows], refuse=False),
)  # fmt: skip


def _at(rows: Rows, rng: np.random.Generator, column: str, value: str) -> Rows:
    rows[int(rng.integers(1, len(rows)))][rows[0].index(column)] = value
    return rows


def mutants(seed: int, repeats: int) -> Iterator[tuple[str, Mutation, str, int]]:
    """Every mutation of every table, `repeats` times: identifier, mutation, table, seed."""
    for mutation in MUTATIONS:
        for table in COUNTS:
            for n in range(repeats):
                yield f"{table}: {mutation.name}, {n}", mutation, table, seed + n


def judge(mutation: Mutation, table: str, seed: int, folder: Path) -> Outcome | None:
    """Make a mutant in a new folder and read it as a calibration does; None where the table has no such fault.

    Args:
        mutation: the fault.
        table: its file.
        seed: chooses row and column.
        folder: an empty folder.
    """
    original = (study.data / table).read_text(encoding="utf-8")
    rows = [line.split(",") for line in original.splitlines()]
    made = mutation.change(rows, np.random.default_rng([seed, sum(map(ord, mutation.name + table))]), table)
    if made is None:
        return None
    content = made if isinstance(made, bytes) else _text(made).encode()
    shutil.copytree(study.data, folder / "data")
    (folder / "data" / table).write_bytes(content)
    try:
        found = read_data(make_config(SOURCE, smoke=True, device="cpu", data=str(folder / "data")))
    except DataError as error:
        said = str(error)
        if not mutation.refuse:
            return Outcome("refused", f"although it could be read: {said}")
        return Outcome("traceback" if "\n" in said else "refused", said)
    except Exception as error:  # anything else would be a traceback
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    if not mutation.refuse:
        wanted = read_data(make_config(SOURCE, smoke=True, device="cpu"))
        return Outcome("accepted rightly" if _equal(found, wanted) else "accepted wrongly", "read as other data")
    return Outcome("accepted wrongly", "read without complaint")


def _equal(a: EpidemicData, b: EpidemicData) -> bool:
    """Whether two folders of tables say the same."""
    series = all(a.series[name].equals(b.series[name]) for name in b.series)
    arrays = all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("population", "household_types", "household_counts")
    )
    assert a.schools is not None
    assert a.work is not None
    return series and arrays and a.schools.equals(b.schools) and a.work.equals(b.work)
