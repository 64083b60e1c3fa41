"""`posterity validate STUDY`: do the declaration and its tables fit together? Nothing is simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from epi.inference.settings import make_config
from epi.inference.setup import read_data
from epi.study import load_study
from posterity._studies import find
from posterity.commands.errors import one_sentence


def main(
    study: Annotated[str, typer.Argument(help="A study by name, or a folder that holds a study.py.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with tables of your own; default the study's.")
    ] = None,
) -> None:
    """Check a study and its tables; ends with one sentence about the first thing that does not fit."""
    console = Console(stderr=True)
    with one_sentence(console):
        source = find(study)
        declared = load_study(source)
        read_data(make_config(source, smoke=False, device="cpu", data=str(data) if data else None))
        size = sum(max(1, len(p.labels)) for p in declared.parameters())
        print(f"{declared.title}: the study and its tables fit together.")
        print(f"{len(declared.region.names)} regions, {len(declared.ages.names)} age bands, {size} parameters.")
        print(
            f"Streams: {', '.join(s.name for s in declared.observed)}; in the likelihood: {', '.join(declared.default_options)}."
        )
