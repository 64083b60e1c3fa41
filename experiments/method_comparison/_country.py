"""Runs of the study's country for given parameters, in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.inference.setup import make_simulator
from epi.model import Simulator
from epi.outputs.reload import rebuild
from epi.sensitivity.simulate import timed
from epi.sensitivity.workers import Workers

Array = NDArray[np.float64]
Weeks = Literal["fitted", "all"]
TOGETHER = {"cpu": 2, "cuda": 8}
"""Runs at once where one process makes all of them."""


@dataclass(frozen=True, eq=False)
class Simulators:
    """The country simulated to the forecast date (`fitted`) and to the last week (`all`)."""

    fitted: Simulator
    all: Simulator


@dataclass(frozen=True)
class Recipe:
    """What a process needs to build the country: folder of the calibration, agents per person, device."""

    folder: str
    scale: float
    device: str = "cpu"

    def build(self) -> Simulators:
        """The simulators."""
        built = rebuild(Path(self.folder), scale=self.scale, device=self.device)
        s = built.simulator
        return Simulators(
            make_simulator(
                built.config, built.epidemic_data, s.population, s.space, s.study.calendar.forecast_from, self.device
            ),
            s,
        )


@dataclass(frozen=True, eq=False)
class Country:
    """Where runs are made: worker processes, or this one.

    Attributes:
        workers: processes that share the runs, or None.
        here: the simulators of this process, or None.
    """

    workers: Workers | None
    here: Simulators | None

    def expected(
        self, z: Tensor, seed: int, weeks: Weeks, first: int = 0, advance: Callable[[int], None] | None = None
    ) -> Tensor:
        """Expected observations of one run for each draw.

        Args:
            z: `[P, D]` parameters in standard normal coordinates.
            seed: of the epidemics; run p has the random stream `first + p`.
            weeks: the fitted weeks, or all.
            first: random stream of the first run.
            advance: told of runs as they are there.

        Returns:
            `[P, M]` (`Layout.flat`), NaN where a run failed.
        """
        points = z.detach().double().cpu().numpy()
        size = 1 if self.here is None else TOGETHER[self.here.fitted.observation.week.device.type]
        parts = [(points[i : i + size], first + i, seed, weeks) for i in range(0, len(points), size)]
        rows = []
        for found, _ in self._each(parts):
            rows.append(torch.tensor(found))
            if advance:
                advance(len(found))
        return torch.cat(rows)

    def _each(self, parts: list[tuple[Array, int, int, Weeks]]) -> Iterator[tuple[Array, float]]:
        if self.workers is not None:
            return self.workers.each(_expected, parts)
        return (timed(_expected, self.here, *part) for part in parts)


def _expected(simulators: Simulators, z: Array, first: int, seed: int, weeks: Weeks) -> Array:
    simulator = simulators.fitted if weeks == "fitted" else simulators.all
    with torch.no_grad():
        simulate = simulator.bind(seed, torch.arange(first, first + len(z)))
        flat = simulator.layout.flat(simulate(simulator.space.to_theta(torch.tensor(z))))
    return np.asarray(flat.double().cpu().numpy())
