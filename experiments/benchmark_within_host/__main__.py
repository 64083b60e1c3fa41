"""`python -m experiments.benchmark_within_host`: all archetypes of a particle batch, compared with an epidemic run of the same particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import ode
from calib.storage import atomic_write_json
from epi.data import load_data
from epi.device import check_device
from epi.errors import StudyError
from epi.population.build import build_population
from experiments.benchmark_simulator.__main__ import machine
from experiments.benchmark_within_host._measure import measure
from experiments.nz_calibration.study import study
from posterity.commands.usage import run as run_module


def main(
    scale: Annotated[list[float], typer.Option(help="Agents per person, up to 1; may be repeated.")] = [0.03],  # noqa: B006
    particles: Annotated[int, typer.Option(help="Particles of a batch.")] = 8,
    repeats: Annotated[int, typer.Option(help="Timed repeats; the fastest and the median are printed.")] = 5,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    output: Annotated[Path | None, typer.Option(help="Folder for benchmark.json.")] = None,
) -> None:
    """Time the host tables by each solver and the epidemic, forward and forward with reverse, at draws of the prior."""
    try:
        check_device(device)
        if particles < 1 or repeats < 1:
            raise StudyError(f"{particles} particles and {repeats} repeats were asked for; give at least 1 of each.")
        epidemic_data = load_data(study)
        populations = (build_population(epidemic_data, x, 0, balance=0.75)[0] for x in scale)
        torch.set_num_threads(1)
        at = torch.device(device)
        dtype, solvers = _kinds(at)
        document: dict[str, Any] = {"machine": machine(at), "dtype": str(dtype).removeprefix("torch."), "rows": []}
        for population in populations:
            rows = measure(epidemic_data, population, particles, solvers, device=at, dtype=dtype, repeats=repeats)
            document["rows"] += rows
            _show(rows, document)
            if output:
                atomic_write_json(output / "benchmark.json", document)
    except (StudyError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _kinds(device: torch.device) -> tuple[torch.dtype, tuple[ode.Solver, ...]]:
    """The floating type and the solvers of a device; on a GPU the plain one shows what the kernel saves."""
    return (torch.float32, ("kernel", "plain")) if device.type == "cuda" else (torch.float64, ("plain",))


def _show(rows: list[dict[str, Any]], document: dict[str, Any]) -> None:
    r = rows[0]
    print(f"{r['particles']} particles, {r['archetypes']} archetypes, {r['agents']:,} agents, {r['days']} days, "
          f"{100 * r['infected']:.0f} % infected, {document['machine']['hardware']}, {document['dtype']}")  # fmt: skip
    for r in rows:
        print(f"{r['direction']:20s} {r['solver']:6s} within host {r['hosts_ms']:8.2f} ms   epidemic {r['epidemic_ms']:8.1f} ms   "
              f"share {r['share_percent']:6.2f} %   {r['operations']:6,d} operations   "
              f"(medians {r['hosts_median_ms']:.2f}, {r['epidemic_median_ms']:.1f} ms)", flush=True)  # fmt: skip


if __name__ == "__main__":
    run_module(main)
