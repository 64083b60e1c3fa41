"""`python -m experiments.coverage`: are the calibration's intervals honest? Many synthetic epidemics, each calibrated as the real one."""

from __future__ import annotations

import json
import os
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calib.diagnostics import draw_sbc
from calib.plotting import save_figure
from calib.storage import atomic_write_csv, atomic_write_json
from experiments._studies import side_by_side
from experiments.coverage._collect import collect, groups, judge, overall
from experiments.coverage._draw import draw_groups
from experiments.coverage._epidemic import Settings, kept_file, run_epidemic
from posterity.commands.former_options import run

SETTINGS = "settings.json"
OPTIONS = "--max-steps 400 --max-seconds 100000 --level-scale 0.1 --scores-only"
"""Steps end a fit, not time, else a busy machine would decide; and populations are small, else a hundred calibrations take days."""
console = Console(stderr=True)


def main(
    epidemics: Annotated[int, typer.Option(help="How many synthetic epidemics.")] = 100,
    scale: Annotated[float, typer.Option(help="Agents per person of the population that calibrates.")] = 0.02,
    draws: Annotated[int, typer.Option(help="Posterior draws the truth is ranked among.")] = 64,
    workers: Annotated[int | None, typer.Option(help="Calibrations at once; default one a core.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of a worker.")] = 1,
    minutes: Annotated[float, typer.Option(help="Time limit of one epidemic.")] = 40.0,
    first: Annotated[int, typer.Option(help="Seed of the first epidemic; the others follow.")] = 0,
    options: Annotated[
        str,
        typer.Option(help="Options of the study."),
    ] = OPTIONS,
    retry: Annotated[bool, typer.Option("--retry", help="Try again the epidemics that failed.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the benchmark; what is finished there is kept.")] = Path(
        "results/coverage"
    ),
    kept: Annotated[Path | None, typer.Option(help="A folder for a copy of tables, verdicts and plots.")] = None,
) -> None:
    """Calibrate synthetic epidemics with known parameters, and judge the ranks of the truths."""
    try:
        settings = Settings(scale, draws, tuple(shlex.split(options)), threads, minutes)
        _agree(output, settings)
        wanted = [first + i for i in range(epidemics)]
        _run(output, settings, [s for s in wanted if _todo(output, s, retry)], workers)
        report(output, output)
        if kept is not None:
            report(output, kept)
    except ValueError as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _agree(folder: Path, settings: Settings) -> None:
    """Refuse to mix epidemics of different settings in one folder."""
    file = folder / SETTINGS
    wanted = settings.identity()
    if file.exists():
        held = json.loads(file.read_text(encoding="utf-8"))
        if held != wanted:
            raise ValueError(
                f"{folder} holds epidemics with {held}, and {wanted} was asked for; name another folder with --output."
            )
    else:
        atomic_write_json(file, wanted)


def _todo(folder: Path, seed: int, retry: bool) -> bool:
    file = kept_file(folder, seed)
    return not file.exists() or (retry and "failed" in json.loads(file.read_text(encoding="utf-8")))


def _run(folder: Path, settings: Settings, seeds: list[int], workers: int | None) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = workers or max(1, cores // settings.threads)
    if not seeds:
        return
    jobs = [partial(run_epidemic, folder, seed, settings) for seed in seeds]
    for one in side_by_side(jobs, at_once, "epidemics", console):
        said = one.get("failed") or f"{len(one['parameters'])} parameters"
        console.print(f"epidemic {one['seed']}: {said}, {one['seconds']:.0f} s", highlight=False)


def report(folder: Path, place: Path) -> None:
    """Write tables, verdicts and plots of what is finished in a benchmark's folder.

    Raises:
        ValueError: nothing is finished.
    """
    found = collect(folder)
    table = groups(found)
    page, sbc = judge(found)
    atomic_write_csv(place / "ranks.csv", found.table)
    atomic_write_csv(place / "groups.csv", table)
    atomic_write_csv(place / "forecast.csv", found.forecast)
    atomic_write_csv(place / "fits.csv", found.fits)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    atomic_write_json(place / "summary.json", {"settings": settings, **overall(found)})
    page.save(place / "coverage.txt")
    save_figure(draw_groups(table), place / "groups.png")
    if sbc is not None:
        save_figure(draw_sbc(sbc), place / "sbc.png")
    print(page.text(), end="")


if __name__ == "__main__":
    run(main)
