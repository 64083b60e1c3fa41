"""`python -m experiments.gradient_audit`: bias, noise, time and memory of every gradient estimator, for every kind of parameter."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from calib._atomic import atomic_write_csv, atomic_write_json
from calib._runfolder import versions
from calib._style import save_figure
from experiments.gradient_audit._draw import draw_bias, draw_memory, draw_noise
from experiments.gradient_audit._estimates import VARIANTS
from experiments.gradient_audit._probe import cost
from experiments.gradient_audit._run import Plan, audit
from experiments.gradient_audit._table import verdict
from experiments.gradient_audit._world import LEVELS

NATIONAL_AGENTS, NATIONAL_DAYS = 5_200_000, 365
MEMORY_AGENTS, MEMORY_DAYS = 5_000, (30, 120, 480, 1920)


def main(arguments: list[str] | None = None) -> int:
    """Audit the gradients; write `table.csv`, `truth.csv`, `memory.csv`, `audit.json` and figures."""
    options = _options(arguments)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    output, begun = options.output, time.perf_counter()
    console = Console(stderr=True)
    manifest: dict[str, Any] = {"machine": _machine(), "seed": options.seed}
    try:
        if options.workers < 1:
            raise ValueError(f"Found {options.workers} workers, expected at least 1; give the number of cores.")
        if options.truth and not options.truth.is_file():
            raise ValueError(
                f"Found no file {options.truth}, expected the truth.csv of an audit; give its path to --truth."
            )
        known = pd.read_csv(options.truth) if options.truth else None
        if options.table and not (options.table.is_file() and options.truth):
            raise ValueError(
                f"Found --table {options.table}, expected the table.csv of an audit together with the --truth it was judged by; give both."
            )
        earlier = pd.read_csv(options.table).fillna({"note": ""}) if options.table else None
        if options.national:
            found = cost(NATIONAL_AGENTS, "middle", "local-score", NATIONAL_DAYS)
            print(
                f"{found['agents']:,} agents, {NATIONAL_DAYS} days, the reverse gradient of every rate: {_national(found)}"
            )
            atomic_write_json(output / "national.json", {**manifest, "days": NATIONAL_DAYS, **found})
            return 0
        plan = _plan(options)
        with _progress(console) as bar:
            task = bar.add_task("starting", total=None)

            def report(what: str, done: int, of: int) -> None:
                bar.update(task, description=what, completed=done, total=of)

            found_all = audit(plan, known, options.workers, output / "pieces", report, earlier)
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    table, truth, memory = found_all.table, found_all.truth, found_all.memory
    manifest |= {"plan": asdict(plan), "workers": options.workers, "truth_given": known is not None}
    manifest["seconds"] = time.perf_counter() - begun
    judged = verdict(table)
    manifest["verdict"] = judged.astype(object).where(judged.notna(), None).to_dict("records")
    atomic_write_csv(output / "table.csv", table)
    atomic_write_csv(output / "truth.csv", truth)
    atomic_write_json(output / "audit.json", manifest)
    save_figure(draw_bias(table), output / "bias.png")
    save_figure(draw_noise(table), output / "noise.png")
    if len(memory):
        atomic_write_csv(output / "memory.csv", memory)
        if memory["reverse_mib"].notna().all():
            save_figure(draw_memory(memory), output / "memory.png")
        print(memory.to_string(index=False, float_format=lambda x: f"{x:,.1f}"))
    print(_printed(table))
    print("\nwithin the aims (bias 3 % or two standard errors; one-run sd 5 % from 45,000 agents):")
    print(judged.to_string(index=False, float_format=lambda x: f"{x:,.3f}"))
    print(f"written to {output} in {manifest['seconds']:,.0f} s")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    days = () if options.skip_memory else MEMORY_DAYS
    names = tuple(name for name in VARIANTS if name == "local-score" or name in (options.estimators or VARIANTS))
    if options.smoke:
        return Plan((2_000,), ("middle",), options.seed, 0.3, 80, 16, 2, 2, False, 2_000, days[:2], names)
    sizes = tuple(options.agents or (10_000, 50_000))
    if min(sizes) < 500:
        raise ValueError(f"Found {min(sizes)} agents, expected at least 500 for 160 groups; give a larger number.")
    levels = tuple(options.levels or LEVELS)
    if options.thorough:
        return Plan(sizes, levels, options.seed, 0.01, 2_000, 400, 64, 12, True, MEMORY_AGENTS, days, names)
    return Plan(sizes, levels, options.seed, 0.02, 480, 96, 8, 2, False, MEMORY_AGENTS, days, names)


def _printed(table: pd.DataFrame) -> str:
    shown = table.drop(columns=["level", "runs", "truth_se"]).copy()
    shown["bias"] = [f"{100 * b:+.1f} ± {100 * s:.1f} %" for b, s in zip(table["bias"], table["bias_se"], strict=True)]
    shown["sd"] = [f"{100 * s:.1f} %" for s in table["sd"]]
    return str(shown.drop(columns="bias_se").to_string(index=False, float_format=lambda x: f"{x:,.3g}"))


def _national(found: Any) -> str:
    memory = "memory not told by this system" if found["reverse_mib"] is None else (
        f"peak {max(found['reverse_mib'], found['forward_mib']):,.0f} MiB above population and rates"
    )  # fmt: skip
    return f"{memory}, forward {found['forward_seconds']:,.1f} s, reverse {found['reverse_seconds']:,.1f} s"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<44}"), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), console=console, refresh_per_second=2,
    )  # fmt: skip


def _machine() -> dict[str, Any]:
    """Hardware, versions and time."""
    info = Path("/proc/cpuinfo")
    names = (
        [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        if info.exists()
        else []
    )
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        commit = done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {
        "hardware": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": versions(("torch", "numba", "numpy")),
        "commit": commit,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.gradient_audit", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("results/gradient_audit"), help="folder of tables and figures"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="touch everything in about a minute; measures nothing well"
    )
    parser.add_argument("--thorough", action="store_true", help="truth to 1 %% and more runs of everything; hours")
    parser.add_argument("--agents", type=int, nargs="*", metavar="N", help="population sizes; default 10000 50000")
    parser.add_argument("--levels", nargs="*", choices=tuple(LEVELS), help="attack rates; default all")
    parser.add_argument("--truth", type=Path, help="a truth.csv of an earlier run, used where its world is the same")
    parser.add_argument("--estimators", nargs="*", choices=tuple(VARIANTS), help="default all; local-score always runs")
    parser.add_argument(
        "--table", type=Path, help="table.csv of the run of --truth, for the rows of estimators not run now"
    )
    parser.add_argument("--skip-memory", action="store_true", help="leave out the memory against days")
    parser.add_argument(
        "--national", action="store_true", help="only: 5.2 million agents, 365 days, full reverse gradient"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default one a core")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
