"""Ask questions of a calibrated run: simulate the worlds, keep the outcomes as netCDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from calib import Parameter, ParameterSpace
from calib.numerics import derive_seed
from calib.storage import atomic_path
from epi.errors import StudyError
from epi.model.parameters import distribution
from epi.outputs.former_names import region_axis
from epi.outputs.reload import Fitted
from epi.scenarios.interventions import assumptions
from epi.scenarios.outcome import EVENT, MEASURES, Outcome
from epi.scenarios.people import tell_apart
from epi.scenarios.scenario import Question, Setting, World, check_world
from epi.scenarios.world import WorldSimulator
from epi.scenarios.worlds import Advance, run_looped, run_together

CALIBRATED = "calibrated"
AGAINST = " (against)"
FILE = "what_if.nc"
TOGETHER_BELOW = 30_000
"""Agents up to which all worlds run as one batch, unless told otherwise."""

UNITS = {"needless_isolation": "days", "in_hospital": "people on a day, mean of the week"}

Mode = Literal["auto", "looped", "together"]


@dataclass(frozen=True, eq=False)
class Asked:
    """Everything needed to simulate the questions.

    Attributes:
        fitted: the calibrated study. simulator: with levers. setting: what questions may look at.
        theta: draws of parameters and assumptions `[S, *event]`.
        seed: of the epidemics.
    """

    fitted: Fitted
    simulator: WorldSimulator
    setting: Setting
    theta: dict[str, Tensor]
    seed: int


def prepare(fitted: Fitted, draws: int | None, seed: int) -> Asked:
    """Population with the kinds of host of the questions, evenly spaced posterior draws, and draws of the assumptions.

    Raises:
        StudyError: more draws are asked for than the run has, or fewer than two.
    """
    count = fitted.draws if draws is None else draws
    if not 2 <= count <= fitted.draws:
        raise StudyError(
            f"{count} draws were asked for, and the run has {fitted.draws}; choose from 2 to {fitted.draws}."
        )
    at = torch.linspace(0, fitted.draws - 1, count, dtype=torch.float64).round().long()
    theta = {name: value[at] for name, value in fitted.theta.items()}
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "what-if-assumptions"))
    base = fitted.simulator
    for name, prior in assumptions(base.study).items():
        level = torch.rand(count, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        own = ParameterSpace((Parameter(name, distribution(prior)),))
        theta[name] = own.to_theta(torch.special.ndtri(level)[:, None])[name]
    population, kinds = tell_apart(base.population, fitted.epidemic_data, fitted.config.seed)
    national = fitted.run.predicted(base.study.infections).sum(-1)
    setting = Setting(
        base.context.days, base.observation.weeks, np.median(national, axis=0), kinds, base.study.calendar
    )
    return Asked(fitted, WorldSimulator(base, population, kinds), setting, theta, derive_seed(seed, 0, "what-if"))


def worlds_of(asked: Asked, questions: Sequence[Question]) -> dict[str, World]:
    """The worlds of the questions by name, the calibrated one first, each checked.

    Raises:
        StudyError: a question changes what the model does not have, or sets it to what makes no sense.
    """
    worlds: dict[str, World] = {CALIBRATED: {}}
    usual = {**asked.theta, **asked.simulator.usual()}
    for question in questions:
        worlds[question.name] = question.world(asked.setting)
        if question.against is not None:
            worlds[question.name + AGAINST] = question.against(asked.setting)
    for name, world in worlds.items():
        check_world(name, world, usual)
    return worlds


def simulate(
    asked: Asked, worlds: Mapping[str, World], mode: Mode = "auto", advance: Advance | None = None
) -> xr.Dataset:
    """Outcomes of every world at every draw, common random numbers across worlds.

    Returns:
        `infections`, `admissions`, `deaths` (world, draw, week, region, age), `in_hospital` (world, draw, week, region) and
        `needless_isolation` (world, draw, week): expected people and days. The dimension of regions is called as the study calls one
        (`region_axis`).
    """
    agents = asked.simulator.population.agents
    together = mode == "together" or (mode == "auto" and agents <= TOGETHER_BELOW)
    run = run_together if together else run_looped
    batch = asked.fitted.config.particles
    out = run(asked.simulator, asked.theta, list(worlds.values()), asked.seed, batch=batch, advance=advance)
    return to_dataset(out, list(worlds), asked)


def to_dataset(out: Outcome, worlds: Sequence[str], asked: Asked) -> xr.Dataset:
    """The outcome with its axes named."""
    study = asked.simulator.base.study
    axis = study.region.axis
    dims = ("world", "draw", "week", axis, "age")
    variables = {}
    for name in MEASURES:
        values = getattr(out, name).numpy()
        variables[name] = (dims[: 2 + EVENT[name]], values, {"unit": UNITS.get(name, "people")})
    weeks = [str(week.date()) for week in asked.setting.weeks]
    draws = len(next(iter(asked.theta.values())))
    coords = {
        "world": list(worlds),
        "draw": np.arange(draws),
        "week": weeks,
        axis: list(study.region.names),
        "age": list(study.ages.names),
    }
    attrs = {
        "country": study.country,
        "study": study.title,
        "region_axis": axis,
        "smoke": int(asked.fitted.config.smoke),
    }
    return xr.Dataset(variables, coords, attrs)


def drop_failed(data: xr.Dataset) -> tuple[xr.Dataset, int]:
    """Leave out draws that failed in any world.

    Returns:
        The rest and how many were left out.

    Raises:
        StudyError: fewer than two are left.
    """
    axes = [data["infections"].get_axis_num(dim) for dim in ("world", "week", region_axis(data), "age")]
    finite = [np.isfinite(data[name].values).all(axis=tuple(axes)) for name in ("infections", "admissions", "deaths")]
    good = np.logical_and(*finite)
    left = int(good.sum())
    if left < 2:
        raise StudyError(
            f"Only {left} of {good.size} draws gave finite simulations in every world; the questions leave the model's range."
        )
    return data.isel(draw=np.flatnonzero(good)), int(good.size) - left


def save(data: xr.Dataset, folder: Path) -> Path:
    """Write the outcomes, compressed, whole or not at all."""
    encoding = {str(name): {"zlib": True, "complevel": 4} for name in data.data_vars}
    path = folder / FILE
    with atomic_path(path) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    return path


def load(folder: Path) -> xr.Dataset:
    """Read what `save` wrote.

    Raises:
        StudyError: there is no such file.
    """
    path = folder / FILE
    if not path.is_file():
        raise StudyError(f"There is no {path}; ask the questions before drawing their answers.")
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return data.load()
