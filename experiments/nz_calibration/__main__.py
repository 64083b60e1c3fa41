"""`python -m experiments.nz_calibration`: New Zealand's first Omicron wave, from figures to report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from calib import CheckpointError, FitError, RankLost, RunFolder, RunFolderError, RunInterrupted, Team, WriteError
from epi.data import EpidemicData
from epi.errors import StudyError
from epi.inference import distribute as _spread
from epi.inference import setup as _study
from epi.inference.settings import FREE, Config, make_config
from experiments.nz_calibration.study import study as declared

USER_ERRORS = (StudyError, RunFolderError, CheckpointError, FitError, WriteError)
STUDY = "experiments.nz_calibration.study"
"""Where a run finds its study again."""
console = Console(stderr=True)


def main(
    output: Annotated[Path | None, typer.Option(help="Folder of the run; default results/nz_calibration.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in the output folder after a kill.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Touch everything in about a minute; fits nothing well.")
    ] = False,
    signals: Annotated[
        str | None,
        typer.Option(
            help=f"What the likelihood sees, of {', '.join(declared.options)}; default {','.join(declared.default_options)}."
        ),
    ] = None,
    synthetic: Annotated[
        int | None, typer.Option(help="Calibrate figures simulated from this seed's draw of the prior.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Agents per person, up to 1; default 0.03 on a CPU, 1 on a GPU.")
    ] = None,
    level_scale: Annotated[
        float | None,
        typer.Option(
            help="Agents per person of the population that sets the level and makes the forecast; default 0.5."
        ),
    ] = None,
    balance: Annotated[float | None, typer.Option(help="Over-sampling of small districts, 0 to 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    gradient: Annotated[str | None, typer.Option(help="local (default), reverse or forward.")] = None,
    flow: Annotated[str | None, typer.Option(help="gaussian (default), gaussian-nsf, nsf, maf, ...")] = None,
    particles: Annotated[int | None, typer.Option(help="Simulations a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the fit.")] = None,
    warm_start: Annotated[int | None, typer.Option(help="Gauss-Newton steps before the fit.")] = None,
    average: Annotated[
        bool | None,
        typer.Option(
            "--average/--single-runs", help="Compare data with the mean over random streams, or with single runs."
        ),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Step limit of the fit.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Time limit of the fit.")] = None,
    draws: Annotated[int | None, typer.Option(help="Posterior draws to forecast from.")] = None,
    jacobian_draws: Annotated[
        int | None, typer.Option(help="How many of them with their Jacobian, for the sensitivity ranking.")
    ] = None,
    scores_only: Annotated[
        bool,
        typer.Option(
            "--scores-only",
            help="End with forecast and scores: no sensitivity ranking, no figures, no report. --resume without it makes them.",
        ),
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder with the study's tables, for figures of your own.")
    ] = None,
) -> None:
    """Calibrate New Zealand's first Omicron wave and forecast the weeks after 13 March 2022."""
    team: Team | None = None
    try:
        config = make_config(
            STUDY,
            smoke=smoke, device=device, signals=signals, synthetic=synthetic, scale=scale, level_scale=level_scale, balance=balance, seed=seed,
            gradient=gradient, flow=flow, particles=particles, learning_rate=learning_rate, warm_start=warm_start, average=average,
            max_steps=max_steps, max_seconds=max_seconds,
            draws=draws, jacobian_draws=jacobian_draws, scores_only=scores_only, figures=str(figures) if figures else None,
        )  # fmt: skip
        # tiny tensor operations lose more to several threads than they gain; the kernels have threads of their own
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        # before the folder is made: a run with tables that must be corrected leaves nothing behind
        tables = _study.read_figures(config)
        team = Team.join(config.device)
        if team is not None:
            _spread.share_cores()
            if team.rank:
                _spread.work(config, tables, team)
                return
        name = declared.name + ("_synthetic" if synthetic is not None else "") + ("_smoke" if smoke else "")
        run = RunFolder.create(
            output or Path("results") / name,
            declared.name,
            config.identity(),
            config.seed,
            _device(config.device),
            resume=resume,
            free=FREE,
        )
        with run.running(refused=(CheckpointError,)):
            _run(config, tables, run, resume, team)
    except USER_ERRORS as error:
        if int(os.environ.get("RANK", "0")) and not isinstance(error, RankLost):
            raise typer.Exit(2) from None  # the same as rank 0 says
        # one line however long, so that paths in it can be copied
        console.print(_sentence(str(error)), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except RunInterrupted as error:
        console.print(
            f"The run was {error}; what it had is in {output or Path('results') / name}. Run the same command with --resume.",
            style="yellow", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        raise typer.Exit(3) from None
    finally:
        if team is not None and not team.rank:
            team.release()


def _sentence(text: str) -> str:
    """A message with a capital and a full stop; a path that leads it is left as it is."""
    first = text.split(" ", 1)[0]
    text = text if "/" in first or "." in first or "_" in first else text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _device(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    import platform

    return f"CPU {platform.machine()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def _run(config: Config, figures: EpidemicData, run: RunFolder, resume: bool, team: Team | None = None) -> None:
    from epi.outputs import write as _outcome
    from epi.reporting.plots import draw_all
    from epi.reporting.report import write_report

    study = _study.build(config, figures, run, console)
    if team is not None:
        study = _spread.spread(study, team)
        run.update(ranks=team.size)
    prior = _outcome.prior_predictive(study, run, console)
    result, inference = _study.calibrate(study, run, console, resume=resume)
    with torch.no_grad():
        centre = result.flow.sample(256, torch.Generator().manual_seed(config.seed)).mean(0)
    _study.simulator_noise(study, centre, run)
    scores = _outcome.conclude(study, result, inference, prior, run, console)
    if not config.scores_only:
        run.update(status="drawing")
        with run.phase("figures"):
            draw_all(run.path)
            write_report(run.path)
    overall = scores[declared.observed[0].name]["overall"]
    for period, row in overall.items():
        console.print(
            f"cases by district, weeks {period}: WIS {row['wis']:,.0f} against {row['baseline_wis']:,.0f} of the baseline "
            f"(relative {row['relative_wis']:.2f}), 95 % coverage {row['coverage_95']:.2f}", highlight=False,
        )  # fmt: skip
    if config.scores_only:
        return
    after = sum(n for purpose, n in run.manifest["simulations"].items() if purpose.startswith("forecast"))
    console.print(
        f"simulations after the fit: {after} for the forecast, {run.manifest['sensitivity_simulations']} for the "
        f"sensitivity ranking; report in {run.path / 'report.html'}", highlight=False,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
