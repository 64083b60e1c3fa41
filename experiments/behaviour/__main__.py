"""`python -m experiments.behaviour`: made-up epidemics, each calibrated with true, shuffled, reversed and empty answers; resumable."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from rich.console import Console

from calib.storage import atomic_write_csv, atomic_write_json
from experiments.behaviour._assign import time_of_assignment
from experiments.behaviour._epidemic import TABLES, calibrate, make_epidemic
from posterity.commands.errors import one_sentence
from posterity.commands.usage import run as run_module

console = Console(stderr=True)


def main(
    epidemics: Annotated[int, typer.Option(help="How many epidemics.")] = 100,
    first: Annotated[int, typer.Option(help="Seed of the first; the others follow.")] = 0,
    minutes: Annotated[float, typer.Option(help="Begin no further calibration after so many minutes.")] = 1e9,
    agents: Annotated[int, typer.Option(help="Agents whose mapping to archetypes is timed; 0 for none.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder; what is finished there is kept.")] = Path("results/behaviour"),
    kept: Annotated[Path | None, typer.Option(help="A folder for a copy of the tables.")] = None,
) -> None:
    """Calibrate epidemics with each table and print what became of the strength."""
    with one_sentence(console):
        if agents:
            clock, processor = time_of_assignment(agents)
            print(f"{agents:,} agents to archetypes: {clock:.3f} s, {processor:.3f} s of the processor")
            return
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        begun = time.monotonic()
        for seed in range(first, first + epidemics):
            folder = output / "epidemics" / str(seed)
            for table in TABLES:
                file = folder / f"{table}.json"
                if file.exists() or time.monotonic() - begun > 60 * minutes:
                    continue
                if not (folder / "truth.json").exists():
                    make_epidemic(folder, seed)
                at = time.monotonic()
                found = calibrate(folder, table, seed)
                atomic_write_json(file, found | {"seconds": time.monotonic() - at})
                said = f"strength {found['strength']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
                console.print(f"{seed} {table}: {said}, {time.monotonic() - at:.0f} s", highlight=False)
        table_of, summary = collect(output)
        for place in (output, *([kept] if kept else [])):
            atomic_write_csv(place / "epidemics.csv", table_of)
            atomic_write_csv(place / "summary.csv", summary)
        print(summary.to_string(index=False))


def slope_of(folder: Path, table: str) -> float | None:
    """Least-squares slope of the true log odds of archetypes on a table's answers: what the strength is with these few archetypes.

    A shuffled table of six answers is seldom without a correlation to the true ones.
    """
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    answers = np.array(truth["answers"])
    off = [v for name, v in truth["parameters"].items() if name.startswith("behaviour_deviation")]
    y = answers - answers.mean() + truth["parameters"]["behaviour_sd"] * np.array(off)
    x = {"oracle": answers, "shuffled": answers[truth["order"]], "reversed": -answers}.get(table)
    if x is None:
        return None
    x = x - x.mean()
    return float(x @ y / (x @ x))


def collect(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every calibration, and one row a table.

    Raises:
        ValueError: nothing is finished.
    """
    rows: list[dict[str, Any]] = []
    for file in sorted((folder / "epidemics").glob("*/*.json")):
        if file.stem in TABLES:
            one = json.loads(file.read_text(encoding="utf-8"))
            logs = one.pop("wis_log")
            slope = slope_of(file.parent, file.stem)
            inside = None if slope is None else bool(one["low"] <= slope <= one["high"])
            rows.append(one | {"slope": slope, "slope_inside": inside} | {f"wis_log {n}": x for n, x in logs.items()})
    if not rows:
        raise ValueError(f"{folder} holds no finished calibration; run the benchmark first.")
    every = pd.DataFrame(rows)
    streams = [c for c in every.columns if c.startswith("wis_log ")]
    every["wis_log"] = every[streams].mean(axis=1)
    base = every[every["table"] == "none"].set_index("seed")["wis_log"]
    out = []
    for table in TABLES:
        part = every[every["table"] == table]
        if part.empty:
            continue
        paired = part.set_index("seed")["wis_log"]
        both = paired.index.intersection(base.index)
        ratio = np.log(paired[both] / base[both])
        error = float(ratio.std(ddof=1) / np.sqrt(len(ratio))) if len(ratio) > 1 else float("nan")
        given, slopes = (part[c].dropna().astype(float) for c in ("target_inside", "slope_inside"))
        out.append(
            {
                "table": table, "epidemics": len(part), "strength, median": part["strength"].median(), "mean": part["strength"].mean(),
                "target": part["target"].iloc[0], "target in 90 %": given.mean() if len(given) else float("nan"),
                "true slope, mean": part["slope"].mean(),
                "true slope in 90 %": slopes.mean() if len(slopes) else float("nan"),
                "above 0": part["above_zero"].mean(),
                "below 0": part["below_zero"].mean(), "Bayes factor, median": part["bayes_factor"].median(),
                "all parameters in 90 %": part["inside"].sum() / part["of"].sum(),
                "log WIS over none's": float(np.exp(ratio.mean())) if len(ratio) else float("nan"), "error": error,
                "seconds": part["seconds"].median(),
            }
        )  # fmt: skip
    return every, pd.DataFrame(out).round(3)


if __name__ == "__main__":
    run_module(main)
