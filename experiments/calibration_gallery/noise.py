"""`python -m experiments.calibration_gallery.noise`: `calibrate` on stochastic simulators with exact posteriors.

Rows are added to `results/noise.csv` as they come; what stands there is not repeated. A posterior is wrong if a mean is off by
more than 0.5 reference standard deviations or a standard deviation by more than a factor 1.5.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from calib import calibrate
from experiments.calibration_gallery._chain_binomials import DATA_SETS, PROBLEMS, data_set, reports_given
from experiments.calibration_gallery._references import load_references

FILE = Path(__file__).parent / "results" / "noise.csv"
KEY = ["problem", "number", "method", "budget", "seed"]
OFF, FACTOR = 0.5, 1.5
DRAWS = 8000


def error_of(problem: str, number: int, draws: dict[str, Tensor]) -> dict[str, float]:
    """Largest error of a mean in reference sds, and the smallest and largest ratio of sds."""
    table = load_references()
    table = table[(table["problem"] == problem) & (table["number"] == number)]
    off, ratio = [], []
    for row in table.itertuples():
        value = draws[str(row.parameter)].double()
        off.append(abs(float(value.mean()) - float(row.mean)) / float(row.sd))
        ratio.append(float(value.std()) / float(row.sd))
    return {"error": max(off), "ratio_low": min(ratio), "ratio_high": max(ratio)}


def measure(problem: str, number: int, method: Any, budget: int, seed: int) -> dict[str, Any]:
    """Calibrate once; one row."""
    model = PROBLEMS[problem]
    found = calibrate(
        model.simulate, model.priors, data_set(problem, number), likelihood=reports_given, budget=budget, seed=seed,
        method=method,
    )  # fmt: skip
    noise = found.report["noise"] or {}
    row: dict[str, Any] = dict(zip(KEY, (problem, number, method, budget, seed), strict=True))
    row |= error_of(problem, number, found.sample(DRAWS, seed=seed))
    row |= {"state": found.verdict.state, "simulations": found.report["simulations"]}
    row |= {"seconds": round(found.report["seconds"], 1)}
    names = ("pilot_sd", "sd", "temperature", "weighted", "effective", "disagreement", "ratio", "fresh_temperature")
    row |= {name: noise.get(name) for name in names}
    row |= {"shift": found.verdict.evidence.shift, "stretch": found.verdict.evidence.stretch}
    row |= {"commit": _commit(), "date": datetime.now(UTC).date().isoformat()}
    return row


def _commit() -> str:
    return subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()


def is_wrong(rows: pd.DataFrame) -> pd.Series:
    """Which rows have a wrong posterior."""
    return (rows["error"] > OFF) | (rows["ratio_high"] > FACTOR) | (rows["ratio_low"] < 1 / FACTOR)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """By problem, method and budget: medians, how many are wrong, how many of these were believed, right ones called poor."""
    rows = rows.assign(wrong=is_wrong(rows), believed=rows["state"].isin(["good", "usable"]))
    rows = rows.assign(false_pass=rows["wrong"] & rows["believed"], false_alarm=~rows["wrong"] & ~rows["believed"])
    groups = rows.groupby(["problem", "method", "budget"])
    return groups.agg(
        runs=("seed", "size"), error=("error", "median"), worst=("error", "max"), ratio_low=("ratio_low", "min"),
        ratio_high=("ratio_high", "max"), good=("state", lambda s: (s == "good").sum()),
        usable=("state", lambda s: (s == "usable").sum()), wrong=("wrong", "sum"), wrong_believed=("false_pass", "sum"),
        right_called_poor=("false_alarm", "sum"), seconds=("seconds", "median"),
    ).round(2).reset_index()  # fmt: skip


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, int, str, int, int]]:
    """What is asked for, cheap ones first."""
    for budget in options.budgets:
        for seed in range(options.seeds):
            for problem in options.problems:
                for number in range(1, min(options.data_sets, DATA_SETS[problem]) + 1):
                    for method in options.methods:
                        yield problem, number, method, budget, options.first_seed + seed


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.calibration_gallery.noise", description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--budgets", nargs="+", type=int, default=[500, 2000, 10_000])
    parser.add_argument("--methods", nargs="+", default=["auto"], help="of calib.calibrate")
    parser.add_argument("--data-sets", type=int, default=10, help="the first so many of each problem")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--table", action="store_true", help="print the table only")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    FILE.parent.mkdir(exist_ok=True)
    rows = pd.read_csv(FILE) if FILE.exists() else pd.DataFrame({key: [] for key in KEY})
    done = {tuple(row) for row in rows[KEY].itertuples(index=False)}
    for job in () if options.table else jobs(options):
        if job in done:
            continue
        row = measure(*job)
        rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
        rows.to_csv(FILE, index=False, float_format="%.4g")
        print(*job, f"error {row['error']:.2f}, {row['state']}, {row['seconds']} s", flush=True)
    print(summary(rows).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
