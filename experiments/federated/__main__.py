"""`python -m experiments.federated`: a study whose data may not be pooled: sites, private releases, parties, phones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from calib import CheckpointError, FitError, RunFolderError, atomic_write_csv, atomic_write_json, atomic_write_text
from calib.federated import MissingExtra
from calib.privacy import MissingAccountant
from epi.errors import StudyError
from experiments.federated import _compare as compare
from experiments.federated import _parties as parties
from experiments.federated import _phones as phones
from experiments.federated import _private as private
from experiments.federated._build import build, calibrate
from experiments.federated._holders import tables
from posterity.commands.usage import run as run_module

STUDY, SMOKE_STUDY = "experiments.nz_calibration.study", "posterity.template.study"
ALL = ("sites", "private", "parties", "phones")


def main(
    output: Annotated[Path, typer.Option(help="Folder of tables; what is finished there is kept.")] = Path(
        "results/federated"
    ),
    study: Annotated[
        str | None, typer.Option(help="Another study than New Zealand's (or, with --smoke, the made-up one).")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Minutes: the made-up study of two counties.")] = False,
    sites: Annotated[int, typer.Option(help="Processes of sites on loopback, at most.")] = 20,
    only: Annotated[str, typer.Option(help=f"Comma-separated parts, of {', '.join(ALL)}.")] = ",".join(ALL),
    epsilon: Annotated[str, typer.Option(help="Comma-separated.")] = "0.5,1,3",
    agents: Annotated[
        str, typer.Option(help="Comma-separated sizes of the decentralised epidemic.")
    ] = "10000,100000,1000000",
    seed: Annotated[int, typer.Option(help="Of everything but keys and shares.")] = 0,
) -> None:
    """Show that sums over sites are the pooled calibration, what privacy costs, and that parties come to the central run."""
    console = Console(stderr=True)
    try:
        chosen = [x.strip() for x in only.split(",") if x.strip()]
        for name in chosen:
            if name not in ALL:
                raise StudyError(f"There is no part {name!r}; choose among {', '.join(ALL)}.")
        source = study or (SMOKE_STUDY if smoke else STUDY)
        _run(
            source,
            output,
            chosen,
            smoke,
            sites,
            [float(x) for x in epsilon.split(",")],
            [int(x) for x in agents.split(",")],
            seed,
            console,
        )
    except (StudyError, RunFolderError, CheckpointError, FitError, MissingExtra, MissingAccountant) as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _run(
    source: str, output: Path, chosen: list[str], smoke: bool, sites: int, epsilons: list[float], agents: list[int], seed: int,
    console: Console,
) -> None:  # fmt: skip
    began = time.perf_counter()
    built = build(source, output / "pooled", smoke=smoke, seed=seed, console=console)
    layout, found = built.short.layout, tables(built.fit_data, built.short.layout)
    summary: dict[str, Any] = {
        "study": built.declared.name,
        "agents": built.population.agents,
        "parameters": built.space.dim,
        "holders": len(found),
    }
    needed = "sites" in chosen or "private" in chosen
    ready = calibrate(built, output / "pooled") if needed else None
    if "sites" in chosen and ready is not None:
        rows = compare.over_processes(ready, layout, found, output / "sites", sites=sites, with_chains=True)
        summary["sites"] = rows
        for sums, row in rows.items():
            print(
                f"federated and pooled, {row['sites']} sites, {sums} sums: "
                + ", ".join(f"{k} {_short(v)}" for k, v in row.items() if k != "sites")
            )
        counted = compare.ledger(ready, layout, found, [2, 5, 20] if not smoke else [2, 3])
        atomic_write_csv(output / "ledger.csv", counted)
        print(counted.to_string(index=False))
    if "private" in chosen and ready is not None:
        kept, statements = private.table(ready, epsilons[1:2] if smoke else epsilons, seed)
        atomic_write_csv(output / "private.csv", kept)
        atomic_write_text(output / "statements.txt", "\n\n".join(statements) + "\n")
        print(kept.to_string(index=False))
        print(statements[0])
    if "parties" in chosen:
        table = parties.table(built, agents[:1] if smoke else agents, [2, 3] if smoke else [2, 4, 8], seed)
        atomic_write_csv(output / "parties.csv", table)
        print(table.to_string(index=False))
        print(f"parties and central run: {'equal bit for bit' if bool(table['equal'].all()) else 'DIFFERENT'}")
    if "phones" in chosen:
        adopted = phones.table(
            built,
            [0.15, 0.6] if smoke else [0.05, 0.15, 0.3, 0.45, 0.6, 0.75],
            2 if smoke else 10,
            45 if smoke else 120,
        )
        atomic_write_csv(output / "adoption.csv", adopted)
        print(adopted.to_string(index=False))
    summary["seconds"] = round(time.perf_counter() - began, 1)
    atomic_write_json(output / "summary.json", summary)
    torch.set_num_threads(1)
    print(f"written to {output}, {summary['seconds']:.0f} s")


def _short(x: Any) -> str:
    return f"{x:.3g}" if isinstance(x, float) else str(x)


if __name__ == "__main__":
    run_module(main)
