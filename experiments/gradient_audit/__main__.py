"""`python -m experiments.gradient_audit`: bias, noise and cost of every gradient estimator, on epidemics whose derivatives are known."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from calib.plotting import save_figure
from calib.storage import atomic_write_csv, atomic_write_json
from experiments.gradient_audit._assess import assess, check_truth, summarize
from experiments.gradient_audit._compute import Plan, compute
from experiments.gradient_audit._plot import plot_comparison, plot_groups, plot_worlds
from experiments.gradient_audit._rows import Store
from experiments.gradient_audit.estimators import ESTIMATORS
from experiments.gradient_audit.worlds import DEFAULT, chosen

SHORT = ("alone", "reed-frost-n2-reach1.5-seed0.01", "reed-frost-n6-reach1.5-seed0.01", "households")
SHOWN = ["world", "outcome", "parameter", "estimator", "bias", "sd", "cost", "runs", "verdict"]


def main(arguments: list[str] | None = None) -> int:
    """Compute what is lacking, assess all rows, write tables and plots, print the table.

    Returns:
        0; 2 where options are wrong or a file cannot be read or written, with one sentence on stderr.
    """
    options = _options(arguments)
    try:
        plan = _plan(options)
        store = Store(options.output)
        if not options.no_compute:
            with _progress() as bar:
                task = bar.add_task("starting", total=None)
                compute(
                    plan,
                    store,
                    options.workers,
                    lambda what, done, of: bar.update(task, description=what, completed=done, total=of),
                )
        if store.runs.empty or store.truth.empty:
            raise ValueError(f"Found no rows in {options.output}, expected some; run without --no-compute.")
        table = assess(store.runs, store.truth)
        _write(options.output, plan, table, store.truth, plots=not options.no_plots)
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(_printed(table[table["world"].isin(plan.worlds) & table["estimator"].isin(plan.estimators)]))
    print("\nBy estimator (pass: within 2 % or two standard errors; undecided: standard error over 5 %):")
    print(summarize(table).to_string(index=False, float_format=lambda x: f"{x:,.1f}"))
    return 0


def _write(output: Path, plan: Plan, table: pd.DataFrame, truth: pd.DataFrame, plots: bool) -> None:
    atomic_write_csv(output / "table.csv", table)
    atomic_write_json(
        output / "audit.json",
        {
            "plan": asdict(plan),
            "summary": _plain(summarize(table)),
            "truth_check": _plain(check_truth(truth)),
            "table": _plain(table),
        },
    )
    if not plots:
        return
    if table["world"].str.startswith("reed-frost").any():
        save_figure(plot_groups(table), output / "groups.png")
    if not table["world"].str.startswith("reed-frost").all():
        save_figure(plot_worlds(table), output / "worlds.png")
    if table["estimator"].nunique() > 2:
        save_figure(plot_comparison(table), output / "comparison.png")


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Records that JSON can hold: five digits, None for what is not a number."""
    rounded = table.map(lambda x: float(f"{x:.5g}") if isinstance(x, float) else x).astype(object)
    records: list[dict[str, Any]] = rounded.where(rounded.notna(), None).to_dict("records")
    return records


def _printed(table: pd.DataFrame) -> str:
    shown = table.copy()
    shown["bias"] = [f"{b:+.1f} ± {e:.1f} %" for b, e in zip(table["bias"], table["error"], strict=True)]
    shown["sd"] = [f"{x:,.0f} %" for x in table["sd"]]
    shown["cost"] = [f"{x:,.1f}" for x in table["cost"]]
    return str(shown[SHOWN].to_string(index=False))


def _plan(options: argparse.Namespace) -> Plan:
    if options.workers < 1:
        raise ValueError(f"Found --workers {options.workers}, expected at least 1; give the number of processes.")
    if options.seeds is not None and options.seeds < 2:
        raise ValueError(
            f"Found --seeds {options.seeds}, expected at least 2 for a standard error; give a larger number."
        )
    worlds = chosen(tuple(options.worlds)) if options.worlds else DEFAULT
    plan = Plan(
        worlds=worlds,
        estimators=tuple(x for x in ESTIMATORS if not options.estimators or x in options.estimators),
        seeds=options.seeds or 0,
        seed=options.seed,
        wanted=options.error / 100,
        streams=options.streams,
        device=options.device,
        everywhere=bool(options.estimators and options.worlds),
        rerun=options.rerun,
    )
    if not options.short:
        return plan
    known = tuple(x for x in SHORT if not options.worlds or x in worlds)
    return Plan(
        known, plan.estimators, options.seeds or 200, plan.seed, device=plan.device, rerun=plan.rerun, timing=0.01
    )


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description:<56}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=2)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.gradient_audit", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results/gradient_audit"),
        help="folder of tables and plots; rows that are there are kept",
    )
    parser.add_argument(
        "--worlds", nargs="*", metavar="NAME", help="worlds, or beginnings of their names; default all but country"
    )
    parser.add_argument(
        "--estimators",
        nargs="*",
        choices=tuple(ESTIMATORS),
        help="default all; named together with --worlds they run there in any case",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="runs of a cheap estimator in each world, of others in proportion; default each world's own",
    )
    parser.add_argument("--short", action="store_true", help=f"the worlds {', '.join(SHORT)} with 200 runs, in seconds")
    parser.add_argument(
        "--error",
        type=float,
        default=1.0,
        help="per cent: standard error at which a truth by differences is good enough; default 1",
    )
    parser.add_argument(
        "--streams",
        type=int,
        default=0,
        metavar="N",
        help="random streams of a truth by differences at most; default each world's own",
    )
    parser.add_argument("--device", default="cpu", help="of the epidemics; cuda for the world country")
    parser.add_argument("--workers", type=int, default=1, help="processes, each on one thread; default 1")
    parser.add_argument("--rerun", action="store_true", help="compute anew what is there")
    parser.add_argument("--no-compute", action="store_true", help="only assess and plot the rows that are there")
    parser.add_argument("--no-plots", action="store_true", help="write tables alone")
    parser.add_argument("--seed", type=int, default=0, help="of the runs; truths by differences take the next")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
