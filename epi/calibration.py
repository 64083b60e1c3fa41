"""Calibrate a study: from its tables to posterior, forecast, scores, plots and report, in one folder that can be resumed."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from calib import CheckpointError, RunFolder, RunFolderError, Team
from calib.multifidelity import allowed_threads
from epi.data import EpidemicData
from epi.inference import distribute, setup
from epi.inference.foretell import available_gib, cores_here, foretell, refuse_too_large
from epi.inference.settings import FREE, Config, make_config
from epi.outputs import write
from epi.reporting.draw import draw_run
from epi.study import load_study


def calibrate_study(
    source: str,
    output: Path | None = None,
    *,
    smoke: bool = False,
    device: str = "auto",
    resume: bool = False,
    dry_run: bool = False,
    settings: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Path | None:
    """Calibrate a study and write everything about it to a folder.

    Args:
        source: where the study is, as `load_study` finds it.
        output: folder of the run; `results/<name of the study>` if None.
        smoke: touch everything and fit nothing well.
        device: "auto", "cpu" or "cuda".
        resume: resume the run that the folder holds.
        dry_run: read the tables, say what the run would take, and stop.
        settings: other settings of `Config` by name; None for a default.
        console: for progress; a new one on standard error if None.

    Returns:
        The folder; None of a dry run, and on a rank of torchrun that only simulates.

    Raises:
        StudyError: the study or its tables cannot be used, or a setting is out of range.
        TooLarge: the memory of this machine cannot hold the run.
        RunFolderError: the folder holds something else.
        PlotsFailed: the run is complete, and its plots could not be drawn.
        CheckpointError, FitError, WriteError, RunInterrupted: the run could not be resumed, failed, or was ended by a signal.
    """
    console = console or Console(stderr=True)
    declared = load_study(source)
    config = make_config(source, smoke=smoke, device=device, **dict(settings or {}))
    # tiny tensor operations lose more to several threads than they gain; the kernels have threads of their own
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    # before the folder is made: a run with tables that must be corrected leaves nothing behind
    data = setup.read_data(config)
    if os.environ.get("RANK", "0") == "0":
        expected = foretell(config, declared, int(data.population.sum()), cores_here())
        if dry_run:
            console.print(expected.sentence(cores_here()), highlight=False, soft_wrap=True)
        doubt = refuse_too_large(expected, available_gib(config.device))
        if doubt:
            console.print(doubt, style="yellow", highlight=False, soft_wrap=True)
    if dry_run:
        return None
    team = Team.join(config.device)
    try:
        if team is not None:
            distribute.share_cores()
            if team.rank:
                distribute.work(config, data, team)
                return None
        folder = output or default_folder(declared.name, smoke=smoke, synthetic=config.synthetic is not None)
        if config.threads is None:
            config = config.model_copy(update={"threads": _threads_of(folder) or allowed_threads()})
        run = RunFolder.create(
            folder, declared.name, config.identity(), config.seed, device_name(config.device), resume=resume, free=FREE
        )
        with run.running(refused=(CheckpointError,)):
            _run(config, data, run, console, resume=resume, team=team)
        return run.path
    finally:
        if team is not None and not team.rank:
            team.release()


def _threads_of(folder: Path) -> int | None:
    """Threads with which the run in a folder began: it is resumed with as many, whatever the machine has now."""
    if not (folder / "manifest.json").is_file():
        return None
    try:
        threads = RunFolder.open(folder).manifest["configuration"].get("threads")
    except RunFolderError:
        return None  # said when the folder is opened to be written
    return threads if isinstance(threads, int) and threads > 0 else None


def default_folder(name: str, *, smoke: bool = False, synthetic: bool = False) -> Path:
    """Where a run goes unless it is told."""
    return Path("results") / (name + ("_synthetic" if synthetic else "") + ("_smoke" if smoke else ""))


def device_name(device: str) -> str:
    """The device in words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU {platform.machine()}, {cores} cores"


def _run(
    config: Config, data: EpidemicData, run: RunFolder, console: Console, *, resume: bool, team: Team | None
) -> None:
    study = setup.build(config, data, run, console)
    if team is not None:
        study = distribute.over_processes(study, team)
        run.update(ranks=team.size)
    prior = write.prior_predictive(study, run, console)
    result, inference = setup.calibrate(study, run, console, resume=resume)
    with torch.no_grad():
        centre = result.flow.sample(256, torch.Generator().manual_seed(config.seed)).mean(0)
    setup.simulator_noise(study, centre, run)
    scores = write.conclude(study, result, inference, prior, run, console)
    run.seal()  # the results stand, whatever becomes of their plots
    declared = load_study(config.study)
    _say(config, run, scores, declared.observed[0].name, declared.observed[0].title, console)
    if not config.scores_only:
        with run.phase("figures"):
            page = draw_run(run.path)
        console.print(f"report in {page}", highlight=False, soft_wrap=True)


def _say(config: Config, run: RunFolder, scores: dict[str, Any], name: str, title: str, console: Console) -> None:
    """The forecast's scores and what it cost, in a few lines."""
    if name not in scores:
        return
    for period, row in scores[name]["overall"].items():
        if row["wis"] is None or math.isnan(row["wis"]):  # a forecast of weeks that nobody has counted yet
            console.print(f"{title}, weeks {period}: no counts yet, nothing to score", highlight=False)
            continue
        console.print(
            f"{title}, weeks {period}: WIS {row['wis']:,.0f} against {row['baseline_wis']:,.0f} of the baseline "
            f"(relative {row['relative_wis']:.2f}), 95 % coverage {row['coverage_95']:.2f}", highlight=False,
        )  # fmt: skip
    if config.scores_only:
        return
    after = sum(n for purpose, n in run.manifest["simulations"].items() if purpose.startswith("forecast"))
    console.print(
        f"simulations after the fit: {after} for the forecast, {run.manifest['sensitivity_simulations']} for the "
        "sensitivity ranking", highlight=False,
    )  # fmt: skip
