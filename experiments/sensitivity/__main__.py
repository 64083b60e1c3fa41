"""`python -m experiments.sensitivity --from results/nz_calibration`: what the answers of a calibration depend on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from calib import RunFolder, RunFolderError, SensitivityError
from epi.device import check_device
from epi.errors import StudyError
from epi.sensitivity import steps as _steps
from epi.sensitivity.outputs import HELP
from epi.sensitivity.reference import load_reference
from epi.sensitivity.settings import ALONE, FREE, LEVELS, Config, cores, make_config
from experiments.sensitivity import _compared

USER_ERRORS = (StudyError, RunFolderError, SensitivityError, FileNotFoundError)
console = Console(stderr=True)


def main(
    source: Annotated[Path, typer.Option("--from", help="Folder of a finished calibration.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the report; default results/sensitivity.")] = None,
    of: Annotated[list[str] | None, typer.Option(help=f"An output, may be repeated: {HELP}.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Differences beside the ten largest derivatives.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Touch everything in a minute or two; resolves nothing.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Sizes at which rankings have converged; an hour or more.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in the output folder after a kill.")] = False,
    levels: Annotated[
        str | None, typer.Option(help=f"Comma-separated, of {', '.join(LEVELS)}; default all; or {ALONE}.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Agents per person of the runs made here.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[int | None, typer.Option(help="Runs at once.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the runs, one core each; default all cores.")
    ] = None,
    streams: Annotated[int | None, typer.Option(help="Random streams of level 2.")] = None,
    draws: Annotated[int | None, typer.Option(help="Draws of the prior at level 3.")] = None,
    reference: Annotated[int | None, typer.Option(help="Rows of the reference ranking, a power of two.")] = None,
    reference_file: Annotated[
        Path | None,
        typer.Option(help="A reference.nc made earlier with --levels reference, taken instead of new runs."),
    ] = None,
    elements: Annotated[
        bool, typer.Option("--elements", help="The reference ranking moves each element of a vector by itself too.")
    ] = False,
) -> None:
    """Rank what the outputs of a calibrated model depend on, with intervals, and say what other methods would cost."""
    try:
        check_device(device)
        config = make_config(
            smoke=smoke, thorough=thorough, check=check, source=str(source), outputs=tuple(of or ()), scale=scale, seed=seed,
            device=device, batch=batch, workers=workers, streams=streams, draws=draws, reference=reference,
            reference_file=None if reference_file is None else str(reference_file), elements=elements,
            levels=tuple(x.strip() for x in levels.split(",")) if levels else None,
        )  # fmt: skip
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        found = _steps.read_source(source, config)
        if config.reference_file is not None:
            load_reference(Path(config.reference_file))  # told before anything is written
        name = "sensitivity" + ("_smoke" if smoke else "")
        run = RunFolder.create(
            output or Path("results") / name,
            "sensitivity",
            config.model_dump(mode="json"),
            config.seed,
            _device(device),
            resume=resume,
            free=FREE,
        )
        with run.running():
            _run(config, run, found)
    except USER_ERRORS as error:
        text = str(error)
        console.print(
            text if text.endswith(".") else f"{text}.", style="red", highlight=False, markup=False, soft_wrap=True
        )
        raise typer.Exit(2) from None


def _device(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU {platform.machine()}, {cores()} cores"


def _run(config: Config, run: RunFolder, found: tuple[Any, ...]) -> None:
    from epi.sensitivity.report import write_report

    with _steps.Analysis(config, run, console, *found) as analysis:
        if ALONE in config.levels:
            made = _compared.reference_of(analysis)
            console.print(f"{made.runs:,} runs in {run.file(_compared.FILE)}", highlight=False)
            return
        prior = None
        if "1" in config.levels:
            _steps.one(analysis)
        if "2" in config.levels:
            _steps.two(analysis)
        if "3" in config.levels:
            prior = _steps.three(analysis)
        if "compare" in config.levels:
            _compared.against_others(analysis, prior)
        if config.check:
            _steps.check(analysis, prior)
        analysis.finish()
    with run.phase("report"):
        page = write_report(run.path)
    console.print(f"report in {page}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
