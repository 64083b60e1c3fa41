"""The fitted model as a function of standard-normal inputs: values and reverse-mode gradients, every run counted and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sim
from calib import derive_seed
from epi.model.observation import observe
from epi.model.simulator import Simulator, failed, usable
from epi.model.transmission import host_tables, make_rates
from epi.sensitivity.outputs import Output
from sim import Rates

if TYPE_CHECKING:
    from epi.sensitivity.workers import Workers

Array = NDArray[np.float64]
Advance = Callable[[int], None]


@dataclass
class Ledger:
    """Runs by purpose: how many, how many of them with a reverse pass, how many failed, and the seconds they took.

    `quick` holds seconds a run of the quicker batches: what other work on the machine adds is left out.
    """

    runs: dict[str, int] = field(default_factory=dict)
    gradients: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    quick: dict[str, float] = field(default_factory=dict)
    _batches: dict[str, list[float]] = field(default_factory=dict)

    def add(self, purpose: str, runs: int, gradients: int, failed: int, seconds: float) -> None:
        """Enter some runs."""
        for table, number in ((self.runs, runs), (self.gradients, gradients), (self.failed, failed)):
            table[purpose] = table.get(purpose, 0) + number
        self.seconds[purpose] = self.seconds.get(purpose, 0.0) + seconds
        batches = self._batches.setdefault(purpose, [])
        batches.append(seconds / max(1, runs))
        self.quick[purpose] = float(np.quantile(batches, 0.1))

    def per_run(self, purpose: str) -> float:
        """Seconds a run of the quicker batches (first decile)."""
        return self.quick.get(purpose, self.seconds[purpose] / max(1, self.runs[purpose]))


@dataclass(frozen=True, eq=False)
class Work:
    """The model that is analysed.

    Attributes:
        simulator: of the study, at the scale of the analysis.
        seed: all random streams come from it. batch: runs at once.
        workers: processes that share the batches; None to make all runs here.
        ledger: where runs are entered; seconds are those of one process.
    """

    simulator: Simulator
    seed: int
    batch: int = 8
    workers: Workers | None = None
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def dim(self) -> int:
        """Number of calibrated inputs."""
        return self.simulator.space.dim

    def values(
        self,
        z: Array,
        purpose: str,
        replicate: int,
        *,
        streams: NDArray[np.int64] | None = None,
        outputs: Sequence[Output] | None = None,
        advance: Advance | None = None,
    ) -> Array:
        """Outputs of runs.

        Args:
            z: `[run, D]` calibrated inputs.
            purpose: in the ledger.
            replicate: random numbers; two replicates are independent.
            streams: `[run]` random stream; runs of one stream share their random numbers. Default: one each.
            outputs: scalar outputs; None for all that the simulator gives.
            advance: called with the number of runs done.

        Returns:
            `[run, M]`, or `[run, output]`; NaN where a run failed.
        """
        rows = []
        for found, seconds in self._each(_values, z, streams, replicate, None if outputs is None else tuple(outputs)):
            rows.append(found)
            self.ledger.add(purpose, len(found), 0, int((~np.isfinite(found).all(1)).sum()), seconds)
            if advance:
                advance(len(found))
        return np.concatenate(rows)

    def gradients(
        self,
        z: Array,
        outputs: Sequence[Output],
        purpose: str,
        replicate: int,
        *,
        extra: Extra | None = None,
        streams: NDArray[np.int64] | None = None,
        advance: Advance | None = None,
    ) -> tuple[Array, Array]:
        """Outputs and their gradients: one run and one reverse pass for each output.

        Args:
            z: `[run, D]`, or `[run, D + E]` with `extra`.
            outputs: the scalar outputs.
            purpose: as for `values`, like replicate, streams and advance.
            replicate: random numbers.
            extra: further inputs, on the rates themselves.
            streams: `[run]` random stream.
            advance: called with the number of runs done.

        Returns:
            Values `[run, output]` and gradients `[run, output, input]`; NaN where a run failed.
        """
        values, slopes = [], []
        for (value, slope), seconds in self._each(_gradients, z, streams, replicate, tuple(outputs), extra):
            values.append(value)
            slopes.append(slope)
            bad = int((~np.isfinite(value).all(1)).sum())
            self.ledger.add(purpose, len(value), len(value) * len(outputs), bad, seconds)
            if advance:
                advance(len(value))
        return np.concatenate(values), np.concatenate(slopes)

    def _each(
        self, task: Callable[..., Any], z: Array, streams: NDArray[np.int64] | None, *more: Any
    ) -> Iterator[tuple[Any, float]]:
        """What a task gives for each batch, in order, and its seconds: here, or in the worker processes."""
        own = np.arange(len(z)) if streams is None else np.asarray(streams)
        parts = [(z[i : i + self.batch], own[i : i + self.batch]) for i in range(0, len(z), self.batch)]
        if self.workers is None:
            return (timed(task, self, *part, *more) for part in parts)
        return self.workers.each(task, [(*part, *more) for part in parts])

    def _flat(self, z: Tensor, streams: Tensor, replicate: int, extra: Extra | None) -> Tensor:
        theta = self.theta(z[:, : self.dim])
        return self.from_rates(
            theta,
            lambda rates: rates if extra is None else extra.change(rates, z[:, self.dim :].to(rates.mixing)),
            replicate,
            streams,
        )

    def theta(self, z: Tensor) -> dict[str, Tensor]:
        """Parameters on the simulator's device and in its dtype."""
        return {name: x.to(self.simulator.observation.week) for name, x in self.simulator.space.to_theta(z).items()}

    def from_rates(
        self, theta: Mapping[str, Tensor], change: Callable[[Rates], Rates], replicate: int, streams: Tensor
    ) -> Tensor:
        """Flat outputs `[P, M]` of runs whose rates are changed between parameters and epidemic."""
        s = self.simulator
        hosts = host_tables(theta, s.context)
        rates, good = usable(make_rates(theta, hosts, s.context), hosts)
        incidence = sim.epidemic(
            s.population,
            change(rates),
            self._seed(replicate),
            streams=streams,
            backend=s.backend,
            estimator=s.estimator,
        )
        return s.layout.flat(failed(observe(theta, hosts, incidence, s.observation), good))

    def _seed(self, replicate: int) -> int:
        return derive_seed(self.seed, replicate, "sensitivity")


