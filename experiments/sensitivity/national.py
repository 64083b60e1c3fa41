"""`python -m experiments.sensitivity.national`: level 2 timed and the shares' sum at several sizes, up to every inhabitant an agent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from calib.storage import atomic_write_json
from epi.device import check_device
from epi.outputs.run_files import RunFiles
from epi.sensitivity import all_rates as level_two
from epi.sensitivity import global_sobol as level_three
from epi.sensitivity import local as level_one
from epi.sensitivity.outputs import Output, make_output
from epi.sensitivity.settings import Config
from epi.sensitivity.simulate import Array, Work
from epi.sensitivity.steps import NUMBER
from epi.sensitivity.workers import Recipe
from experiments.benchmark_simulator.__main__ import machine
from posterity.commands.errors import USER_ERRORS
from posterity.commands.usage import run as run_module

console = Console(stderr=True)
AT_ONCE = 16_000_000
"""Agents that runs made at once hold together on a GPU."""


def main(
    source: Annotated[Path, typer.Option("--from", help="Folder of a finished calibration.")],
    output: Annotated[Path, typer.Option(help="JSON file.")] = Path("results/national.json"),
    scale: Annotated[list[float] | None, typer.Option(help="Agents per person, may be repeated; default 1.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    streams: Annotated[int, typer.Option(help="Random streams of level 2; 0 leaves it out.")] = 16,
    draws: Annotated[int, typer.Option(help="Draws of the prior at level 3; 0 leaves it out.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Time the report of every input with its error bars, and add up the shares of level 3, size by size."""
    try:
        check_device(device)
        torch.set_default_dtype(torch.float64)
        files = RunFiles(source).finished()
        files.require()
        labels = level_one.kept_labels(files.jacobian, files.study, files.forecast_from)
        outputs = [make_output(text, labels) for text in Config(source=str(source)).outputs[:NUMBER]]
        centre = files.jacobian["z"].values.mean(0)
        rows: list[dict[str, Any]] = []
        for one in scale or [1.0]:
            rows.append({"scale": one})
            began = time.perf_counter()
            work = Recipe(str(source), one, seed, 8).build(device)
            agents = work.simulator.population.agents
            batch = max(1, min(64, AT_ONCE // agents)) if device == "cuda" else 8
            work = Work(work.simulator, seed, batch)
            rows[-1] |= {"agents": agents, "batch": batch, "population_seconds": time.perf_counter() - began}
            for part in (_level_two, _level_three):
                count = streams if part is _level_two else draws
                rows[-1] |= part(work, outputs, centre, count) if count else {}
                atomic_write_json(output, {"machine": machine(torch.device(device)), "seed": seed, "rows": rows})
                console.print(_said(rows[-1]), highlight=False, markup=False)
    except USER_ERRORS as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _said(row: dict[str, Any]) -> str:
    text = f"{row['agents']:,} agents, {row['batch']} at once"
    if "streams" in row:
        text += (
            f"; level 2, {row['inputs']:,} inputs: {row['seconds_alone']:.3f} s a stream alone, {row['seconds_a_stream']:.3f} s in a batch, "
            f"{row['seconds_report_one_output']:.2f} s with error bars of {row['streams']} streams"
        )
    for output, r in row.get("outputs", {}).items():
        middle, low, high = r["sum"]
        text += f"; {output}: shares add up to {middle:.2f} ({low:.2f} to {high:.2f})"
    return text


def _level_two(work: Work, outputs: list[Output], centre: Array, streams: int) -> dict[str, Any]:
    """Seconds of a random stream, alone and several at once, and of the report with its error bars."""

    def timed(some: list[Output], batch: int, count: int) -> tuple[Any, float]:
        one = Work(work.simulator, work.seed, batch)
        began = time.perf_counter()
        data = level_two.every_input(one, centre, some, count, lambda n: None)
        for k in range(len(some)):
            level_two.ranked(data, k, 200)
            level_two.grouped(data, k)
        return data, time.perf_counter() - began

    timed(outputs, work.batch, work.batch)  # compiles
    alone, _ = timed(outputs[:1], 1, 4)
    data, report = timed(outputs, work.batch, streams)
    single, report_of_one = timed(outputs[:1], work.batch, streams)
    top = level_two.ranked(data, 0, 10)
    return {
        "inputs": data.attrs["inputs"], "streams": streams, "seconds_alone": alone.attrs["seconds_per_stream"],
        "seconds_a_stream": single.attrs["seconds_per_stream"], "seconds_a_stream_two_outputs": data.attrs["seconds_per_stream"],
        "seconds_report_one_output": report_of_one, "seconds_report_two_outputs": report,
        "median_relative_error_of_top_ten": float((top["se"] / top["elasticity"].abs()).median()),
        "top": top[["kind", "input", "elasticity", "se"]].to_dict("records"),
        "value": data["value"].values.tolist(), "value_sd": data["value_sd"].values.tolist(),
        "peak_gpu_gib": torch.cuda.max_memory_allocated() / 2**30 if work.simulator.observation.week.is_cuda else None,
    }  # fmt: skip


def _level_three(work: Work, outputs: list[Output], centre: Array, draws: int) -> dict[str, Any]:
    """Sum of the shares, and the largest of them by name, for each output."""
    del centre
    began = time.perf_counter()
    found = level_three.over_prior(work, outputs, draws, lambda n: None)
    spent = time.perf_counter() - began
    results = {}
    for r in found.results:
        share, bound = r.group_share, r.group_bound
        results[r.output] = {
            "sum": list(r.explained), "sd": r.variance**0.5, "noise_share": r.noise_variance / (r.variance + r.noise_variance),
            "dropped": r.dropped, "converged_at": level_three.converged_at(r),
            "groups": {
                n: [round(float(x), 5) for x in (share.value[i], share.low[i], share.high[i], bound.value[i])] for i, n in enumerate(r.groups)
            },
        }  # fmt: skip
    ledger = work.ledger
    return {
        "draws": draws, "seconds_level_three": spent, "inputs_level_three": len(found.names),
        "seconds_a_gradient": ledger.per_run(level_three.PRIOR) / len(outputs), "outputs": results,
    }  # fmt: skip


if __name__ == "__main__":
    run_module(main)
