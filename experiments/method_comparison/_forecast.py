"""From posterior draws to a scored forecast, by the study's own functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calib import RunFolder
from calib.multifidelity import identity
from calib.numerics import derive_seed
from epi.errors import StudyError
from epi.inference.recorder import report_failed
from epi.inference.setup import Study, make_simulator
from epi.outputs.reload import rebuild
from epi.outputs.write import observations, score_unseen
from experiments.method_comparison._country import Country
from experiments.method_comparison._target import data_of

SKETCH = 0.002
"""Agents per person of a population of which nothing but weeks and places is asked."""


def study_of(folder: Path) -> Study:
    """The study of a finished run: weeks, parameters, observations and seeds of the forecast; its simulators are sketches, not to be run.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: it is of another study or version, or was fitted to synthetic data.
    """
    fitted = rebuild(folder, scale=SKETCH)
    full, epidemic_data = fitted.simulator, fitted.epidemic_data
    own = fitted.run.manifest["configuration"]
    config = fitted.config.model_copy(update={key: own[key] for key in ("scale", "device")})
    if config.synthetic is not None:
        raise StudyError(
            f"{folder} was fitted to synthetic data (seed {config.synthetic}), and the competitors are given the real ones; "
            "name a run without --synthetic."
        )
    short = make_simulator(config, epidemic_data, full.population, full.space, full.study.calendar.forecast_from, "cpu")
    return Study(
        config, epidemic_data, full.population, full.space, short, full, short, full, None, None, short, identity, data_of(fitted.run), None
    )  # fmt: skip


def forecast(
    study: Study, country: Country, z: Tensor, run: RunFolder, advance: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Run draws `z [S, D]` to the last week, draw observations around them and score these, as the study does with its own.

    Random streams, replicates and the seeds of the scatter are those of the study: its own draws give its own scores.

    Args:
        study: of `study_of`.
        country: where runs are made.
        z: posterior draws.
        run: folder of `forecast.csv` and `scores.json`.
        advance: told of runs as they are there.

    Returns:
        The content of `scores.json`.

    Raises:
        StudyError: fewer than ten runs were finite.
    """
    with run.phase("forecast"):
        flat = country.expected(z, derive_seed(study.config.seed, 0, "simulate-forecast"), "all", advance=advance)
        run.count("forecast", len(z))
        good = torch.isfinite(flat).all(1)
        report_failed(good, run, "posterior draws")
        return score_unseen(study, observations(study, z[good].double(), flat[good], "posterior"), run)
