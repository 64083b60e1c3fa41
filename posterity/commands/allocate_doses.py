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
from calib.storage import atomic_path, atomic_write_csv
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
from epi.scenarios.allocation.search import Found, derivative_free, greedy, projected_gradient
from epi.scenarios.comparison import chosen_competitors, compare, enough_draws, judge, judged_runs, named, told
from epi.scenarios.people import share_soon
from epi.study import Calendar
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
    check: Annotated[int, typer.Option(help="Print the gradient beside differences over so many seeds, and stop.")] = 0,
) -> None:
    """Search for the third doses by region and age that minimise expected admissions under a budget."""
    with one_sentence(console):
        competitors = chosen_competitors(competitor)
        check_device(device)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        calendar = RunFiles(source).study.calendar
        stop = last_day(until, calendar)
        small = {"steps": steps, "draws": draws, "judges": judges, "portions": portions} | (
            {"check": check} if check else {}
        )
        for name, value in small.items():
            if value < 2:
                raise StudyError(f"Option {name} is {value}; give at least 2.")
        if minimise not in TARGETS:
            raise StudyError(f"Option minimise is {minimise!r}; choose {' or '.join(TARGETS)}.")
        if not 0 <= since <= 365:
            raise StudyError(f"Option since is {since:g} days; give a number from 0 to 365.")
        fitted = rebuild(source, scale=scale, device=device, last=stop)
        if check and draws > fitted.draws:
            raise StudyError(f"{draws} draws were asked for, and the run has {fitted.draws}; choose fewer.")
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
            with atomic_path(run.file("doses.nc")) as temporary:
                data.to_netcdf(temporary, engine="h5netcdf")
            table = compare(data)
            atomic_write_csv(run.file("doses.csv"), table)
            draw(run.path, data, table)
            for line in told(table, minimise):
                console.print(line, highlight=False, soft_wrap=True)


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
    if (day - calendar.last_week).days % 7 or day < calendar.last_week:
        raise StudyError(
            f"The simulation was asked to end on {day}; choose a {calendar.last_week:%A} not before {calendar.last_week}."
        )
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
    with run.phase("gradient"), progress(console, "gradient", (steps + 2 * TURNS) * draws) as advance:
        new = projected_gradient(
            problem, constraints, steps=steps, draws=draws, seed=seed, turns=TURNS, step_size=0.5, remember=True, advance=advance
        )  # fmt: skip
    found, allowed = [new], int(limit * new.cost)
    for name in competitors:
        total = portions * draws // 2 * constraints.low.numel() if name == "greedy" else allowed
        with run.phase(name), progress(console, name, total) as advance:
            if name == "greedy":
                new = greedy(
                    problem, constraints, portions=portions, draws=max(2, draws // 2), seed=seed, rounds=True, advance=advance
                )  # fmt: skip
            else:
                new = derivative_free(
                    problem, constraints, name, limit=allowed, draws=draws, seed=seed, advance=advance
                )
        found.append(new)
    for new in found:
        run.count(new.method, new.simulations)
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
    at = torch.arange(judges) * (problem.draws // judges)
    total = judged_runs(found, judges)
    with run.phase("judge"), progress(console, "compare", total) as advance:
        weekly, curves = judge(problem.weekly, found, at, derive_seed(seed, 0, "doses-judge"), advance)
    run.count("judge", total)
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
