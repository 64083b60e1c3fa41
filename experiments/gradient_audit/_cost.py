"""What a gradient costs, in forward runs of the same implementation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from experiments.gradient_audit.estimators import ESTIMATORS, zeros
from experiments.gradient_audit.worlds import World
from sim import Rates

REPEATS = 3


def cost_in_runs(world: World, estimator: str, device: str = "cpu", seconds: float = 0.1) -> float:
    """Time of a run with the gradient of its total, over that of a run without.

    The run itself counts, so that 1 would be a free gradient. Rates are made beforehand, since what leads to them is the caller's.
    Both are timed by turns in this process for `seconds` each, by processor time (on a GPU by the clock); the median of three ratios.
    """
    chosen, small = ESTIMATORS[estimator], _with_ready_rates(world, device)
    streams = torch.arange(min(chosen.batch(small), 8))
    _seconds(lambda: chosen.draw(small, 1, streams, device), device, 0)  # compiles and fills caches
    _seconds(lambda: chosen.forward(small, 1, streams, device), device, 0)
    ratios = []
    for _ in range(REPEATS):
        alone = _seconds(lambda: chosen.forward(small, 1, streams, device), device, seconds)
        ratios.append(_seconds(lambda: chosen.draw(small, 1, streams, device), device, seconds) / alone)
    return statistics.median(ratios)


def _with_ready_rates(world: World, device: str) -> World:
    """The world with its first outcome alone, and rates that cost nothing to make and still depend on theta."""
    ready = world.rates(zeros(world, 1, device)).map(lambda x: x.detach())

    def rates(theta: Tensor) -> Rates:
        factor = 1 + theta.sum(1)
        return ready.map(lambda x: x * factor.reshape(-1, *[1] * (x.dim() - 1)))

    name, weight = next(iter(world.outcomes.items()))
    return replace(world, rates=rates, outcomes={name: weight})


def _seconds(work: Callable[[], object], device: str, least: float) -> float:
    """Seconds of one call, averaged over as many as take `least` seconds."""
    on_gpu = torch.device(device).type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    begun, calls = clock(), 0
    while True:
        work()
        if on_gpu:
            torch.cuda.synchronize()
        calls += 1
        if (taken := clock() - begun) >= least:
            return taken / calls
