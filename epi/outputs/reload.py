"""The study of a finished run, built again from its folder: for questions asked of the fitted model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from calib.storage import FORECAST_DRAWS
from epi.data import EpidemicData
from epi.errors import StudyError
from epi.inference.settings import Config
from epi.inference.setup import make_simulator, read_data
from epi.model import Simulator, parameter_space
from epi.outputs.run_files import RunFiles
from epi.population.build import build_population


@dataclass(frozen=True, eq=False)
class Fitted:
    """A calibrated study, ready to be simulated.

    Attributes:
        run: the run's files.
        config: its settings, at the scale and on the device asked for.
        epidemic_data: the tables it was fitted to.
        simulator: of all weeks; `population`, `space`, `context` and `observation` depend on it.
        theta: posterior draws by Pyro site, `[S, *event]`, double precision.
    """

    run: RunFiles
    config: Config
    epidemic_data: EpidemicData
    simulator: Simulator
    theta: dict[str, Tensor]

    @property
    def draws(self) -> int:
        """Number of posterior draws S."""
        return len(next(iter(self.theta.values())))


def rebuild(folder: Path, *, scale: float | None = None, device: str = "cpu", last: date | None = None) -> Fitted:
    """Build the study of a run again: tables, population, simulator and posterior draws.

    Args:
        folder: the run's folder.
        scale: agents per person; None for the run's own.
        device: "cpu" or "cuda".
        last: last simulated day, one that ends a week; None for the study's last.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: it is a run of another study or version, its draws are missing, or the scale cannot be used.
    """
    files = RunFiles(Path(folder))
    manifest = files.manifest
    study = files.study
    if manifest["study"] != study.name:
        raise StudyError(
            f"{folder} holds a run of {manifest['study']!r}, and a run of {study.name!r} was expected; name its folder."
        )
    files.finished((FORECAST_DRAWS,))
    changes = {"device": device, **({} if scale is None else {"scale": scale})}
    try:
        config = Config(**{**manifest["configuration"], **changes})
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(
            f"{folder}: setting {'.'.join(map(str, first['loc']))} = {first['input']!r} cannot be used here ({first['msg'].lower()}); "
            "choose a scale above 0 and at most 1, or calibrate again with this version."
        ) from error
    space = parameter_space(study)
    theta = posterior_draws(files, {p.name: p.shape for p in space.parameters})
    epidemic_data = read_data(config)
    population, _ = build_population(epidemic_data, config.scale, config.seed, balance=config.balance)
    return Fitted(
        files,
        config,
        epidemic_data,
        make_simulator(config, epidemic_data, population, space, last or study.calendar.last_week, device),
        theta,
    )


def posterior_draws(files: RunFiles, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The posterior draws that a run made its forecast with, by site, `[S, *shape]`.

    Raises:
        StudyError: there is no file of draws, or it lacks a site or has it in another shape.
    """
    file = files.folder / "posterior.nc"
    if not file.is_file():
        raise StudyError(
            f"{files.folder} (a run with status {files.manifest['status']}) has no posterior.nc and so no posterior draws; "
            "run the study to its end first."
        )
    posterior = files.groups.get(FORECAST_DRAWS)
    if posterior is None or not posterior.sizes.get("draw"):
        raise StudyError(
            f"{file} holds no posterior draws of a forecast ({FORECAST_DRAWS}); run this version of the study to its end first."
        )
    theta: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name not in posterior:
            raise StudyError(
                f"{file} has no draws of {name}, which this version of the model needs; calibrate again with this version."
            )
        values = posterior[name].stack(sample=("chain", "draw")).transpose("sample", ...).values
        if values.shape[1:] != shape:
            raise StudyError(
                f"{file} holds {name} in the shape {values.shape[1:]}, and this version of the model has {shape}; "
                "calibrate again with this version."
            )
        theta[name] = torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64)
    return theta
