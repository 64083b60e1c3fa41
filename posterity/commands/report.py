"""`posterity report RUN`: plots and report page of a run, made anew from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from epi.reporting.plots import draw_all
from epi.reporting.report import write_report
from posterity.commands.errors import one_sentence


def main(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Make plots and report.html anew from the files of a run."""
    console = Console(stderr=True)
    with one_sentence(console):
        draw_all(run)
        print(write_report(run))
