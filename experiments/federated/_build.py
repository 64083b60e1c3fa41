"""The study, its pooled calibration, and what the comparisons start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from calib import FitConfig, Flow, RunFolder, StopRule, fit
from calib.multifidelity import EmulatorPosterior, Recorder, Settings, prepare
from epi.inference import setup
from epi.inference.settings import make_config

SMALL: dict[str, Any] = {
    "scale": 0.15, "level_scale": 0.3, "level_runs": 6, "slope_scale": 0.15, "warm_start": 4, "warm_particles": 2, "rounds": 1,
    "round_runs": 24, "round_jacobians": 4, "chain_draws": 21, "max_steps": 100, "estimator": "local-score",
}  # fmt: skip
"""Settings of the smoke run on the made-up study, whose people are few."""


@dataclass(frozen=True, eq=False)
class Ready:
    """What was built once.

    Attributes:
        study: with simulators, population and data. settings: of the method.
        posterior: by the emulator of the pooled data. flow: fitted to it.
    """

    study: setup.Study
    settings: Settings
    posterior: EmulatorPosterior
    flow: Flow


def build(
    source: str, folder: Path, *, smoke: bool, seed: int, console: Console, synthetic: int | None = None
) -> setup.Study:
    """The study with population, simulators and data.

    Args:
        source: of the study.
        folder: for its files.
        smoke: small.
        seed: of everything.
        console: for progress.
        synthetic: calibrate the counts of this made-up epidemic instead of the study's own.
    """
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    config = make_config(
        source, smoke=False, device="cpu", seed=seed, synthetic=synthetic, **(SMALL if smoke else {"max_steps": 400})
    )
    run = RunFolder.create(folder, "federated", config.identity(), seed, resume=True)
    return setup.build(config, setup.read_data(config), run, console)


def calibrate(study: setup.Study, folder: Path) -> Ready:
    """Warm start, rounds and flow on the pooled data; what was done is kept in the folder."""
    settings = replace(study.settings, refinements=0)
    problem = study.problem
    posterior, flow, _ = prepare(problem, settings, Recorder(folder, problem.fingerprint))
    quick = FitConfig(
        seed=study.config.seed,
        particles=64,
        warmup_steps=10,
        max_steps=study.config.max_steps,
        stop=StopRule(min_steps=100, min_window=50),
    )
    flow = fit(posterior.fit_problem(), flow, quick).flow
    return Ready(study, settings, posterior, flow)
