"""Compact tables of a study, written from a folder of public source tables by one command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from calib import atomic_write_text


def write_tables(makers: Sequence[Callable[[dict[str, pd.DataFrame]], pd.DataFrame]], title: str, output: Path) -> None:
    """Read the source folder that the command line names, write `NAME.csv` for each maker, named by it, and print the sizes.

    Args:
        makers: one function a table, of the source tables by the names of their files.
        title: what the command does, for its help.
        output: folder to write to, unless `--output` names another.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("source", type=Path, help="folder with the source tables")
    parser.add_argument("--output", type=Path, default=output, help="folder to write to")
    arguments = parser.parse_args()
    source = {path.stem: pd.read_csv(path) for path in sorted(arguments.source.glob("*.csv"))}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for make in makers:
        path = arguments.output / f"{make.__name__}.csv"
        atomic_write_text(path, make(source).to_csv(index=False, lineterminator="\n"))  # every digit
        print(f"{path.name:22s} {path.stat().st_size / 1000:7.1f} kB")
