"""`python -m experiments.method_comparison --from results/nz_calibration`: the study compared with NPE and SMC-ABC at as many simulations."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from calib import RunFolder, RunFolderError
from epi.device import check_device
from epi.errors import StudyError
from epi.sensitivity.settings import cores
from experiments.method_comparison._methods import METHODS
from experiments.method_comparison._run import Settings, budgets, compare, prepare
from posterity.commands.usage import run as run_module

SAME = "same"


def main(
    source: Annotated[Path, typer.Option("--from", help="Folder of the calibrated run.")] = Path(
        "results/nz_calibration"
    ),
    output: Annotated[Path, typer.Option(help="Folder of table and figure.")] = Path("results/method_comparison"),
    methods: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(METHODS)}.")] = ",".join(METHODS),
    simulations: Annotated[
        str,
        typer.Option(help=f"Of each method, comma-separated: whole numbers, or '{SAME}' for as many as the run spent."),
    ] = SAME,
    scale: Annotated[
        float | None,
        typer.Option(help="Agents per person of the competitors' runs; default that of the run's own forecast."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="Posterior draws to forecast from; default as many as the run.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the runs, one core each; default all cores.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the competitors.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda with one process.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what the output folder has, and run what it lacks.")
    ] = False,
) -> None:
    """Calibrate the New Zealand study with other methods at the same number of simulations, and score their forecasts compared with its own."""
    console = Console(file=sys.stderr)  # this stream, also while sbi's messages are kept off it
    try:
        chosen = [name.strip() for name in methods.split(",") if name.strip()]
        for name in chosen:
            if name not in METHODS:
                raise StudyError(f"There is no method {name!r}; choose among {', '.join(METHODS)}.")
        if chosen != ["prior"] and importlib.util.find_spec("sbi") is None:
            raise StudyError(
                "The competitors need sbi, which is not installed; install the extra: pip install 'posterity[sbi]'."
            )
        check_device(device)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        ready = prepare(source)
        settings = Settings(
            source=str(source), methods=tuple(chosen), simulations=budgets(simulations, ready.spent), scale=scale or ready.scale,
            draws=draws or ready.study.config.draws, workers=1 if device == "cuda" else workers or cores(), seed=seed, device=device,
        )  # fmt: skip
        run = RunFolder.create(
            output, "method_comparison", settings.identity(), seed, _machine(device), resume=resume, free=("workers", "methods", "simulations")
        )  # fmt: skip
        with run.running():
            failed = compare(ready, settings, run, console)
    except (StudyError, RunFolderError) as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    if failed:
        raise typer.Exit(2)


def _machine(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU {platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    run_module(main)
