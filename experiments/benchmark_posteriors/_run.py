"""One run: a method on a task, an observation and a budget, judged by C2ST against the reference draws."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from calib import Gradient, Method, calibrate
from calib.baselines import AMORTISED, BASELINES, Baseline, TrainedBaseline, baseline, train_baseline
from calib.numerics import derive_seed
from experiments.benchmark_posteriors import _tasks
from experiments.benchmark_posteriors._c2st import c2st
from experiments.benchmark_posteriors._reference import observation, reference_draws
from experiments.benchmark_posteriors._tasks import Task

OURS: dict[str, tuple[Method, Gradient]] = {
    "emulated-smc": ("emulated-smc", "score"),
    "emulated-smc-gradient": ("emulated-smc", "reverse"),
    "emulated-smc-forward": ("emulated-smc", "forward"),
    "vi-gradient": ("vi", "reverse"),
}
METHODS = (*OURS, *BASELINES)
SEED_NAMES = {
    "emulated-smc": "reuse", "emulated-smc-gradient": "reuse-gradient", "emulated-smc-forward": "reuse-forward",
    "vi-gradient": "direct-gradient",
}  # fmt: skip
"""Names that seeds are derived from: those the methods had when the first rows were made, so that rows can be made again."""
SHARED = "one network for all observations"


@dataclass(frozen=True)
class Row:
    """Outcome of a run.

    Attributes:
        task, observation, budget, method: what was run.
        c2st: 0.5 is perfect.
        simulations: spent, gradients counted at their cost, the check included.
        seconds: of the calibration and its draws, without the C2ST; the training of a shared network counts in every row.
        k_hat: of the flow; None if not known.
        flow: which was fitted.
        note: verdict in words, or the baseline and whether its network is shared by the observations.
    """

    task: str
    observation: int
    budget: int
    method: str
    c2st: float
    simulations: int
    seconds: float
    k_hat: float | None
    flow: str
    note: str


def run(task: Task, number: int, budget: int, method: str, folder: Path, seed: int) -> Row:
    """Calibrate, draw as many as the reference has, compare.

    The network of an amortised baseline is trained once in a process and serves the next observation of the same task and
    budget, so runs that share one should follow each other.

    Args:
        task: the task.
        number: observation, 1 to 10.
        budget: simulations.
        method: one of `METHODS`.
        folder: of the reference posteriors.
        seed: of everything random.

    Returns:
        The outcome.

    Raises:
        ValueError: there is no such method.
    """
    data, reference = observation(folder, task.name, number), reference_draws(folder, task.name, number)
    own = derive_seed(seed, number, f"{task.name}/{budget}/{SEED_NAMES.get(method, method)}") % 2**31
    before, started = 0.0, time.perf_counter()
    if method in OURS:
        draws, simulations, k_hat, flow, note = _ours(task, data, budget, method, len(reference), own)
    elif method in AMORTISED:
        trained, before = _trained(task.name, budget, method, seed)
        started = time.perf_counter()
        found = trained.draw(data, len(reference), own)
        draws, simulations, k_hat, flow, note = found.theta, found.simulations, None, method, f"{found.note}, {SHARED}"
    elif method in BASELINES:
        found = _per_observation(task, data, budget, method, len(reference), own)
        draws, simulations, k_hat, flow, note = found.theta, found.simulations, None, method, found.note
    else:
        raise ValueError(f"no method is called {method!r}: choose from {', '.join(METHODS)}.")
    seconds = before + time.perf_counter() - started
    flat = task.space.flatten(draws) if isinstance(draws, dict) else draws
    score = c2st(reference[: len(flat)], flat.double()[: len(reference)])
    return Row(task.name, number, budget, method, score, simulations, seconds, k_hat, flow, note)


@lru_cache(maxsize=1)
def _trained(name: str, budget: int, method: str, seed: int) -> tuple[TrainedBaseline, float]:
    """The network that all observations of a task share, and the seconds of its training; the last one is kept."""
    importlib.import_module("sbi.inference")  # seconds that no method needs
    started = time.perf_counter()
    task = _tasks.task(name)
    own = derive_seed(seed, 0, f"{name}/{budget}/{SEED_NAMES.get(method, method)}") % 2**31
    found = train_baseline(method, task.simulator, task.space, likelihood=task.likelihood, budget=budget, seed=own)
    return found, time.perf_counter() - started


def _per_observation(task: Task, data: Tensor, budget: int, method: str, draws: int, seed: int) -> Baseline:
    return baseline(
        method,
        task.simulator,
        task.space,
        data,
        likelihood=task.likelihood,
        budget=budget,
        draws=draws,
        seed=seed,
    )


def _ours(
    task: Task, data: Tensor, budget: int, method: str, draws: int, seed: int
) -> tuple[dict[str, Tensor], int, float | None, str, str]:
    how, gradient = OURS[method]
    found = calibrate(
        task.simulator,
        task.space,
        data,
        likelihood=task.likelihood,
        gradient=gradient,
        method=how,
        budget=budget,
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed + 1)
    theta = found.sample(draws, generator, corrected=found.can_correct)
    report = found.report
    return theta, report["simulations"], report["k_hat"], report["flow"], str(found.verdict)
