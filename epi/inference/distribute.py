"""The study's simulations split over the processes of a torchrun (docs/distributed.md): rank 0 runs the study, the others simulate."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from calib import RunFolder, Team
from calib.numerics import kernel_threads
from epi.data import EpidemicData
from epi.inference import setup as _study
from epi.inference.settings import Config
from epi.model import Simulator


@dataclass(frozen=True, eq=False)
class DistributedSimulator(Simulator):
    """A simulator whose particles are simulated on all ranks.

    Attributes:
        team: the processes; every rank builds the same simulators in the same order.
        alone: the simulator of this rank.
    """

    team: Team | None = None
    alone: Simulator | None = None

    def __post_init__(self) -> None:
        assert self.team is not None
        assert self.alone is not None
        object.__setattr__(self, "_forward", self.team.split(self._rows_to_counts))
        object.__setattr__(self, "_with_jacobian", self.team.split(self._z_to_jacobian))
        object.__setattr__(self, "_derived", self.team.split(self._rows_to_both))

    def _expected(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None) -> dict[str, Tensor]:
        """As the simulator's own, its particles split over the ranks."""
        rows, own = self._rows(theta, streams)
        flat: Tensor = self._forward(rows, seed, own)  # type: ignore[attr-defined]
        return self.layout.split(flat)

    def _both(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None) -> Tensor:
        """As the simulator's own, its particles split over the ranks."""
        rows, own = self._rows(theta, streams)
        flat: Tensor = self._derived(rows, seed, own)  # type: ignore[attr-defined]
        return flat

    def _rows(self, theta: Mapping[str, Tensor], streams: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = torch.cat(
            [theta[p.name].reshape(len(theta["transmission_household"]), -1) for p in self.space.parameters], 1
        )
        return rows, torch.arange(len(rows)) if streams is None else streams

    def jacobian(self, z: Tensor, seed: int, streams: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As the simulator's own, its particles split over the ranks."""
        own = torch.arange(len(z)) if streams is None else streams
        flat: Tensor = self._with_jacobian(z.detach(), seed, own)  # type: ignore[attr-defined]
        both = flat.unflatten(1, (-1, 1 + self.space.dim))
        return both[..., 0].contiguous(), both[..., 1:].contiguous()

    def _rows_to_counts(self, rows: Tensor, seed: int, streams: Tensor) -> Tensor:
        assert self.alone is not None
        return self.layout.flat(self.alone._expected(self._theta(rows), seed, streams))

    def _rows_to_both(self, rows: Tensor, seed: int, streams: Tensor) -> Tensor:
        assert self.alone is not None
        return self.alone._both(self._theta(rows), seed, streams)

    def _theta(self, rows: Tensor) -> dict[str, Tensor]:
        here = self.observation.week
        theta, start = {}, 0
        for p in self.space.parameters:
            size = math.prod(p.shape)
            theta[p.name] = rows[:, start : start + size].reshape(len(rows), *p.shape).to(here)
            start += size
        return theta

    def _z_to_jacobian(self, z: Tensor, seed: int, streams: Tensor) -> Tensor:
        assert self.alone is not None
        value, jacobian = self.alone.jacobian(z, seed, streams)
        return torch.cat([value[..., None], jacobian], -1).flatten(1)


def over_processes(study: _study.Study, team: Team) -> _study.Study:
    """The study with its simulators split over the ranks; call it on every rank, on the same study."""
    made: dict[int, DistributedSimulator] = {}

    def over(alone: Simulator) -> DistributedSimulator:
        if id(alone) not in made:
            own = {f.name: getattr(alone, f.name) for f in fields(Simulator)}
            made[id(alone)] = DistributedSimulator(**own, team=team, alone=alone)
        return made[id(alone)]

    return replace(
        study,
        short=over(study.short),
        full=over(study.full),
        sample_short=over(study.sample_short),
        sample_full=over(study.sample_full),
        country_short=study.country_short and over(study.country_short),
        country_full=study.country_full and over(study.country_full),
        slope_short=over(study.slope_short),
    )


def work(config: Config, epidemic_data: EpidemicData, team: Team) -> None:
    """Build what rank 0 builds, then simulate what it sends, to the end of the run. Writes nothing that stays.

    Raises:
        RankLost: rank 0 died.
    """
    quiet = Console(quiet=True)
    # synthetic data are rank 0's affair: simulators do not look at observations to be calibrated
    config = config.model_copy(update={"synthetic": None})
    with tempfile.TemporaryDirectory() as scratch:
        run = RunFolder.create(Path(scratch) / "rank", epidemic_data.study.name, config.identity(), config.seed)
        over_processes(_study.build(config, epidemic_data, run, quiet), team)
    team.serve()


def share_cores() -> None:
    """Divide this host's cores among its ranks, so that they do not fight over them."""
    import numba

    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    numba.set_num_threads(max(1, min(kernel_threads(), cores // ranks)))
