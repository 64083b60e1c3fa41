"""`python -m experiments.benchmark_posteriors`: C2ST on known posteriors, beside sbi and published numbers."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calib._atomic import atomic_write_csv, atomic_write_json, atomic_write_text
from calib._baselines_sbi import BASELINES
from experiments.benchmark_posteriors._figure import draw_c2st
from experiments.benchmark_posteriors._reference import reference_folder
from experiments.benchmark_posteriors._run import METHODS, OURS, run
from experiments.benchmark_posteriors._table import beside_published, markdown, summary
from experiments.benchmark_posteriors._tasks import TASKS, task

KEY = ["task", "observation", "budget", "method"]


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and not yet in the folder; write rows, table and figure."""
    options = _options(arguments)
    torch.set_num_threads(1)
    try:
        folder = reference_folder(options.reference)
        _known("task", options.tasks, TASKS)
        _known("method", [*options.methods, *options.baselines], METHODS)
        if not 1 <= options.observations <= 10 or min(options.budgets) < 1:
            raise ValueError("--observations must lie between 1 and 10 and --budgets above 0.")
        if options.baselines and importlib.util.find_spec("sbi") is None:
            raise ValueError(
                "--baselines needs sbi, which is not installed; install the extra: pip install 'posterity[sbi]'."
            )
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    rows = _measure(options, folder)
    _finish(options.output, rows)
    return 0


def _measure(options: argparse.Namespace, folder: Path) -> pd.DataFrame:
    """All rows, those of an earlier run in the same folder included."""
    file = options.output / "rows.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    done = {tuple(row[key] for key in KEY) for row in rows}
    jobs = [
        (name, number, budget, method)
        for method in [*options.methods, *options.baselines]
        for budget in options.budgets
        for number in range(1, options.observations + 1)
        for name in options.tasks
        if (name, number, budget, method) not in done
    ]
    started = time.perf_counter()
    for index, (name, number, budget, method) in enumerate(jobs):
        row = asdict(run(task(name), number, budget, method, folder, options.seed))
        rows.append(row)
        atomic_write_csv(file, pd.DataFrame(rows))
        left = (time.perf_counter() - started) / (index + 1) * (len(jobs) - index - 1)
        print(
            f"{name} {number}, budget {budget}, {method}: C2ST {row['c2st']:.3f}, {row['simulations']} simulations, "
            f"{row['seconds']:.1f} s ({row['flow']}; {row['note']}); {left / 60:.0f} min left",
            flush=True,
        )
    return pd.DataFrame(rows)


def _finish(output: Path, rows: pd.DataFrame) -> None:
    table = beside_published(rows)
    atomic_write_csv(output / "summary.csv", summary(rows))
    atomic_write_text(output / "table.md", markdown(table) + "\n")
    atomic_write_json(output / "machine.json", _machine())
    draw_c2st(rows, output / "c2st.png")
    print(markdown(table))


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
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


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark_posteriors", description=__doc__)
    parser.add_argument("--tasks", type=_words, default=list(TASKS), help=f"of {', '.join(TASKS)}")
    parser.add_argument(
        "--budgets", type=_numbers, default=[1000, 10_000], help="simulations; a gradient counts 4 or more"
    )
    parser.add_argument("--observations", type=int, default=10, help="how many of the ten")
    parser.add_argument("--methods", type=_words, default=["reuse", "reuse-gradient"], help=f"of {', '.join(OURS)}")
    parser.add_argument("--baselines", type=_words, default=[], help=f"of {', '.join(BASELINES)}; needs the extra sbi")
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmark_posteriors"), help="folder; goes on where it stopped"
    )
    parser.add_argument("--reference", type=Path, default=None, help="folder with <task>/files/num_observation_<i>/")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
