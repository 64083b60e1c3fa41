"""The truth: central differences with common random numbers, extrapolated to a step of zero, as many as the error bar asks for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import sim
from experiments.gradient_audit._world import LEVELS, PARAMETERS, population, rates

Total = Callable[[Tensor, Tensor], Tensor]
"""`theta [P, Q], streams [P] -> total infections [P]`."""

STEP_OF_LOG_TOTAL, LARGEST_STEP = 0.15, 0.4
EVERY = 4
SCHEME = "total infections over all days"


@dataclass(frozen=True)
class Truth:
    """Derivatives of the expected total in each parameter.

    Attributes:
        step: `[Q]` half-width h of the smaller difference.
        small: Q arrays `[n_q]`, central differences of width h, one a stream.
        large: Q arrays `[n_q / EVERY]`, of width 2h.
    """

    step: NDArray[np.float64]
    small: tuple[NDArray[np.float64], ...]
    large: tuple[NDArray[np.float64], ...]

    def value(self, q: int) -> float:
        """Richardson's extrapolation `(4 D(h) - D(2h)) / 3`: its error is of order h^4."""
        return float((4 * self.small[q].mean() - self.large[q].mean()) / 3)

    def standard_error(self, q: int) -> float:
        """Standard error of `value`, with the covariance of the streams that both widths share."""
        a, b = self.small[q], self.large[q]
        both = np.cov(a[: len(b)], b)
        variance = (16 * a.var(ddof=1) / len(a) + both[1, 1] / len(b) - 8 * both[0, 1] / len(a)) / 9
        return float(max(variance, 0.0) ** 0.5)


def truth_table(
    agents: int,
    level: str,
    seed: int,
    wanted: float,
    most: int,
) -> pd.DataFrame:
    """One row a parameter: what is true in one world.

    Columns: `agents`, `level`, `parameter`, `derivative` of the expected total in the parameter, its `standard_error`, the `step`, the
    `streams` used, `difference` and `difference_sd`: mean and sd of one plain central difference, `difference_seconds` for all
    parameters by one stream, and the `fingerprint` of the world.
    """
    torch.set_num_threads(1)
    people = population(agents, 0)
    batch = min(48, max(EVERY, EVERY * round(480_000 / agents / EVERY)))
    most = batch * max(2, round(most / batch))

    def total(theta: Tensor, streams: Tensor) -> Tensor:
        return sim.epidemic(people, rates(people, theta, LEVELS[level]), seed, streams=streams).sum((1, 2))

    theta = torch.zeros(batch, len(PARAMETERS), dtype=torch.float64, requires_grad=True)
    pilot = total(theta, torch.arange(batch))
    (gradient,) = torch.autograd.grad(pilot.sum(), theta)
    step = steps(gradient.mean(0).numpy(), float(pilot.detach().mean()))
    begun = time.perf_counter()
    found = differences(total, step, wanted, most, batch)
    runs = sum(2 * (len(a) + len(b)) for a, b in zip(found.small, found.large, strict=True))
    seconds = (time.perf_counter() - begun) / runs
    rows = [
        {
            "agents": people.agents,
            "level": level,
            "parameter": name,
            "derivative": found.value(q),
            "standard_error": found.standard_error(q),
            "step": step[q],
            "streams": len(found.small[q]),
            "difference": found.small[q].mean(),
            "difference_sd": found.small[q].std(ddof=1),
            "difference_seconds": 2 * len(PARAMETERS) * seconds,
            "fingerprint": fingerprint(people, level),
        }
        for q, name in enumerate(PARAMETERS)
    ]
    return pd.DataFrame(rows)


def fingerprint(people: sim.Population, level: str) -> str:
    """Names the world that a truth belongs to: population, rates and their first derivatives' direction, rounded to five digits.

    More digits would tell single from double precision, which a process may have as its default.
    """
    base = torch.zeros(1, len(PARAMETERS), dtype=torch.float64)
    digest = hashlib.sha256(f"{SCHEME} {people.group.tobytes()!r} {people.venues.tobytes()!r}".encode())
    for theta in (base, base + 0.1 * torch.arange(1, len(PARAMETERS) + 1)):
        for x in rates(people, theta, LEVELS[level]).tensors():
            digest.update(np.format_float_scientific(float(x.sum()), precision=4).encode())
    return digest.hexdigest()[:16]


def steps(gradient: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Half-widths by which the log of the total changes by about 0.15, at most 0.4 in the parameter.

    A wide step has little noise, and extrapolation removes its error of order h^2. Where the wave saturates a change of 0.3 left 5 %.
    """
    return np.minimum(STEP_OF_LOG_TOTAL * total / np.maximum(np.abs(gradient), 1e-12), LARGEST_STEP)


def differences(
    total: Total,
    step: NDArray[np.float64],
    wanted: float,
    most: int,
    batch: int,
) -> Truth:
    """Add streams to each parameter until its standard error is under `wanted` of its value, or `most` are used up.

    Args:
        total: the simulation.
        step: `[Q]` from `steps`.
        wanted: relative standard error at which to stop.
        most: streams a parameter at most, a multiple of `batch`.
        batch: streams simulated at once, a multiple of `EVERY`.
    """
    Q = len(step)
    small: list[list[NDArray[np.float64]]] = [[] for _ in range(Q)]
    large: list[list[NDArray[np.float64]]] = [[] for _ in range(Q)]
    for q in range(Q):
        for first in range(0, most, batch):
            streams = torch.arange(first, first + batch)
            small[q].append(_central(total, q, step, 1.0, streams))
            few = torch.arange(first // EVERY, (first + batch) // EVERY)
            large[q].append(_central(total, q, step, 2.0, few))
            so_far = Truth(step[q : q + 1], (np.concatenate(small[q]),), (np.concatenate(large[q]),))
            if first and so_far.standard_error(0) < wanted * abs(so_far.value(0)):
                break
    return Truth(step, tuple(np.concatenate(x) for x in small), tuple(np.concatenate(x) for x in large))


def _central(total: Total, q: int, step: NDArray[np.float64], times: float, streams: Tensor) -> NDArray[np.float64]:
    """`[len(streams)]` central differences in parameter q, both ends with the same luck."""
    h = times * float(step[q])
    theta = torch.zeros(2 * len(streams), len(step), dtype=torch.float64)
    theta[: len(streams), q], theta[len(streams) :, q] = h, -h
    with torch.no_grad():
        up, down = total(theta, streams.repeat(2)).chunk(2)
    return ((up - down) / (2 * h)).numpy()
