"""`python -m experiments.nz_calibration.check --from RUN`: the same as `posterity check RUN`."""

from pathlib import Path
from typing import Annotated

import typer

from posterity.commands import check
from posterity.commands.usage import run as run_module


def main(
    folder: Annotated[Path, typer.Option("--from", help="Folder of a finished run.")] = Path("results/nz_calibration"),
    output: Annotated[
        Path | None, typer.Option(help="Where check.html and check.json go; default the run's folder.")
    ] = None,
) -> None:
    """Judge a finished calibration: prints one page of verdicts and writes it as check.html and check.json."""
    check.main(folder, output)


if __name__ == "__main__":
    run_module(main)
