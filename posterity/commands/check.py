"""`posterity check RUN`: can this calibration be believed? One page of verdicts from a run's files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from epi.outputs.run_files import RunFiles
from epi.reporting.verdicts import judge_run
from posterity.commands.errors import one_sentence

FAILED = 1


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where check.html and check.json go; default the run's folder."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if a check failed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON instead of text.")] = False,
) -> None:
    """Judge a finished calibration: prints one page of verdicts and writes it as check.html and check.json."""
    console = Console(stderr=True)
    with one_sentence(console):
        judged = judge_run(RunFiles(run).finished())
        pictures = {}
        for name, draw in judged.plots.items():
            buffer = io.BytesIO()
            draw().savefig(buffer, dpi=110, format="png", metadata={"Software": None})
            pictures[name] = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        place = output or run
        judged.page.save(place / "check.json")
        judged.page.save(place / "check.html", pictures)
    print((place / "check.json").read_text(encoding="utf-8") if as_json else judged.page.text(), end="")
    console.print(f"Written to {place / 'check.html'} and {place / 'check.json'}.", highlight=False, soft_wrap=True)
    if strict and any(v.word == "fail" for v in judged.page.verdicts):
        raise typer.Exit(FAILED)