def timed(task: Callable[..., Any], work: Any, *arguments: Any) -> tuple[Any, float]:
    """What a task gives, and the seconds it took."""
    start = time.perf_counter()
    return task(work, *arguments), time.perf_counter() - start


def _values(
    work: Work, z: Array, streams: NDArray[np.int64], replicate: int, outputs: tuple[Output, ...] | None
) -> Array:
    with torch.no_grad():
        flat = work._flat(torch.tensor(z, dtype=torch.float64), torch.tensor(streams), replicate, None)
    found = flat if outputs is None else torch.stack([output.value(flat) for output in outputs], -1)
    return np.asarray(found.double().cpu().numpy())


def _gradients(
    work: Work, z: Array, streams: NDArray[np.int64], replicate: int, outputs: tuple[Output, ...], extra: Extra | None
) -> tuple[Array, Array]:
    leaf = torch.tensor(z, dtype=torch.float64).requires_grad_()
    flat = work._flat(leaf, torch.tensor(streams), replicate, extra)
    kept = [output.value(flat) for output in outputs]
    rows = [torch.autograd.grad(v.sum(), leaf, retain_graph=k + 1 < len(kept))[0] for k, v in enumerate(kept)]
    value = torch.stack([v.detach() for v in kept], 1).double().cpu().numpy()
    slope = torch.stack(rows, 1).cpu().numpy()
    slope[~np.isfinite(value).all(1)] = np.nan
    return value, slope


@dataclass(frozen=True, eq=False)
class Extra:
    """Inputs beyond the calibrated ones: factors `exp(sd * e)`, e ~ N(0, 1), on entries or groups of entries of the rates.

    Attributes:
        names, groups: `[E]`.
        sd: standard deviation of the log factor.
        layout: for each rate, which of its entries (flat, without the particle axis) each input multiplies: `[entry]`, E where none.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    sd: float
    layout: Mapping[str, NDArray[np.int64]]

    def change(self, rates: Rates, e: Tensor) -> Rates:
        """Rates with their factors, `e [P, E]`."""
        log = self.sd * torch.nn.functional.pad(e, (0, 1))  # the last one stands for "no input": factor 1
        out = {}
        for name in Rates.__annotations__:
            x = getattr(rates, name)
            if name in self.layout:
                at = torch.as_tensor(self.layout[name], device=x.device)
                x = x * torch.exp(log[:, at]).reshape(x.shape)
            out[name] = x
        return Rates(**out)
