"""`python -m experiments.gradient_audit.memory`: peak memory of a gradient against the days simulated.

Each measurement is a process of its own, so that nothing freed before is used again.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

import sim
from calib.plotting import ACCENT, INK, SECOND, blank, save_figure, styled
from calib.storage import atomic_write_csv
from experiments.gradient_audit._rows import provenance
from experiments.gradient_audit.worlds import sample
from sim import EstimatorOptions

METHODS = {
    "removals": "removals",
    "local-score": "local-score",
    "tape": "straight-through",
    "checkpointed tape": "straight-through",
}
"""Name in the table, and the estimator that it measures."""
_COLOURS = {"removals": ACCENT, "local-score": SECOND, "tape": INK, "checkpointed tape": "#7a5195"}
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main(arguments: list[str] | None = None) -> int:
    """Measure every method at every number of days; write `memory.csv` and `memory.png`."""
    parser = argparse.ArgumentParser(prog="experiments.gradient_audit.memory", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/gradient_audit"), help="folder of table and plot")
    parser.add_argument("--agents", type=int, default=5_000)
    parser.add_argument("--days", type=int, nargs="+", default=[30, 120, 480, 1_920])
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--measure", nargs=2, metavar=("METHOD", "DAYS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        method, days = options.measure
        print(json.dumps(peak_memory(method, options.agents, int(days))))
        return 0
    try:
        rows = [{**_apart(m, options.agents, d), "method": m} for m in options.methods for d in options.days]
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    table = pd.DataFrame(rows).assign(**provenance("cpu"))
    atomic_write_csv(options.output / "memory.csv", table)
    save_figure(plot_memory(table), options.output / "memory.png")
    print(table.to_string(index=False, float_format=lambda x: f"{x:,.1f}"))
    return 0


def peak_memory(method: str, agents: int, days: int) -> dict[str, float]:
    """Peak MiB of one run and its gradient in every rate, above what population and rates take.

    Args:
        method: one of `METHODS`.
        agents: about how many, of the New Zealand sample.
        days: simulated.

    Returns:
        `agents`, `days`, `mib`, and `result_mib`: the part of it that is incidence, its cotangent and the rates' gradient themselves.

    Raises:
        OSError: a system that does not tell its peak memory.
    """
    if not _CLEAR.exists():
        raise OSError(f"Found no {_CLEAR}, expected the memory counters of Linux; measure on a Linux system.")
    torch.set_num_threads(1)
    _one_pass(method, min(agents, 2_000), 60)  # kernels are compiled and libraries loaded before anything is measured
    world = sample(30, agents, days)
    leaves = world.rates(torch.zeros(1, len(world.parameters), dtype=torch.float64)).map(
        lambda x: x.detach().contiguous().requires_grad_()
    )
    with torch.no_grad():
        sim.epidemic(world.people, leaves, 2)  # columns of the population are laid out once
    base = _resident_after_release()
    x = sim.epidemic(world.people, leaves, 1, estimator=METHODS[method], options=_options(method, days))
    x.sum().backward()
    result = 8 * (2 * x.numel() + sum(leaf.numel() for leaf in leaves.tensors())) / 2**20
    return {"agents": world.people.agents, "days": days, "mib": _read("VmHWM") - base, "result_mib": result}


def _options(method: str, days: int) -> EstimatorOptions:
    return EstimatorOptions(segment=math.isqrt(days) if method == "checkpointed tape" else 0)


def _one_pass(method: str, agents: int, days: int) -> None:
    world = sample(30, agents, days)
    theta = torch.zeros(1, len(world.parameters), dtype=torch.float64, requires_grad=True)
    options = _options(method, days)
    sim.epidemic(world.people, world.rates(theta), 1, estimator=METHODS[method], options=options).sum().backward()


def _apart(method: str, agents: int, days: int) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.gradient_audit.memory", "--agents", str(agents)]
    done = subprocess.run([*command, "--measure", method, str(days)], capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}, as when memory runs out"]
        raise RuntimeError(f"The measurement of {method} at {agents:,} agents and {days} days failed: {said[0]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _resident_after_release() -> float:
    """Resident MiB once freed memory is handed back; from here the peak counts anew."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library keeps what it likes
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    _CLEAR.write_text("5")
    return _read("VmRSS")


def _read(field: str) -> float:
    line = next(x for x in _STATUS.read_text().splitlines() if x.startswith(field))
    return float(line.split()[1]) / 1024


@styled
def plot_memory(table: pd.DataFrame) -> Figure:
    """Peak memory against days, a line a method; dashed, the part that is the result itself."""
    figure = blank(7.2, 3.6)
    axes = figure.subplots()
    for method, part in table.groupby("method", sort=False):
        axes.plot(part["days"], part["mib"], "o-", color=_COLOURS[str(method)], markersize=4, label=str(method))
    one = table.drop_duplicates("days").sort_values("days")
    axes.plot(one["days"], one["result_mib"], color="#6d7379", linestyle=(0, (4, 3)), label="incidence and gradient")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(one["days"], [f"{d:,}" for d in one["days"]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    axes.set_xlabel("days simulated")
    axes.set_ylabel("peak MiB above population and rates")
    axes.set_title(f"Memory of one run of {int(table['agents'].iloc[0]):,} agents and its gradient in every rate")
    axes.legend()
    return figure


if __name__ == "__main__":
    sys.exit(main())
