"""Time and peak memory of one run and its gradient in every rate, in a process of its own: `python -m experiments.gradient_audit._probe`."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import torch

import sim
from experiments.gradient_audit._estimates import VARIANTS
from experiments.gradient_audit._world import LEVELS, PARAMETERS, population, rates
from sim import EstimatorOptions, Rates
from sim._columns import columns

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Cost(TypedDict):
    """Seconds, and MiB above population and rates (None where the system does not tell)."""

    agents: int
    forward_seconds: float
    reverse_seconds: float
    forward_mib: float | None
    reverse_mib: float | None


def cost(agents: int, level: str, variant: str, days: int, segment: int = 0) -> Cost:
    """Measure in a new process, so that nothing freed before is used again.

    Args:
        agents: about how many agents.
        level: one of `LEVELS`.
        variant: one of `VARIANTS`.
        days: T.
        segment: days between checkpoints of a taped variant; 0 for none.

    Raises:
        RuntimeError: the process failed; the text ends with what it said.
    """
    arguments = [str(agents), level, variant, str(days), str(segment)]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.gradient_audit._probe", *arguments], capture_output=True, text=True
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}, as when memory runs out"]
        raise RuntimeError(f"the measurement of {variant} at {agents:,} agents and {days} days failed: {said[0]}")
    found: Cost = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(agents: int, level: str, name: str, days: int, segment: int) -> Cost:
    torch.set_num_threads(1)
    variant = VARIANTS[name]
    options = replace(variant.options, baseline=0, segment=segment)
    people = population(agents, 0)
    # one particle, one pass on a few agents first: kernels are compiled and libraries loaded before anything is measured
    _one_pass(population(min(2_000, agents), 0), level, variant.estimator, options, 3)
    theta = torch.zeros(1, len(PARAMETERS), dtype=torch.float64)
    leaves = rates(people, theta, LEVELS[level], days).map(lambda x: x.contiguous().requires_grad_())
    columns(people, torch.device("cpu"))
    base = _settled()
    begun = time.perf_counter()
    x = sim.epidemic(people, leaves, 1, estimator=variant.estimator, options=options).sum()
    between = time.perf_counter()
    forward = _peak(base)
    if _CLEAR.exists():
        _CLEAR.write_text("5")
    x.backward()
    ended = time.perf_counter()
    return Cost(
        agents=people.agents,
        forward_seconds=between - begun,
        reverse_seconds=ended - between,
        forward_mib=forward,
        reverse_mib=_peak(base),
    )


def _one_pass(people: sim.Population, level: str, estimator: str, options: EstimatorOptions, days: int) -> Rates:
    theta = torch.zeros(1, len(PARAMETERS), dtype=torch.float64)
    leaves = rates(people, theta, LEVELS[level], days).map(lambda x: x.contiguous().requires_grad_())
    sim.epidemic(people, leaves, 1, estimator=estimator, options=options).sum().backward()
    return leaves


def _settled() -> float | None:
    """Resident MiB once freed memory is handed back; from here the high-water mark counts anew."""
    gc.collect()
    if not _CLEAR.exists():
        return None
    with contextlib.suppress(OSError, AttributeError):  # another C library keeps what it likes
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    _CLEAR.write_text("5")
    return _resident("VmRSS")


def _peak(base: float | None) -> float | None:
    return None if base is None else _resident("VmHWM") - base


def _resident(field: str) -> float:
    line = next(x for x in _STATUS.read_text().splitlines() if x.startswith(field))
    return float(line.split()[1]) / 1024


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    agents, level, name, days, segment = sys.argv[1:]
    print(json.dumps(_measure(int(agents), level, name, int(days), int(segment))))
