"""`python -m experiments.massachusetts`: every forecast of the protocol, and its scores."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from calib import atomic_write_csv
from experiments._chosen import chosen
from experiments.massachusetts._data import HERE, read
from experiments.massachusetts._protocol import ALL, rows, run, score
from posterity.commands.usage import run as run_module

WRITTEN = ("main", "hub_baseline", "random_walk", "seirm", "agents", "gru")
"""Models whose forecasts are written; the others are scored alone, so that the file stays small."""
PRINTED = (
    "nd",
    "nd_weekly",
    "nd_weekly_median",
    "rmse",
    "mae",
    "relative_wis_daily",
    "relative_wis_weekly",
    "coverage_95_daily",
    "coverage_95_weekly",
)


def main(
    output: Annotated[Path, typer.Option(help="Folder of forecasts.csv and scores.csv.")] = HERE / "results",
    models: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(ALL)}.")] = ",".join(ALL),
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    keep: Annotated[
        Path | None, typer.Option(help="Folder in which forecasts are kept, so that a run that was stopped goes on.")
    ] = None,
) -> None:
    """Forecast deaths of ten Massachusetts counties, and score the forecasts."""
    console = Console(file=sys.stderr)
    names = chosen(models, ALL, console)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    whole = read()
    with TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        made = run(whole, names, folder, lambda text: console.print(text, highlight=False), seed)
    output.mkdir(parents=True, exist_ok=True)
    scores = score(made, whole, seed)
    written = [one for one in made if one.model in WRITTEN] or made
    atomic_write_csv(output / "forecasts.csv", rows(written, whole))
    atomic_write_csv(output / "scores.csv", scores)
    table = Table("model", *PRINTED)
    for _, row in scores[scores["forecast_epiweek"] == "mean"].iterrows():
        table.add_row(row["model"], *(f"{row[c]:.2f}" for c in PRINTED))
    Console(width=200).print(table)


if __name__ == "__main__":
    run_module(main)
