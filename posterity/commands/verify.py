"""`posterity verify RUN`: are the files of a run those that it wrote?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calib import RunFolder
from posterity.commands.errors import one_sentence


def main(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Compare the run's files with the checksums in its manifest; exit code 1 if one is changed or missing."""
    console = Console(stderr=True)
    with one_sentence(console):
        found = RunFolder.open(run).verify()
    for what, names in (
        ("changed", found.changed),
        ("missing", found.missing),
        ("not written by the run", found.added),
    ):
        for name in names:
            print(f"{what}: {name}")
    print(f"{len(found.same)} files are as the run wrote them.")
    if not found.intact:
        raise typer.Exit(1)
