"""`posterity calibrate STUDY`: from tables to posterior, forecast, scores and report."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from calib import RunFolder
from epi import StudyError
from epi.calibration import calibrate_study
from epi.outputs.former_names import CONFIGURATION
from posterity._studies import find
from posterity.commands.errors import one_sentence

DATA, SIZE, INFERENCE, OUTPUT = "Data", "Size", "Inference", "Output"


def main(
    study: Annotated[str, typer.Argument(help="A study by name, or a folder that holds a study.py.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the run; default results/<study>.", rich_help_panel=OUTPUT),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in the output folder after a kill.", rich_help_panel=OUTPUT)
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Touch everything in about a minute; fits nothing well.", rich_help_panel=SIZE),
    ] = False,
    streams: Annotated[
        str | None,
        typer.Option("--streams", help="Data streams in the likelihood; default the study's.", rich_help_panel=DATA),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with tables of your own.", rich_help_panel=DATA)
    ] = None,
    synthetic: Annotated[
        int | None,
        typer.Option(help="Calibrate data simulated from this seed's draw of the prior.", rich_help_panel=DATA),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Agents per person, up to 1; default 0.03 on a CPU, 1 on a GPU.", rich_help_panel=SIZE),
    ] = None,
    level_scale: Annotated[
        float | None,
        typer.Option(
            help="Agents per person of the high-fidelity runs, which also make the forecast; default 0.5.",
            rich_help_panel=SIZE,
        ),
    ] = None,
    balance: Annotated[
        float | None, typer.Option(help="Over-sampling of small regions, 0 to 1; default 0.75.", rich_help_panel=SIZE)
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="Posterior draws to forecast from; default 96.", rich_help_panel=SIZE)
    ] = None,
    jacobian_draws: Annotated[
        int | None,
        typer.Option(
            help="How many of them with their Jacobian, for the sensitivity ranking; default 24.", rich_help_panel=SIZE
        ),
    ] = None,
    particles: Annotated[int | None, typer.Option(help="Simulations at once; default 8.", rich_help_panel=SIZE)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything random; default 0.", rich_help_panel=INFERENCE)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=SIZE)] = "auto",
    gradient: Annotated[
        str | None,
        typer.Option(help="local (default: by the emulator), reverse or forward.", rich_help_panel=INFERENCE),
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            help="Of derivatives: removals (default, unbiased), local-score or auto.",
            rich_help_panel=INFERENCE,
        ),
    ] = None,
    flow: Annotated[
        str | None, typer.Option(help="gaussian (default), gaussian-nsf, nsf, maf, ...", rich_help_panel=INFERENCE)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the fit; default 0.01.", rich_help_panel=INFERENCE)
    ] = None,
    warm_start: Annotated[
        int | None, typer.Option(help="Gauss-Newton steps before the fit; default 9.", rich_help_panel=INFERENCE)
    ] = None,
    average: Annotated[
        bool | None,
        typer.Option(
            "--average/--single-runs",
            help="Compare data with the mean over random streams (default), or with single runs.",
            rich_help_panel=INFERENCE,
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Step limit of the fit; default 3000.", rich_help_panel=INFERENCE)
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Time limit of the fit; default 300.", rich_help_panel=INFERENCE)
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads while the emulator is fitted; default those of the machine, up to 8. Another number gives other last bits.",
            rich_help_panel=INFERENCE,
        ),
    ] = None,
    scores_only: Annotated[
        bool,
        typer.Option(
            "--scores-only",
            help="End with forecast and scores: no ranking, plots or report. --resume without it makes them.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="A TOML file of settings; options given here win.", rich_help_panel=OUTPUT),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what the run would take (seconds, GiB of memory and of the GPU), and stop.",
            rich_help_panel=SIZE,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the scores as JSON on standard output.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Calibrate a study and forecast: posterior, scores, plots and a report in one folder."""
    console = Console(stderr=True)
    with one_sentence(console):
        given = {
            "streams": streams, "synthetic": synthetic, "scale": scale, "level_scale": level_scale, "balance": balance, "seed": seed,
            "gradient": gradient, "estimator": estimator,
            "flow": flow, "particles": particles, "learning_rate": learning_rate, "warm_start": warm_start,
            "average": average, "max_steps": max_steps, "max_seconds": max_seconds, "threads": threads, "draws": draws,
            "jacobian_draws": jacobian_draws, "scores_only": scores_only or None, "data": str(data) if data else None,
        }  # fmt: skip
        values = _from_file(settings) | {k: v for k, v in given.items() if v is not None}
        quiet_console = Console(stderr=True, quiet=True)
        folder = calibrate_study(
            find(study),
            output,
            smoke=smoke,
            device=device,
            resume=resume,
            dry_run=dry_run,
            settings=values,
            console=quiet_console if quiet else console,
        )
        if as_json and folder is not None:
            run = RunFolder.open(folder)
            print(
                json.dumps(
                    {
                        "folder": str(folder),
                        "status": run.manifest["status"],
                        "scores": json.loads((folder / "scores.json").read_text()),
                    }
                )
            )


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{file} is not TOML ({error}); write one `name = value` a line.") from error
    return {CONFIGURATION.get(k, k): v for k, v in values.items()}
