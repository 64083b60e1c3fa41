"""A study as an object: load it, simulate it, calibrate it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from rich.console import Console

import epi
from epi.calibration import calibrate_study
from epi.inference.settings import make_config
from epi.inference.setup import make_simulator, read_data
from epi.model import parameter_space
from epi.population import build_population
from epi.study import load_study
from posterity._run import Run
from posterity._simulation import Simulation
from posterity._studies import find

__all__ = ["Study"]


@dataclass(frozen=True, eq=False)
class Study:
    """A study and what can be done with it.

    Attributes:
        source: where it is.
        declared: the declaration, `epi.Study`.

    Examples:
        >>> import posterity
        >>> study = posterity.Study.load("posterity.template.study")
        >>> study.declared.region.names
        ('North', 'South')
    """

    source: str
    declared: epi.Study

    @staticmethod
    def load(name: str) -> Study:
        """Load a study by the name it ships under, or from a folder that holds a `study.py`.

        Raises:
            StudyError: there is none, or its parts do not fit together.
        """
        source = find(name)
        return Study(source, load_study(source))

    def simulate(self, *, scale: float = 0.01, draws: int = 4, seed: int = 0) -> Simulation:
        """Simulate draws of the prior to the last week.

        Args:
            scale: agents per person.
            draws: draws of the prior.
            seed: of draws, population and epidemics.

        Returns:
            Expected observations of every stream, `[draw, week, place]`: `simulation["cases_county"]`, `simulation.map("infections")`.
        """
        torch.set_default_dtype(torch.float64)
        config = make_config(self.source, smoke=True, device="cpu", scale=scale, seed=seed)
        data = read_data(config)
        population, _ = build_population(data, config.scale, seed, balance=config.balance)
        space = parameter_space(self.declared)
        simulator = make_simulator(config, data, population, space, self.declared.calendar.last_week, "cpu")
        z = torch.randn(draws, space.dim, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = simulator.bind(seed, torch.arange(draws))(space.to_theta(z))
        weeks = simulator.observation.weeks
        arrays = {}
        for s in self.declared.streams:
            places = list(s.places(self.declared))
            arrays[s.name] = xr.DataArray(
                expected[s.name].numpy(),
                dims=("draw", "week", f"{s.name}_place"),
                coords={"week": weeks, f"{s.name}_place": places},
            )
        found = xr.Dataset(arrays, attrs={"study": self.declared.name, "scale": scale, "seed": seed})
        axis, names = self.declared.region.axis, list(self.declared.region.names)
        return Simulation(self.declared, found, xr.DataArray(data.population.sum(1), {axis: names}, (axis,)))

    def calibrate(
        self, output: str | Path | None = None, *, smoke: bool = False, device: str = "auto", resume: bool = False, quiet: bool = False,
        **settings: Any,
    ) -> Run:  # fmt: skip
        """Calibrate the study and forecast.

        Args:
            output: folder of the run; `results/<name>` if None.
            smoke: touch everything and fit nothing well.
            device: "auto", "cpu" or "cuda".
            resume: resume the run that the folder holds.
            quiet: show no progress.
            **settings: further settings by name, those of `posterity calibrate`.

        Returns:
            The run.
        """
        console = Console(stderr=True, quiet=quiet)
        folder = calibrate_study(
            self.source,
            None if output is None else Path(output),
            smoke=smoke,
            device=device,
            resume=resume,
            settings=settings,
            console=console,
        )
        assert folder is not None  # only ranks of torchrun that simulate have none
        return Run(folder)
