"""`python -m experiments.benchmark_posteriors`: C2ST on known posteriors, compared with sbi and published numbers."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calib.baselines import BASELINES
from calib.storage import atomic_write_csv, atomic_write_json, atomic_write_text
from experiments.benchmark_posteriors._figure import draw_c2st
from experiments.benchmark_posteriors._jobs import KEY, measure, plan
from experiments.benchmark_posteriors._reference import reference_folder
from experiments.benchmark_posteriors._run import METHODS
from experiments.benchmark_posteriors._table import markdown, ordered, summary, with_published
from experiments.benchmark_posteriors._tasks import TASKS


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and not yet in the folder; write rows, table and figure."""
    options = _options(arguments)
    torch.set_num_threads(1)
    try:
        folder = reference_folder(options.reference)
        _known("task", options.tasks, TASKS)
        chosen = [entry.partition(":") for entry in (*options.methods, *options.baselines)]
        _known("method", [name for name, _, _ in chosen], METHODS)
        limits = [_budget(only) for _, colon, only in chosen if colon]
        if not 1 <= options.observations <= 10 or min([*options.budgets, *limits]) < 1 or options.workers < 1:
            raise ValueError("--observations must lie between 1 and 10, --budgets and --workers above 0.")
        if any(name in BASELINES for name, _, _ in chosen) and importlib.util.find_spec("sbi") is None:
            raise ValueError(
                "the baselines need sbi, which is not installed; install the extra: pip install 'posterity[sbi]'."
            )
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    file = options.output / "rows.csv"
    done = {tuple(row) for row in pd.read_csv(file)[KEY].itertuples(index=False)} if file.exists() else set()
    jobs = plan(options.tasks, options.budgets, options.observations, [*options.methods, *options.baselines], done)
    try:
        machine = f"{_processor()}, {os.cpu_count()} cores, {options.workers} at once"
        rows = measure(jobs, options.output, folder, options.seed, options.workers, machine)
    except (RuntimeError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    failed = len(done) + len(jobs) - len(rows)
    if len(rows):
        _finish(options.output, ordered(rows), options.workers)
    if failed:
        print(f"{failed} of {len(jobs)} runs failed: {options.output / 'failed.csv'} says why.", file=sys.stderr)
        return 2
    return 0


def _finish(output: Path, rows: pd.DataFrame, workers: int) -> None:
    table = with_published(rows)
    atomic_write_csv(output / "summary.csv", summary(rows))
    atomic_write_text(output / "table.md", markdown(table) + "\n")
    atomic_write_json(output / "machine.json", _machine(workers))
    draw_c2st(rows, output / "c2st.png")
    print(markdown(table))


def _machine(workers: int) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "workers": workers,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "zuko", "sbi", "numpy")},
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return None


def _known(kind: str, given: list[str], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"no {kind} is called {name!r}: choose from {', '.join(known)}.")


def _budget(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"--methods names the budget {text!r}: write a whole number of simulations, as in npe:1000.")
    return int(text)


def _split(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _split(text)]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark_posteriors", description=__doc__)
    parser.add_argument("--tasks", type=_split, default=list(TASKS), help=f"of {', '.join(TASKS)}")
    parser.add_argument(
        "--budgets", type=_numbers, default=[1000, 10_000], help="simulations; a gradient counts 4 or more"
    )
    parser.add_argument("--observations", type=int, default=10, help="how many of the ten")
    parser.add_argument(
        "--methods",
        type=_split,
        default=["emulated-smc", "emulated-smc-gradient"],
        help=f"of {', '.join(METHODS)}, run in this order; name:budget runs one at that budget alone",
    )
    parser.add_argument("--baselines", type=_split, default=[], help=f"of {', '.join(BASELINES)}; needs the extra sbi")
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmark_posteriors"), help="folder; goes on where it stopped"
    )
    parser.add_argument("--reference", type=Path, default=None, help="folder with <task>/files/num_observation_<i>/")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, each a process of one thread")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
