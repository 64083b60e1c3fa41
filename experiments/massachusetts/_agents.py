"""The agent-based epidemic of the counties, calibrated by Gauss-Newton steps on its own Jacobians, and its forecast."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from calib.multifidelity import Fidelity, Problem, Recorder, Settings, Stream, observe, warm_start
from epi.data import load_data
from epi.model import Simulator, make_context, make_observation, parameter_space
from epi.population import build_population
from experiments.massachusetts._daily import Days
from experiments.massachusetts._data import HERE, START, History, weekly_tables
from experiments.massachusetts._models import Predicted
from experiments.massachusetts.study import study_at

TABLES = ("population.csv", "households.csv", "contacts.csv")
FLOOR = 0.02
"""Expected count that is told from zero."""


def write_tables(history: History, folder: Path) -> None:
    """Weekly tables of what is known, and the tables that do not change, in the form that `epi` reads."""
    for name in TABLES:
        shutil.copy(HERE / "data" / name, folder / name)
    for name, table in weekly_tables(history).items():
        table.to_csv(folder / name, index=False)


@dataclass(frozen=True)
class AgentModel:
    """An agent-based epidemic with households.

    Attributes:
        scale: agents per person.
        steps: Gauss-Newton steps.
        runs: runs with Jacobian in each of the first steps; later ones make twice as many.
        draws: posterior draws that are simulated to the end of the forecast.
    """

    scale: float = 0.02
    steps: int = 6
    runs: int = 4
    draws: int = 64

    def forecast(self, history: History, seed: int, numbers: object = None) -> Predicted:
        """Calibrate to what is known and simulate on."""
        epiweek = _epiweek(history)
        with tempfile.TemporaryDirectory() as name:
            write_tables(history, Path(name))
            study = study_at(epiweek, Path(name))
            data = load_data(study)
        calendar, space = study.calendar, parameter_space(study)
        population, _ = build_population(data, self.scale, seed)

        def simulator(last: pd.Timestamp) -> Simulator:
            days, weeks = calendar.days_until(last), calendar.weeks(last=last)
            at, dtype = torch.device("cpu"), torch.float64
            return Simulator(
                population,
                make_context(data, population, days, at, dtype),
                make_observation(data, population, days, weeks, at, dtype),
                space,
            )

        short, whole = simulator(calendar.forecast_from), simulator(calendar.last_week)
        layout, streams = short.layout, []
        for stream in study.observed:
            series = (
                data.series[stream.name].reindex(calendar.weeks(last=calendar.forecast_from)).to_numpy(float).copy()
            )
            over, relative = study.overdispersion(stream.name), study.dispersion(stream.name)
            assert relative is not None
            streams.append(Stream(layout.slices[stream.name], torch.as_tensor(series), "counts", relative, over))
        problem = Problem(
            space,
            observe(space, streams, floor=FLOOR),
            lambda z, s, fidelity, first=0: layout.flat(
                short.bind(s, torch.arange(first, first + len(z)))(space.to_theta(z))
            ),
            (Fidelity("agents"),),
            lambda z, s, fidelity, first=0: short.jacobian(z, s, torch.arange(first, first + len(z))),
            floor=FLOOR,
        )
        settings = Settings(seed=seed, warm_steps=self.steps, warm_runs=self.runs, level_runs=0)
        warm = warm_start(problem, settings, Recorder())
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.draws, space.dim, generator=generator, dtype=torch.float64)
        z = warm.z + noise @ torch.linalg.cholesky(warm.covariance).mT
        theta = space.to_theta(z)
        with torch.no_grad():
            expected = whole.bind(seed, torch.arange(self.draws))(theta)["deaths_county"]
        weekly = expected[:, -(len(calendar.weeks()) - short.weeks) :].clamp_min(0.0)
        sd = theta[str(study.dispersion("deaths_county"))].numpy()
        draws = np.random.default_rng(seed)
        copies = 8
        scatter = draws.gamma(1 / sd**2, sd**2, (copies, *weekly.shape[1:], self.draws)).transpose(3, 0, 1, 2)
        scattered = (weekly.numpy()[:, None] * scatter).reshape(-1, *weekly.shape[1:])
        runs = warm.simulations + self.draws
        return Predicted(Days.learn(history).draw(scattered, draws), None, {"parameters": space.dim}, runs)


def _epiweek(history: History) -> int:
    return 202000 + (history.last_day - START).days // 7 + 8
