"""`python -m experiments.nz_calibration.streams`: which combination of streams forecasts best?"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from calib.storage import atomic_write_csv, load_datasets
from epi.errors import StudyError
from experiments._studies import run_study, side_by_side
from experiments.nz_calibration.study import study
from posterity.commands.former_options import run

EVERYTHING = ",".join(study.options)
COMBINATIONS = (
    "cases", "cases,admissions", "cases,border", "cases,admissions,deaths", "cases,admissions,wastewater",
    "cases,admissions,occupancy", "cases,admissions,border", "cases,admissions,deaths,border",
    "cases,admissions,wastewater,border", "cases,admissions,deaths,occupancy,border", EVERYTHING,
    "admissions,deaths,occupancy,wastewater,border",
)  # fmt: skip
KEPT = ("transmission_community", "aversion", "ascertainment_pcr", "ascertainment_rat", "seed_level", "severity_level")
"""Parameters whose posterior widths stand in the table, beside the infections to the forecast date."""
SCORED, PERIODS = ("cases_district", "cases_age", "admissions_age"), ("1-4", "5-11")
"""Whose relative scores `score` is the geometric mean of."""
console = Console(stderr=True)


def main(
    output: Annotated[Path, typer.Option(help="Folder of the runs and of the table.")] = Path("results/streams"),
    combinations: Annotated[
        str, typer.Option(help="Combinations, separated by semicolons; default a dozen.")
    ] = ";".join(COMBINATIONS),
    seeds: Annotated[str, typer.Option(help="Seeds of the calibrations, separated by commas.")] = "0",
    workers: Annotated[int, typer.Option(help="Calibrations at once.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each.", min=1)] = 2,
    options: Annotated[str, typer.Option(help="Further options of the study, for instance '--smoke'.")] = "",
    kept: Annotated[Path | None, typer.Option(help="A file for a copy of the table.")] = None,
) -> None:
    """Calibrate with each combination of streams, and score what each forecasts; finished runs are kept."""
    try:
        chosen = [study.parse_options(text) for text in combinations.split(";")]
        numbers = [int(seed) for seed in seeds.split(",")]
    except (StudyError, ValueError) as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    jobs = [(one, seed, folder_of(output, one, seed)) for seed in numbers for one in chosen]
    failed = _run([job for job in jobs if not _finished(job[2])], workers, threads, shlex.split(options))
    rows = [row_of(one, seed, folder) for one, seed, folder in jobs if _finished(folder)]
    if not rows:
        console.print(
            "No calibration came to its end; see the logs in the folders of the runs.", style="red", highlight=False
        )
        raise typer.Exit(2)
    table = pd.DataFrame(rows)
    for place in [output / "streams.csv", *([kept] if kept else [])]:
        atomic_write_csv(place, table)
    print(table.to_string(index=False, float_format=lambda x: f"{x:.2f}"))
    for text in failed:
        console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(2)


def folder_of(output: Path, options: tuple[str, ...], seed: int) -> Path:
    """Where a run lies."""
    return output / "runs" / f"{'-'.join(options)}-{seed}"


def _finished(folder: Path) -> bool:
    file = folder / "manifest.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("status") == "complete"


def _run(jobs: list[tuple[tuple[str, ...], int, Path]], workers: int, threads: int, options: list[str]) -> list[str]:
    """Calibrate; a sentence for each run that failed."""

    def job(streams: tuple[str, ...], seed: int, folder: Path) -> Callable[[Event], str]:
        arguments = ["--streams", ",".join(streams), "--seed", str(seed), *options]

        def calibrate(stop: Event) -> str:
            code, said = run_study(folder, arguments, threads, stop)
            if code == 0 or code is None:
                return ""
            return f"Data streams {','.join(streams)}, seed {seed}: exit code {code}, {said}; see {folder.with_suffix('.log')}."

        return calibrate

    if not jobs:
        return []
    return [said for said in side_by_side([job(*one) for one in jobs], workers, "calibrations", console) if said]


def row_of(options: tuple[str, ...], seed: int, folder: Path) -> dict[str, Any]:
    """One row of the table: scores of what is forecast, and widths of what was learnt.

    Scores are weighted interval scores relative to the baseline's (below 1 is better), over 1-4 and 5-11 weeks ahead, and `score` is the
    geometric mean of the six of cases and admissions; `inside` is the share of observations in the 95 % intervals over all weeks ahead; `sd` of
    a parameter is that of its logarithm (its logit, for a share).
    """
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    groups = load_datasets(folder / "posterior.nc")
    row: dict[str, Any] = {"streams": " ".join(options), "seed": seed}
    for name in (s.name for s in study.observed):
        for period, cell in scores[name]["overall"].items():
            row[f"{name} {period}"] = cell["relative_wis"]
        cells = [
            (c["coverage_95"], c["cells"]) for c in scores[name]["overall"].values() if c["coverage_95"] is not None
        ]
        row[f"{name} inside"] = sum(c * n for c, n in cells) / max(1, sum(n for _, n in cells))
    row["score"] = float(np.exp(np.mean([np.log(row[f"{name} {period}"]) for name in SCORED for period in PERIODS])))
    fitted = groups["constant_data"]["fitted_week"].values.astype(bool)
    last = int(np.flatnonzero(fitted).max()) + 1
    infections = groups["posterior_predictive"]["infections_district"].values[0][:, :last].sum((1, 2))
    row["infections"], row["sd infections"] = float(np.median(infections)), float(np.log(infections).std())
    for name in KEPT:
        x = groups["posterior"][name].values.ravel()
        row[f"sd {name}"] = float((np.log(x / (1 - x)) if name.startswith("ascertainment") else np.log(x)).std())
    row["k_hat"] = manifest.get("importance", {}).get("k_hat")
    row["r_hat"] = manifest.get("sampler", {}).get("r_hat")
    row["seconds"] = sum(manifest["timings"].values())
    return row


if __name__ == "__main__":
    run(main)
