"""`posterity scenario`: what would have happened if, asked of a calibrated run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
import xarray as xr
from rich.console import Console

from calib import RunFolder
from calib.storage import atomic_write_csv
from epi.device import check_device
from epi.errors import StudyError
from epi.inference.recorder import steps
from epi.outputs.reload import Fitted, rebuild
from epi.outputs.run_files import RunFiles
from epi.scenarios.changed_study import ChangedStudy, simulate_changes
from epi.scenarios.interventions import assumptions
from epi.scenarios.page import write_page
from epi.scenarios.plots import draw
from epi.scenarios.registry import load_scenarios
from epi.scenarios.run import Mode, drop_failed, prepare, save, simulate, worlds_of
from epi.scenarios.scenario import Question, choose
from epi.scenarios.summary import averted, curves
from epi.study import Prior
from posterity.commands.allocation import enough_to_check
from posterity.commands.errors import one_sentence

console = Console(stderr=True)


def main(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished calibration.")],
    question: Annotated[
        list[str] | None, typer.Option(help="A question by name; may be given several times; default all.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="Posterior draws, evenly spaced; default 64, or all if there are fewer.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Agents per person, up to 1; default the run's own.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the answers.")] = Path("results/what_if"),
    region: Annotated[
        list[str] | None, typer.Option(help="A region whose curves are drawn too; may be given several times.")
    ] = None,
    worlds: Annotated[str, typer.Option(help="looped (memory of one world), together (one batch) or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the epidemics and of the assumptions.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    add: Annotated[Path | None, typer.Option(help="A Python file with scenarios of your own.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the questions and stop.")] = False,
) -> None:
    """Ask the calibrated model what would have happened if."""
    with one_sentence(console):
        files = RunFiles(source)
        _ = files.study  # a folder of another kind is refused before scenarios are looked for
        known = load_scenarios(files.manifest["configuration"]["study"], add)
        if list_:
            for one in known.values():
                print(f"{one.name:20s} {one.title}")
            return
        asked_for = choose(question or [], known)
        _check(source, region or [], worlds, device)
        changes = [q for q in asked_for if isinstance(q, ChangedStudy)]
        chosen = [q for q in asked_for if isinstance(q, Question)]
        if changes and chosen:
            raise StudyError(
                f"{chosen[0].name!r} changes sites of the model and {changes[0].name!r} the study; ask the two in runs of their own."
            )
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        fitted = rebuild(source, scale=scale, device=device)
        if changes:
            _answer_changes(fitted, changes, draws, seed, output, region or [], source, device)
            return
        asked = prepare(fitted, min(64, fitted.draws) if draws is None else draws, seed)
        every = worlds_of(asked, chosen)
        configuration = {
            "from": str(source), "questions": [q.name for q in chosen], "draws": len(asked.theta["transmission_household"]),
            "scale": fitted.config.scale, "regions": region or [], "worlds": worlds,
        }  # fmt: skip
        run = RunFolder.create(output, "what_if", configuration, seed, device)
        mode: Mode = worlds  # type: ignore[assignment]
        with run.running():
            total = len(every) * len(asked.theta["transmission_household"])
            with run.phase("worlds"), steps(console, f"{len(every)} worlds", total) as advance:
                data = simulate(asked, every, mode, advance)
            run.count("worlds", total)
            data, failed = drop_failed(data)
            if failed:
                run.skip("draws", failed)
                run.notice(f"{failed} draws gave a simulation that was not finite in some world and were left out.")
            weeks = data["week"].values.astype(str)
            run.update(agents=asked.simulator.population.agents, first_week=weeks[0], last_week=weeks[-1])
            with run.phase("files"):
                save(data, run.path)
                _answer(run, data, chosen, region or [], assumptions(fitted.simulator.study))


def _answer_changes(
    fitted: Fitted,
    changes: list[ChangedStudy],
    draws: int | None,
    seed: int,
    output: Path,
    regions: list[str],
    source: Path,
    device: str,
) -> None:
    """Simulate changed studies and write `averted.csv`, `curves.csv`, `what_if.nc` and plots."""
    count = min(64, fitted.draws) if draws is None else draws
    enough_to_check(fitted, count)  # before there is a folder, which would bar a second attempt
    configuration = {
        "from": str(source), "questions": [c.name for c in changes], "draws": count, "scale": fitted.config.scale, "regions": regions,
    }  # fmt: skip
    run = RunFolder.create(output, "what_if", configuration, seed, device)
    with run.running():
        total = (len(changes) + 1) * count
        with run.phase("worlds"), steps(console, f"{len(changes) + 1} worlds", total) as advance:
            data = simulate_changes(fitted, changes, count, seed, advance)
        run.count("worlds", total)
        data, failed = drop_failed(data)
        if failed:
            run.skip("draws", failed)
            run.notice(f"{failed} draws gave a simulation that was not finite in some world and were left out.")
        weeks = data["week"].values.astype(str)
        run.update(agents=fitted.simulator.population.agents, first_week=weeks[0], last_week=weeks[-1])
        with run.phase("files"):
            save(data, run.path)
            table, lines = averted(data, changes), curves(data, changes, regions)
            atomic_write_csv(run.file("averted.csv"), table)
            atomic_write_csv(run.file("curves.csv"), lines)
            titles = {c.name: c.name.replace("-", " ") for c in changes}
            draw(run.path, table, lines, titles, {n: ("as calibrated", t) for n, t in titles.items()})
    _say(table)
    console.print(f"answers in {run.path}", highlight=False, soft_wrap=True)


def _answer(
    run: RunFolder, data: xr.Dataset, chosen: list[Question], regions: list[str], assumed: Mapping[str, Prior]
) -> None:
    table, lines = averted(data, chosen), curves(data, chosen, regions)
    atomic_write_csv(run.file("averted.csv"), table)
    atomic_write_csv(run.file("curves.csv"), lines)
    titles = {q.name: q.name.replace("-", " ") for q in chosen}
    labels = {q.name: (q.against_label, q.name.replace("-", " ")) for q in chosen}
    plots = draw(run.path, table, lines, titles, labels)
    page = write_page(run.path, run.manifest, data, table, chosen, plots, assumed)
    _say(table)
    console.print(f"answers in {page}", highlight=False, soft_wrap=True)


def _say(table: pd.DataFrame) -> None:
    """What was averted, all places together."""
    for row in table[table.level == "all"].itertuples():
        console.print(
            f"{row.question:20s} {row.measure:10s} averted {row.median:12,.0f} ({row.low_95:,.0f} to {row.high_95:,.0f}), "
            f"{100 * row.share_median:.1f} % ({100 * row.share_low_95:.1f} to {100 * row.share_high_95:.1f})", highlight=False, soft_wrap=True,
        )  # fmt: skip


def _check(source: Path, regions: list[str], worlds: str, device: str) -> None:
    declared = RunFiles(source).study.region if regions else None
    for name in regions:
        if declared is not None and name not in declared.names:
            raise StudyError(f"There is no {declared.axis} {name!r}; choose among {', '.join(declared.names)}.")
    if worlds not in ("auto", "looped", "together"):
        raise StudyError(f"Worlds {worlds!r} were asked for; choose auto, looped or together.")
    check_device(device)
