"""`posterity report RUN`: plots and report page of a run, made anew from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calib import RunFolder
from epi.outputs.run_files import RunFiles
from epi.reporting.draw import draw_run
from epi.reporting.plots import PLOTS
from epi.reporting.report import REPORT
from posterity.commands.errors import one_sentence


def main(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Make plots and report.html anew from the files of a run."""
    console = Console(stderr=True)
    with one_sentence(console):
        RunFiles(run).finished()
        with RunFolder.open(run).redrawing(PLOTS, REPORT):
            page = draw_run(run)
        print(page)
