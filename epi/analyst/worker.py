"""`python -m epi.analyst.worker RUN FILE`: the child process that simulates for an answer; it reads its request on standard input.

It prints `progress DONE TOTAL` lines, and on failure `error SENTENCE` with exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import xarray as xr

from calib.storage import atomic_path
from epi.analyst.requests import Request
from epi.errors import StudyError
from epi.model import reproduction_number
from epi.outputs.reload import Fitted, rebuild
from epi.scenarios.change import simulate_change
from epi.scenarios.registry import load_scenarios
from epi.scenarios.run import drop_failed, prepare, simulate, worlds_of
from epi.scenarios.scenario import Question


def main(folder: Path, file: Path, text: str) -> int:
    """Simulate a request and keep the result; the exit code."""
    try:
        torch.set_num_threads(1)
        make(folder, file, Request.model_validate_json(text), _say)
    except ValueError as error:  # StudyError and RunFolderError are of this kind
        print("error", str(error).replace("\n", " "), flush=True)
        return 2
    return 0


def _say(done: int, total: int) -> None:
    print("progress", done, total, flush=True)


def make(folder: Path, file: Path, request: Request, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulate a request in this process and keep the result in a file.

    Raises:
        StudyError: the request cannot be simulated.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        fitted = rebuild(folder, scale=request.scale)
        made = {"change": _change, "named": _named, "reproduction": _reproduction}[request.kind](
            fitted, request, progress or (lambda done, total: None)
        )
    finally:
        torch.set_default_dtype(before)
    made.attrs |= {
        "request": request.model_dump_json(), "scale": fitted.config.scale, "agents": fitted.simulator.population.agents,
    }  # fmt: skip
    file.parent.mkdir(exist_ok=True)
    with atomic_path(file) as temporary:
        made.to_netcdf(temporary, engine="h5netcdf")


class _Counter:
    """Counts simulations, and tells how many are done."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self, n: int) -> None:
        self.done += n
        self.progress(self.done, self.total)


def _change(fitted: Fitted, request: Request, progress: Callable[[int, int], None]) -> xr.Dataset:
    draws = min(request.draws, fitted.draws)
    batch = fitted.config.particles
    return simulate_change(
        fitted, request.change, draws=draws, seed=request.seed, batch=batch, advance=_Counter(2 * draws, progress)
    )


def _named(fitted: Fitted, request: Request, progress: Callable[[int, int], None]) -> xr.Dataset:
    known = load_scenarios(fitted.run.manifest["configuration"]["study"])
    if request.name not in known:
        raise StudyError(f"There is no scenario {request.name!r}; choose among {', '.join(known)}.")
    question = known[request.name]
    if not isinstance(question, Question):
        raise StudyError(
            f"Scenario {request.name!r} changes parts of the study and builds it anew, which takes minutes; ask it with `posterity scenario`."
        )
    asked = prepare(fitted, min(request.draws, fitted.draws), request.seed)
    worlds = worlds_of(asked, [question])
    counter = _Counter(len(worlds) * min(request.draws, fitted.draws), progress)
    data, failed = drop_failed(simulate(asked, worlds, "auto", counter))
    data.attrs["failed"] = failed
    return data


def _reproduction(fitted: Fitted, request: Request, progress: Callable[[int, int], None]) -> xr.Dataset:
    at = torch.linspace(0, fitted.draws - 1, min(request.draws, fitted.draws), dtype=torch.float64).round().long()
    theta = {name: value[at] for name, value in fitted.theta.items()}
    with torch.no_grad():
        found = {
            name: ("draw", reproduction_number(fitted.simulator, theta, immunity=immunity).numpy())
            for name, immunity in (("r0", False), ("control", True))
        }
    return xr.Dataset(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.stdin.read()))
