"""`python -m experiments.calibration_gallery`: every problem by every method that applies, against known posteriors."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console

from calib import atomic_write_csv, atomic_write_text
from experiments.calibration_gallery._jobs import run_named, threads_of_one
from experiments.calibration_gallery._plot import plot
from experiments.calibration_gallery._registry import PROBLEMS
from experiments.calibration_gallery._run import COLUMNS, KEY
from experiments.calibration_gallery._table import by_problem, markdown, summary
from posterity.commands.former_options import run

console = Console(stderr=True)
RESULTS = Path(__file__).parent / "results"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Problems, by name; may be repeated. Default all.")] = None,
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="Methods; default auto and those that apply.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of auto; other methods take one.", min=1)] = 5,
    output: Annotated[
        Path, typer.Option(help="Folder of rows, tables and figure; what it holds is not run again.")
    ] = RESULTS,
    workers: Annotated[int, typer.Option(help="Processes, one thread each.", min=1)] = 1,
    rerun: Annotated[bool, typer.Option("--rerun", help="Run again what the folder holds.")] = False,
) -> None:
    """Run what is asked for and not yet there; write rows.csv, table.md and gallery.png; exit code 1 if a wrong posterior was believed."""
    for name in only or ():
        if name not in PROBLEMS:
            near = difflib.get_close_matches(name, PROBLEMS, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            console.print(f"No problem is called {name!r}; {hint}The gallery has {', '.join(PROBLEMS)}.", style="red")
            raise typer.Exit(2)
    file = output / "rows.csv"
    rows = pd.read_csv(file, keep_default_na=True).to_dict("records") if file.exists() else []
    done = set() if rerun else {tuple(r[k] for k in KEY) for r in rows}
    jobs = [
        (name, method, seed)
        for name in (only or PROBLEMS)
        for method in (methods or ["auto", *PROBLEMS[name].methods])
        for seed in range(seeds if method == "auto" else 1)
        if (name, method, seed) not in done
    ]
    commit, date = _commit(), datetime.now(UTC).date().isoformat()
    output.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(_measure(jobs, workers), 1):
        key = tuple(row[k] for k in KEY)
        rows = [r for r in rows if tuple(r[k] for k in KEY) != key] + [row | {"commit": commit, "date": date}]
        atomic_write_csv(file, pd.DataFrame(rows, columns=list(COLUMNS)))
        console.print(
            f"{number}/{len(jobs)} {', '.join(map(str, key))}: {row['state']}, mean off {row.get('mean_error', float('nan')):.2f} sd, "
            f"sd x {row.get('sd_ratio', float('nan')):.2f}, {row['seconds']:.0f} s {row['error']}", highlight=False,
        )  # fmt: skip
    rows.sort(key=lambda r: (list(PROBLEMS).index(r["problem"]), r["method"] != "auto", r["method"], r["seed"]))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    atomic_write_csv(file, table)
    text = markdown(summary(table)) + "\n\n" + markdown(by_problem(table)) + "\n"
    atomic_write_text(output / "table.md", text)
    plot(table, output / "gallery.png")
    print(text)
    if int(summary(table)["wrong_believed"].sum()):
        raise typer.Exit(1)


def _measure(jobs: list[tuple[str, str, int]], workers: int) -> Iterator[dict[str, Any]]:
    """Rows as they are finished, by processes of one thread each."""
    if workers == 1:
        threads_of_one()
        for job in jobs:
            yield run_named(job)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), threads_of_one) as pool:
        for future in as_completed([pool.submit(run_named, job) for job in jobs]):
            yield future.result()


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    run(main)
