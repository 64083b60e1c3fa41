"""`python -m experiments.ili`: every forecast of the protocol, and its scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table

from calib import atomic_write_csv
from experiments._chosen import chosen
from experiments.ili._data import HERE, read
from experiments.ili._models import MODELS
from experiments.ili._protocol import rows, run, score, validate
from posterity.commands.usage import run as run_module

PRINTED = ("nd", "rmse", "mae", "wis", "relative_wis", "coverage_50", "coverage_95")


def main(
    output: Annotated[Path, typer.Option(help="Folder of forecasts.csv and scores.csv.")] = HERE / "results",
    models: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(MODELS)}.")] = ",".join(MODELS),
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    validation: Annotated[
        bool, typer.Option("--validate", help="Forecast the seven earlier seasons instead, and write nothing.")
    ] = False,
) -> None:
    """Forecast influenza-like illness of Massachusetts in 2017-18, and score the forecasts."""
    console = Console(file=sys.stderr)
    names = chosen(models, MODELS, console)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    whole = read()
    if validation:
        _print(validate(whole, names, seed))
        return
    made = run(whole, names, lambda text: console.print(text, highlight=False), seed)
    scores = score(made, whole, seed)
    output.mkdir(parents=True, exist_ok=True)
    atomic_write_csv(output / "forecasts.csv", rows(made))
    atomic_write_csv(output / "scores.csv", scores)
    _print(scores[scores["forecast_epiweek"] == "mean"])


def _print(scores: pd.DataFrame) -> None:
    table = Table("model", *PRINTED)
    for _, row in scores.iterrows():
        table.add_row(row["model"], *(f"{row[c]:.3f}" for c in PRINTED))
    Console(width=140).print(table)


if __name__ == "__main__":
    run_module(main)
