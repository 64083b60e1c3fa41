"""`python -m experiments.fault_trials`: faults of tables, folders, files, processes and places, and what each ends in."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Console

from calib.storage import atomic_write_csv, atomic_write_text
from experiments.fault_trials import bytes as damaged_bytes
from experiments.fault_trials import places, runs, tables
from experiments.fault_trials.folders import DAMAGES
from experiments.fault_trials.outcome import BAD, OUTCOMES, Outcome
from posterity.commands.former_options import run

KINDS = ("tables", "folders", "files", "places", "kills", "two processes")
FAST = ("forecast", "compare")
"""Commands that read a run in tenths of a second; every damaged folder meets one of them, every tenth the others."""
SAVED_EVERY = 20.0
"""Seconds between savings of the table."""
COLUMNS = ["kind", "trial", "outcome", "said", "seconds"]
Trial = tuple[str, Callable[[Path], tuple[str, Outcome] | Outcome | None]]
console = Console(stderr=True)


def main(
    short: Annotated[bool, typer.Option("--short", help="A few of each kind: minutes.")] = False,
    kind: Annotated[list[str] | None, typer.Option(help=f"May be repeated: {', '.join(KINDS)}; default all.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the result; trials that it holds are not made twice.")
    ] = Path("results/fault_trials"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Try faults and print, by kind, how many were refused in one sentence, accepted rightly, and wrong. Exit code 1 if any is wrong."""
    unknown = [k for k in kind or () if k not in KINDS]
    if unknown:
        console.print(f"There is no kind {unknown[0]!r}; choose among {', '.join(KINDS)}.", style="red")
        raise typer.Exit(2)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    output.mkdir(parents=True, exist_ok=True)
    file = output / "trials.csv"
    rows = pd.read_csv(file, keep_default_na=False).to_dict("records") if file.exists() else []
    done = {(row["kind"], row["trial"]) for row in rows}
    saved = time.monotonic()
    for one in kind or KINDS:
        for name, trial in _trials(one, output, seed, short=short):
            if (one, name) in done:
                continue
            begun = time.perf_counter()
            with tempfile.TemporaryDirectory() as place:
                found = trial(Path(place))
            if found is None:
                continue
            what, outcome = found if isinstance(found, tuple) else ("", found)
            said = f"{what}: {outcome.said}" if what else outcome.said
            rows.append(
                {
                    "kind": one,
                    "trial": name,
                    "outcome": outcome.word,
                    "said": said[:300],
                    "seconds": time.perf_counter() - begun,
                }
            )
            if outcome.word in BAD:
                console.print(
                    f"{one}, {name}: {outcome.word} ({said[:300]})", style="red", highlight=False, markup=False
                )
            if time.monotonic() - saved > SAVED_EVERY:
                atomic_write_csv(file, pd.DataFrame(rows, columns=COLUMNS))
                saved = time.monotonic()
        atomic_write_csv(file, pd.DataFrame(rows, columns=COLUMNS))
    table = pd.DataFrame(rows, columns=COLUMNS)
    text = summary(table)
    atomic_write_text(output / "summary.md", text + "\n")
    print(text)
    if table["outcome"].isin(BAD).any():
        raise typer.Exit(1)


def summary(table: pd.DataFrame) -> str:
    """Trials by kind and outcome as a table in Markdown."""
    counts = pd.crosstab(table["kind"], table["outcome"]).reindex(columns=list(OUTCOMES), fill_value=0)
    counts = counts.reindex([k for k in KINDS if k in counts.index])
    counts.insert(0, "tried", counts.sum(axis=1))
    counts.loc["all"] = counts.sum()
    lines = [["kind", *counts.columns], ["---", *["---:"] * len(counts.columns)]]
    lines += [[str(name), *(f"{n:,}" for n in row)] for name, row in zip(counts.index, counts.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _trials(kind: str, output: Path, seed: int, *, short: bool) -> Iterator[Trial]:
    if kind == "tables":
        for name, mutation, table, own in tables.mutants(seed, 1 if short else 6):
            yield name, partial(tables.judge, mutation, table, own)
        return
    study, source, seconds = runs.base(output / "base")
    if kind == "folders":
        for command in FAST[:1] if short else tuple(damaged_bytes.COMMANDS):
            for name in DAMAGES:
                yield (
                    f"{command}: {name}",
                    partial(damaged_bytes.judge_named, source, command, name, seed),
                )
    elif kind == "files":
        for n in range(20 if short else 1500):
            command = list(damaged_bytes.COMMANDS)[2 + n // 10 % 2] if n % 10 == 9 else FAST[n % 2]
            yield f"{command}: {seed}, {n}", _file_trial(source, command, 10_000 * seed + n)
    elif kind == "places":
        for command in places.COMMANDS:
            for name in places.PLACES:
                yield f"{command}: {name}", partial(places.judge, study, source, command, name)
    elif kind == "kills":
        for n in range(1 if short else 12):
            name = list(runs.SIGNALS)[(n + seed) % 3]
            yield (
                f"{name}: {seed}, {n}",
                partial(runs.ended_early, study, source, seconds, name, 1000 * seed + n),
            )
    else:
        for n in range(1 if short else 3):
            yield f"{seed}, {n}", partial(runs.second_process, study, source, 1000 * seed + n)


_plain: dict[tuple[Path, str], str] = {}


def _file_trial(source: Path, command: str, seed: int) -> Callable[[Path], tuple[str, Outcome]]:
    def trial(place: Path) -> tuple[str, Outcome]:
        if (source, command) not in _plain:
            with tempfile.TemporaryDirectory() as other:
                _plain[source, command] = damaged_bytes.plain(source, command, Path(other))
        return damaged_bytes.judge(source, command, _plain[source, command], seed, place)

    return trial


if __name__ == "__main__":
    run(main)
