"""`python -m experiments.nz_calibration.check`: can this calibration be believed? One page of verdicts from a run's files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calib._runfolder import RunFolderError
from epi.errors import StudyError
from epi.outputs.run_files import RunFiles
from epi.reporting.verdicts import judge_run

console = Console(stderr=True)


def main(
    folder: Annotated[Path, typer.Option("--from", help="Folder of a finished run.")] = Path("results/nz_calibration"),
    output: Annotated[
        Path | None, typer.Option(help="Where check.html and check.json go; default the run's folder.")
    ] = None,
) -> None:
    """Judge a finished calibration: prints one page of verdicts and writes it as check.html and check.json."""
    try:
        judged = judge_run(RunFiles(folder))
    except (StudyError, RunFolderError) as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    pictures = {}
    for name, draw in judged.figures.items():
        buffer = io.BytesIO()
        draw().savefig(buffer, dpi=110, format="png", metadata={"Software": None})
        pictures[name] = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    place = output or folder
    judged.page.save(place / "check.json")
    judged.page.save(place / "check.html", pictures)
    print(judged.page.text(), end="")
    console.print(f"Written to {place / 'check.html'} and {place / 'check.json'}.", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
