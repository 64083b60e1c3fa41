"""What the searches for an allocation share: options that are checked, the competitors, the judgement, what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from calib import RunFolder
from calib.numerics import derive_seed
from calib.storage import atomic_path, atomic_write_csv
from epi.errors import StudyError
from epi.inference.recorder import steps as progress
from epi.outputs.reload import Fitted
from epi.scenarios.allocation.constraints import Constraints
from epi.scenarios.allocation.search import Found, Problem, derivative_free
from epi.scenarios.comparison import compare, judge, judged_runs, told
from epi.study import Calendar

Advance = Callable[[int], None]


class Judged(Protocol):
    """A problem whose policies can be judged: expected counts by week at draws of the posterior."""

    @property
    def draws(self) -> int:
        """Number of posterior draws."""
        ...

    def weekly(self, policy: Tensor, at: Tensor, seed: int) -> Tensor:
        """`[draws, weeks, ...]`."""
        ...


def one_thread() -> None:
    """One thread and double precision, as all searches run."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)


def at_least_two(**options: int) -> None:
    """Refuse options below 2.

    Raises:
        StudyError: one is; it is named.
    """
    for name, value in options.items():
        if value < 2:
            raise StudyError(f"Option {name} is {value}; give at least 2.")


def enough_to_check(fitted: Fitted, draws: int) -> None:
    """Refuse more draws than the run has.

    Raises:
        StudyError: there are fewer.
    """
    if draws > fitted.draws:
        raise StudyError(f"{draws} draws were asked for, and the run has {fitted.draws}; choose fewer.")


def ends_a_week(stop: Any, calendar: Calendar) -> None:
    """Refuse a last day that ends no week, or lies before the study's last.

    Raises:
        StudyError: it does.
    """
    if (stop - calendar.last_week).days % 7 or stop < calendar.last_week:
        raise StudyError(
            f"The simulation was asked to end on {stop}; choose a {calendar.last_week:%A} not before {calendar.last_week}."
        )


def search_all(
    run: RunFolder,
    console: Console,
    problem: Problem,
    constraints: Constraints,
    gradient: tuple[int, Callable[[Advance], Found]],
    greedy: tuple[int, Callable[[Advance], Found]],
    competitors: Sequence[str],
    *,
    limit: float,
    draws: int,
    seed: int,
) -> list[Found]:
    """The gradient's policy and those of its competitors, each a phase of the run.

    Args:
        run: where phases and simulations are counted.
        console: for the bars.
        problem: what is searched on.
        constraints: of the policies.
        gradient: simulations to expect, and the search by gradient.
        greedy: likewise, the greedy search.
        competitors: searches to compare with.
        limit: simulations of a derivative-free search, in those of the gradient search.
        draws: posterior draws of an evaluation.
        seed: of the searches.
    """
    with run.phase("gradient"), progress(console, "gradient", gradient[0]) as advance:
        found = [gradient[1](advance)]
    allowed = int(limit * found[0].cost)
    for name in competitors:
        with run.phase(name), progress(console, name, greedy[0] if name == "greedy" else allowed) as advance:
            found.append(
                greedy[1](advance)
                if name == "greedy"
                else derivative_free(problem, constraints, name, limit=allowed, draws=draws, seed=seed, advance=advance)
            )
    for one in found:
        run.count(one.method, one.simulations)
    return found


def judge_all(
    run: RunFolder, console: Console, problem: Judged, found: Sequence[Found], judges: int, seed: int
) -> tuple[Tensor, NDArray[np.float64], dict[str, Any]]:
    """Admissions of every policy and of points on the way to it, at draws and seeds that no search saw.

    Returns:
        The draws, `[policies, draws, weeks, ...]`, and the variables of the curves.
    """
    at = torch.arange(judges) * (problem.draws // judges)
    total = judged_runs(found, judges)
    with run.phase("judge"), progress(console, "compare", total) as advance:
        weekly, curves = judge(problem.weekly, found, at, seed, advance)
    run.count("judge", total)
    return at, weekly, curves


def seed_of_judges(seed: int, purpose: str) -> int:
    """Seed of the epidemics on which policies are judged."""
    return derive_seed(seed, 0, f"{purpose}-judge")


def write_comparison(
    run: RunFolder,
    console: Console,
    name: str,
    data: xr.Dataset,
    draw: Callable[[Path, xr.Dataset, pd.DataFrame], object],
    counted: str,
) -> None:
    """Write `<name>.nc` and `<name>.csv`, draw the plots, and print a line a policy."""
    with atomic_path(run.file(f"{name}.nc")) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf")
    table = compare(data)
    atomic_write_csv(run.file(f"{name}.csv"), table)
    draw(run.path, data, table)
    for line in told(table, counted):
        console.print(line, highlight=False, soft_wrap=True)
