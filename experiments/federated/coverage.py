"""`python -m experiments.federated.coverage`: do intervals of a private release cover? Many epidemics of the made-up two-region study.

Each epidemic has parameters drawn from the prior. The runs of the simulator are public, so one emulator, of runs at draws of the calibration
of the counts without noise, serves all likelihoods: of the counts, and of the released counts with and without knowledge of the noise.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from rich.console import Console

from calib import FitError, atomic_write_csv, atomic_write_json
from calib.privacy import NoisyObservations, naive
from epi.errors import StudyError
from experiments.federated._build import build, calibrate
from experiments.federated._private import posterior_draws, show
from posterity.commands.usage import run as run_module

STUDY = "posterity.template.study"
RESULTS = Path(__file__).parent / "results"


def main(
    epidemics: Annotated[int, typer.Option(help="How many epidemics in all.")] = 100,
    epsilon: Annotated[float, typer.Option(help="Of the release.")] = 1.0,
    minutes: Annotated[float, typer.Option(help="Begin no epidemic after so many minutes.")] = 1e9,
    output: Annotated[Path, typer.Option(help="Folder; what is finished there is kept.")] = Path(
        "results/federated_coverage"
    ),
    keep: Annotated[Path | None, typer.Option(help="A folder for a copy of the table.")] = None,
) -> None:
    """Calibrate epidemics with known parameters and count how many of these lie in their 90 % intervals."""
    console, began = Console(stderr=True), time.monotonic()
    for number in range(epidemics):
        file = output / "epidemics" / f"{number:04d}_{epsilon:g}.json"
        if file.exists():
            continue
        if time.monotonic() - began > 60 * minutes:
            break
        folder = output / "runs" / f"{number:04d}"
        try:
            kept: dict[str, Any] = {
                "epidemic": number,
                "epsilon": epsilon,
                "rows": one(number, epsilon, folder, console),
            }
        except (FitError, StudyError) as error:
            kept = {"epidemic": number, "epsilon": epsilon, "failed": str(error), "rows": []}
        atomic_write_json(file, kept)
        shutil.rmtree(folder, ignore_errors=True)
        console.print(f"epidemic {number}: {time.monotonic() - began:.0f} s so far", highlight=False)
    found = table(output)
    print(found.to_string(index=False))
    for place in (output, *([] if keep is None else [keep])):
        atomic_write_csv(place / "coverage.csv", found)


def one(number: int, epsilon: float, folder: Path, console: Console) -> list[dict[str, Any]]:
    """For each likelihood how many of the parameters lie in their central 90 % intervals, and the mean width over that without noise."""
    study = build(STUDY, folder, smoke=True, seed=number, console=console, synthetic=number)
    ready = calibrate(study, folder)
    assert study.truth is not None
    shown = show(ready, epsilon, seed=number)
    own = {
        "no noise": ready.posterior.problem.observations,
        "noise-aware": NoisyObservations(shown.streams, shown.sd),
        "naive": naive(shown.streams),
    }
    rows, width = list[dict[str, Any]](), torch.ones(1)
    for name, observations in own.items():
        low, high = torch.quantile(posterior_draws(ready, observations, number), torch.tensor([0.05, 0.95]), dim=0)
        inside = (low <= study.truth) & (study.truth <= high)
        width = high - low if name == "no noise" else width
        rows.append({
            "likelihood": name, "inside": int(inside.sum()), "of": len(inside), "width_ratio": float(((high - low) / width).mean()),
            "parameters": {p: bool(x) for p, x in zip(study.space.names, inside.tolist(), strict=True)},
        })  # fmt: skip
    return rows


def table(output: Path) -> pd.DataFrame:
    """Coverage by epsilon and likelihood over the epidemics that are finished; its standard error is over epidemics."""
    rows = []
    for file in sorted((output / "epidemics").glob("*.json")):
        kept = json.loads(file.read_text(encoding="utf-8"))
        rows += [{"epsilon": kept["epsilon"], "epidemic": kept["epidemic"], **row} for row in kept["rows"]]
    if not rows:
        raise typer.Exit(2)
    found = pd.DataFrame(rows)
    found["share"] = found["inside"] / found["of"]
    by = found.groupby(["epsilon", "likelihood"], sort=False)
    out = by.agg(
        epidemics=("epidemic", "nunique"),
        coverage_90=("share", "mean"),
        sd=("share", "std"),
        width_ratio=("width_ratio", "mean"),
    ).reset_index()
    out["standard_error"] = out.pop("sd") / out["epidemics"] ** 0.5
    return out.round(4)


if __name__ == "__main__":
    run_module(main)
