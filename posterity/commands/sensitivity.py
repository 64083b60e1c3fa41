"""`posterity sensitivity RUN`: which parameters drive the outputs of a calibrated study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from calib import RunFolder, SensitivityError
from epi.calibration import device_name
from epi.device import check_device
from epi.sensitivity import methods, steps
from epi.sensitivity.global_sobol import Global
from epi.sensitivity.outputs import HELP
from epi.sensitivity.reference import load_reference
from epi.sensitivity.report import write_report
from epi.sensitivity.settings import ALONE, FREE, LEVELS, enough_agents, make_config
from posterity._studies import SHIPPED
from posterity.commands.errors import one_sentence

USUAL = ("1", "2", "3")
"""Levels if none are named; other methods are compared with when `compare` is one of them."""
STEPS: dict[str, Callable[[steps.Analysis], Global | None]] = {"1": steps.one, "2": steps.two, "3": steps.three}
TIMINGS = SHIPPED / "benchmark_simulator" / "results" / "h100.json"


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished calibration.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the report; default RUN/sensitivity.")
    ] = None,
    of: Annotated[list[str] | None, typer.Option(help=f"An output, may be repeated: {HELP}.")] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated. 1: local, no simulation; 2: every rate by one reverse pass; 3: global, over the prior; compare: with other "
            f"methods. Default 1,2,3; or {ALONE}: runs of the reference ranking alone."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the ten largest derivatives with differences.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Touch everything in a minute or two; resolves nothing.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Sizes at which rankings have converged; an hour or more.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume in the output folder after a kill.")] = False,
    scale: Annotated[
        float | None, typer.Option(help="Agents per person of the runs made here; default by size.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws of the prior at level 3; default by size.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; default 0.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[int | None, typer.Option(help="Runs at once; default 8.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the runs; default one a core.")] = None,
    streams: Annotated[int | None, typer.Option(help="Random-number streams of level 2; default by size.")] = None,
    reference: Annotated[
        int | None, typer.Option(help="Rows of the reference ranking, a power of two; default by size.")
    ] = None,
    reference_file: Annotated[
        Path | None,
        typer.Option(help="A reference.nc made earlier with --levels reference, taken instead of new runs."),
    ] = None,
    elements: Annotated[
        bool, typer.Option("--elements", help="The reference ranking moves each element of a vector by itself too.")
    ] = False,
) -> None:
    """Rank the parameters that drive the outputs, with intervals, and say what other methods would cost."""
    console = Console(stderr=True)
    with one_sentence(console):
        check_device(device)
        usual = USUAL if reference_file is None else LEVELS  # a reference is there to be compared with
        config = make_config(
            smoke=smoke, thorough=thorough, check=check, source=str(run), outputs=tuple(of or ()), scale=scale, seed=seed,
            device=device, batch=batch, workers=workers, streams=streams, draws=draws, reference=reference,
            reference_file=None if reference_file is None else str(reference_file), elements=elements,
            levels=tuple(x.strip() for x in levels.split(",")) if levels else usual,
        )  # fmt: skip
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        found = steps.read_source(run, config)
        if scale is None:
            config = enough_agents(config, int(found[0].people_by_region.sum()))
        if config.reference_file is not None:
            load_reference(Path(config.reference_file))  # refused before anything is written
        folder = RunFolder.create(
            output or run / "sensitivity",
            "sensitivity",
            config.model_dump(mode="json"),
            config.seed,
            device_name(device),
            resume=resume,
            free=FREE,
        )
        with folder.running():
            with steps.Analysis(config, folder, console, *found) as analysis:
                if ALONE in config.levels:
                    reference_runs = methods.reference_of(analysis)
                    console.print(f"{reference_runs.runs:,} runs in {folder.file(methods.FILE)}", highlight=False)
                    return
                made = {level: _made(level, analysis) for level in STEPS if level in config.levels}
                if "compare" in config.levels:
                    methods.against_others(analysis, made.get("3"), TIMINGS if TIMINGS.is_file() else None)
                if config.check:
                    steps.check(analysis, made.get("3"))
                analysis.finish()
            with folder.phase("report"):
                page = write_report(folder.path)
        console.print(f"report in {page}", highlight=False)


def _made(level: str, analysis: steps.Analysis) -> Global | None:
    """A level; beyond the first it is left out with a reason where chance hides everything, and the others are reported."""
    try:
        return STEPS[level](analysis)
    except SensitivityError as error:
        if level == "1":
            raise
        said = f"Level {level} was left out: {str(error)[0].lower()}{str(error)[1:]}"
        analysis.facts.setdefault("left_out", []).append(said)
        analysis.console.print(said, highlight=False, markup=False, soft_wrap=True)
        return None
