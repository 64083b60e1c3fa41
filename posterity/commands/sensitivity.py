"""`posterity sensitivity RUN`: which parameters drive the outputs of a calibrated study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from calib import RunFolder
from epi import StudyError
from epi.calibration import device_name
from epi.device import check_device
from epi.sensitivity import steps
from epi.sensitivity.outputs import HELP
from epi.sensitivity.report import write_report
from epi.sensitivity.settings import FREE, make_config
from posterity.commands.errors import one_sentence

STEPS = {"1": steps.one, "2": steps.two, "3": steps.three}


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished calibration.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the report; default RUN/sensitivity.")
    ] = None,
    of: Annotated[list[str] | None, typer.Option(help=f"An output, may be repeated: {HELP}.")] = None,
    levels: Annotated[
        str,
        typer.Option(
            help="1: local, no simulation; 2: every rate by one reverse pass; 3: global, over the prior. Comma-separated."
        ),
    ] = "1,2,3",
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
        float | None, typer.Option(help="Agents per person of the runs made here; default by device.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws of the prior at level 3; default by size.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; default 0.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[int | None, typer.Option(help="Processes that share the runs; default one a core.")] = None,
) -> None:
    """Rank the parameters that drive the outputs, with intervals."""
    console = Console(stderr=True)
    with one_sentence(console):
        check_device(device)
        chosen = tuple(x.strip() for x in levels.split(","))
        if not chosen or any(x not in STEPS for x in chosen):
            raise StudyError(f"Levels {levels!r} were asked for; choose among {', '.join(STEPS)}, separated by commas.")
        config = make_config(
            smoke=smoke, thorough=thorough, check=check, source=str(run), outputs=tuple(of or ()), scale=scale, seed=seed, device=device,
            workers=workers, draws=draws, levels=chosen,
        )  # fmt: skip
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        found = steps.read_source(run, config)
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
                made = {level: STEPS[level](analysis) for level in STEPS if level in chosen}
                if config.check:
                    steps.check(analysis, made.get("3"))
                analysis.finish()
            with folder.phase("report"):
                page = write_report(folder.path)
        console.print(f"report in {page}", highlight=False)
