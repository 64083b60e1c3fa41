"""`posterity allocate-doses`: third doses by region and age, under a budget, that minimise expected admissions."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import xarray as xr
from rich.console import Console
from torch import Tensor

from calib import RunFolder
from calib.numerics import derive_seed
from epi.device import check_device
from epi.errors import StudyError
from epi.inference.recorder import steps as progress
from epi.outputs.reload import rebuild
from epi.outputs.run_files import RunFiles
from epi.scenarios.allocation.constraints import Constraints
from epi.scenarios.allocation.dose_check import check_doses
from epi.scenarios.allocation.dose_people import who_may
from epi.scenarios.allocation.dose_plots import draw
from epi.scenarios.allocation.dose_rules import as_given, oldest_first
from epi.scenarios.allocation.dose_run import TARGETS
from epi.scenarios.allocation.doses import Doses
from epi.scenarios.allocation.search import Found, greedy, projected_gradient
from epi.scenarios.comparison import chosen_competitors, enough_draws, named
from epi.scenarios.people import share_soon
from epi.study import Calendar
from posterity.commands.allocation import (
    at_least_two,
    ends_a_week,
    enough_to_check,
    judge_all,
    one_thread,
    search_all,
    seed_of_judges,
    write_comparison,
)
from posterity.commands.errors import one_sentence

console = Console(stderr=True)
TURNS = 4


def main(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished calibration.")],
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("results/what_if_doses"),
    budget: Annotated[float, typer.Option(help="Third doses to give before the wave.")] = 200_000.0,
    most: Annotated[
        float, typer.Option(help="Largest share of those with two doses who can get a third, in any region and age.")
    ] = 0.8,
    least: Annotated[float, typer.Option(help="Smallest such share, 0 to 1.")] = 0.0,
    minimise: Annotated[str, typer.Option(help="admissions or deaths.")] = "admissions",
    since: Annotated[float, typer.Option(help="Days between the dose and exposure.")] = 14.0,
    until: Annotated[
        str | None, typer.Option(help="Day that ends the last simulated week; default the study's last.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Gradient steps, before those from vertex to vertex.")] = 4,
    draws: Annotated[int, typer.Option(help="Posterior draws of a step, and of each evaluation of the others.")] = 8,
    judges: Annotated[
        int, typer.Option(help="Draws, with seeds that no search saw, on which the policies are compared.")
    ] = 48,
    competitor: Annotated[
        list[str] | None, typer.Option(help="greedy, cobyla, evolution or none; default the first three.")
    ] = None,
    portions: Annotated[int, typer.Option(help="Portions in which greedy spends the budget.")] = 4,
    limit: Annotated[
        float, typer.Option(help="Simulations of a derivative-free search, in those of the gradient search.")
    ] = 4.0,
    scale: Annotated[float, typer.Option(help="Agents per person, up to 1.")] = 0.02,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    check: Annotated[int, typer.Option(help="Compare the gradient with differences over so many seeds, and stop.")] = 0,
) -> None:
    """Search for the third doses by region and age that minimise expected admissions under a budget."""
    with one_sentence(console):
        competitors = chosen_competitors(competitor)
        check_device(device)
        one_thread()
        calendar = RunFiles(source).study.calendar
        stop = last_day(until, calendar)
        small = {"steps": steps, "draws": draws, "judges": judges, "portions": portions} | (
            {"check": check} if check else {}
        )
        at_least_two(**small)
        if minimise not in TARGETS:
            raise StudyError(f"Option minimise is {minimise!r}; choose {' or '.join(TARGETS)}.")
        if not 0 <= since <= 365:
            raise StudyError(f"Option since is {since:g} days; give a number from 0 to 365.")
        fitted = rebuild(source, scale=scale, device=device, last=stop)
        if check:
            enough_to_check(fitted, draws)
        people = who_may(fitted.simulator.population, fitted.simulator.study, fitted.config.seed)
        problem = Doses(fitted.simulator, people, fitted.theta, None, since, minimise, fitted.config.particles)
        constraints = _constraints(people.eligible, least, most, budget)
        if check:
            _print_check(problem, draws, check, seed)
            return
        enough_draws(fitted.draws, draws, judges)
        configuration = {
            "from": str(source), "budget": budget, "most": most, "least": least, "minimise": minimise, "since": since, "until": str(stop),
            "steps": steps,
            "draws": draws, "judges": judges, "competitors": competitors, "portions": portions, "limit": limit, "scale": scale,
        }  # fmt: skip
        run = RunFolder.create(output, "what_if_doses", configuration, seed, device)
        with run.running():
            run.update(agents=people.population.agents)
            with run.phase("level"), progress(console, "level", problem.draws) as advance:
                problem = problem.with_level(derive_seed(seed, 0, "doses-level"), advance)
            run.count("level", problem.draws)
            soon = torch.as_tensor(share_soon(fitted.epidemic_data)[0])
            searched, unseen = (problem.only(torch.arange(first, problem.draws, 2)) for first in (0, 1))
            found = _search(run, searched, constraints, soon, competitors, steps, draws, portions, limit, seed)
            data = _judge(run, unseen, constraints, found, judges, seed)
            write_comparison(run, console, "doses", data, draw, minimise)


def last_day(text: str | None, calendar: Calendar) -> date:
    """The day that ends the last simulated week, from an option.

    Raises:
        StudyError: it is no day, ends no week, or comes before the study's last.
    """
    if text is None:
        return calendar.last_week
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise StudyError(f"Option until is {text!r}; give a day as {calendar.last_week}.") from error
    ends_a_week(day, calendar)
    return day


def _constraints(eligible: Tensor, least: float, most: float, budget: float) -> Constraints:
    somebody = eligible > 0
    low, high = (torch.where(somebody, x, 0.0) for x in (least, most))
    # a cell without anybody costs nothing whatever is decided; its bounds are 0
    return Constraints(low, high, eligible.clamp_min(1.0), budget)


def _print_check(problem: Doses, draws: int, seeds: int, seed: int) -> None:
    with progress(console, "check", 19 * draws * seeds) as advance:
        rows = check_doses(problem, base=0.3, size=0.3, draws=draws, seeds=seeds, seed=seed, advance=advance)
    print(f"{problem.target} averted per 1,000 doses, from nobody to 60 % of those with two doses")
    for row in rows:
        (g, g_error), (d, d_error) = row.gradient, row.difference
        print(f"{row.cells}: gradient {g:.2f} +- {g_error:.2f}, differences {d:.2f} +- {d_error:.2f}")


def _search(
    run: RunFolder,
    problem: Doses,
    constraints: Constraints,
    soon: Tensor,
    competitors: list[str],
    steps: int,
    draws: int,
    portions: int,
    limit: float,
    seed: int,
) -> list[Found]:
    found = search_all(
        run, console, problem, constraints,
        (
            (steps + 2 * TURNS) * draws,
            lambda advance: projected_gradient(
                problem, constraints, steps=steps, draws=draws, seed=seed, turns=TURNS, step_size=0.5, remember=True, advance=advance
            ),
        ),
        (
            portions * draws // 2 * constraints.low.numel(),
            lambda advance: greedy(
                problem, constraints, portions=portions, draws=max(2, draws // 2), seed=seed, rounds=True, advance=advance
            ),
        ),
        competitors, limit=limit, draws=draws, seed=seed,
    )  # fmt: skip
    simple = {
        "nothing": torch.zeros_like(constraints.low),
        "equal shares": constraints.equal_shares(),
        "as given": as_given(constraints, soon),
        "oldest first": oldest_first(constraints),
    }
    return [*(named(name, policy) for name, policy in simple.items()), *found]


def _judge(
    run: RunFolder, problem: Doses, constraints: Constraints, found: list[Found], judges: int, seed: int
) -> xr.Dataset:
    """Admissions of every policy and of points on the way to it, at draws and seeds that no search saw."""
    at, weekly, curves = judge_all(run, console, problem, found, judges, seed_of_judges(seed, "doses"))
    eligible = problem.people.eligible.numpy()
    axis = problem.simulator.study.region.axis
    return xr.Dataset(
        {
            "share": (("policy", axis, "age"), np.stack([f.policy.numpy() for f in found])),
            "eligible": ((axis, "age"), eligible, {"unit": "people with two doses"}),
            "admissions": (("policy", "draw", "week", "age"), weekly),
            "simulations": (("policy",), np.array([f.cost for f in found])),
            "spent": (("policy",), np.array([constraints.spent(f.policy) for f in found])),
            **curves,
        },
        {
            "policy": [f.method for f in found],
            axis: list(problem.simulator.study.region.names),
            "week": [str(w.date()) for w in problem.simulator.observation.weeks],
            "age": list(problem.simulator.study.ages.names),
            "draw": at.numpy(),
        },
        {"budget": constraints.budget, "target": problem.target, "region_axis": axis},
    )
