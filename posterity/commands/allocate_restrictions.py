"""`posterity allocate-restrictions`: the weekly stringency that minimises expected admissions under a budget."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import xarray as xr
from rich.console import Console

from calib import RunFolder
from epi.device import check_device
from epi.errors import StudyError
from epi.inference.recorder import steps as progress
from epi.outputs.reload import rebuild
from epi.outputs.run_files import RunFiles
from epi.scenarios.allocation.constraints import Constraints
from epi.scenarios.allocation.policy import LAYERS, Expectation, policy_weeks
from epi.scenarios.allocation.policy_check import check_gradient
from epi.scenarios.allocation.policy_plots import draw
from epi.scenarios.allocation.search import Found, greedy, projected_gradient
from epi.scenarios.comparison import chosen_competitors, enough_draws, named
from epi.scenarios.run import prepare
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


def main(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished calibration.")],
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("results/what_if_policy"),
    budget: Annotated[
        float, typer.Option(help="Total stringency, in layers closed for a week times their cost.")
    ] = 2.0,
    first: Annotated[
        str | None, typer.Option(help="First day of the policy; default four weeks before the forecast.")
    ] = None,
    last: Annotated[
        str | None, typer.Option(help="Last day of the policy; default eight weeks into the forecast, or its end.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Day that ends the last simulated week: admissions to then count; default four weeks after the study's last."
        ),
    ] = None,
    most: Annotated[float, typer.Option(help="Largest stringency of a layer in a week, 0 to 1.")] = 0.5,
    least: Annotated[float, typer.Option(help="Smallest stringency of a layer in a week, 0 to 1.")] = 0.0,
    cost: Annotated[
        list[str] | None, typer.Option(help="Cost of a layer closed for a week, as school=1; default 1 each.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = 12,
    draws: Annotated[int, typer.Option(help="Posterior draws of a step, and of each evaluation of the others.")] = 8,
    judges: Annotated[
        int, typer.Option(help="Draws, with seeds that no search saw, on which the policies are compared.")
    ] = 32,
    competitor: Annotated[
        list[str] | None, typer.Option(help="greedy, cobyla, evolution or none; default the first three.")
    ] = None,
    limit: Annotated[
        float, typer.Option(help="Simulations of a derivative-free search, in those of the gradient search.")
    ] = 2.0,
    scale: Annotated[float, typer.Option(help="Agents per person, up to 1.")] = 0.01,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    check: Annotated[int, typer.Option(help="Compare the gradient with differences over so many seeds, and stop.")] = 0,
) -> None:
    """Search for the weekly stringency at school, at work and elsewhere that minimises expected admissions."""
    with one_sentence(console):
        costs, competitors = _costs(cost or []), chosen_competitors(competitor)
        check_device(device)
        one_thread()
        # dates and constraints are judged before anything is built
        calendar = RunFiles(source).study.calendar
        given = {"first": first, "last": last, "until": until}
        begin, end, stop = (
            day if given[name] is None else _day(str(given[name]), name, calendar)
            for name, day in usual_days(calendar).items()
        )
        ends_a_week(stop, calendar)
        mondays = policy_weeks(calendar, begin, end, calendar.days_until(stop))
        shape = (len(mondays), len(LAYERS))
        constraints = Constraints(torch.full(shape, least), torch.full(shape, most), costs, budget)
        at_least_two(steps=steps, draws=draws, judges=judges)
        fitted = rebuild(source, scale=scale, device=device, last=stop)
        if check:
            enough_to_check(fitted, draws)
        asked = prepare(fitted, None, seed)
        problem = Expectation(asked.simulator, asked.theta, mondays, fitted.config.particles)
        if check:
            _print_check(problem, draws, check, seed)
            return
        enough_draws(fitted.draws, draws, judges)
        configuration = {
            "from": str(source), "budget": budget, "first": str(begin), "last": str(end), "until": str(stop), "most": most, "least": least,
            "cost": costs.tolist(), "steps": steps, "draws": draws, "judges": judges, "competitors": competitors, "limit": limit,
            "scale": scale,
        }  # fmt: skip
        run = RunFolder.create(output, "what_if_policy", configuration, seed, device)
        with run.running():
            searched, unseen = (problem.only(torch.arange(half, problem.draws, 2)) for half in (0, 1))
            found = _search(run, searched, constraints, competitors, steps, draws, limit, seed)
            data = _judge(run, unseen, constraints, found, judges, seed)
            write_comparison(run, console, "policy", data, draw, "admissions")


def _print_check(problem: Expectation, draws: int, seeds: int, seed: int) -> None:
    if seeds < 2:
        raise StudyError(f"Option check is {seeds}; give at least 2 seeds.")
    with progress(console, "check", 3 * draws * seeds) as advance:
        rows = check_gradient(problem, draws=draws, seeds=seeds, seed=seed, advance=advance)
    for row in rows:
        (g, g_error), (d, d_error) = row.gradient, row.difference
        print(
            f"{row.cell}, admissions {row.period}: gradient {g:,.0f} +- {g_error:,.0f}, differences {d:,.0f} +- {d_error:,.0f}"
        )


def usual_days(calendar: Calendar) -> dict[str, date]:
    """Days of a policy that was not told any: from four weeks before the forecast date to eight weeks after it, as far as the study goes."""
    first = max(calendar.start, calendar.forecast_from - timedelta(days=27))
    last = min(calendar.last_week, calendar.forecast_from + timedelta(weeks=8))
    return {"first": first, "last": last, "until": calendar.last_week + timedelta(weeks=4)}


def _day(text: str, name: str, calendar: Calendar) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise StudyError(f"Option {name} is {text!r}; give a day as {calendar.forecast_from}.") from error


def _costs(given: Sequence[str]) -> torch.Tensor:
    costs = dict.fromkeys(LAYERS, 1.0)
    for entry in given:
        layer, _, number = entry.partition("=")
        if layer not in costs:
            raise StudyError(f"A cost of {layer!r} was given; the layers are {', '.join(LAYERS)}.")
        try:
            costs[layer] = float(number)
        except ValueError as error:
            raise StudyError(f"The cost {entry!r} is no number; give it as school=1.") from error
    return torch.tensor(list(costs.values()), dtype=torch.float64)


def _search(
    run: RunFolder,
    problem: Expectation,
    constraints: Constraints,
    competitors: Sequence[str],
    steps: int,
    draws: int,
    limit: float,
    seed: int,
) -> list[Found]:
    found = search_all(
        run, console, problem, constraints,
        (
            (steps + 8) * draws,
            lambda advance: projected_gradient(problem, constraints, steps=steps, draws=draws, seed=seed, advance=advance),
        ),
        (0, lambda advance: greedy(problem, constraints, portions=6, draws=draws, seed=seed, advance=advance)),
        competitors, limit=limit, draws=draws, seed=seed,
    )  # fmt: skip
    equal = constraints.equal_shares()
    return [named("nothing", torch.zeros_like(equal)), named("equal shares", equal), *found]


def _judge(
    run: RunFolder, problem: Expectation, constraints: Constraints, found: Sequence[Found], judges: int, seed: int
) -> xr.Dataset:
    """Admissions of every policy and of the points on the way to it, at draws and seeds that no search saw."""
    at, weekly, curves = judge_all(run, console, problem, found, judges, seed_of_judges(seed, "policy"))
    weeks = [str(w.date()) for w in problem.simulator.base.observation.weeks]
    return xr.Dataset(
        {
            "stringency": (("policy", "monday", "layer"), np.stack([f.policy.numpy() for f in found])),
            "admissions": (("policy", "draw", "week"), weekly),
            "simulations": (("policy",), np.array([f.cost for f in found])),
            "spent": (("policy",), np.array([constraints.spent(f.policy) for f in found])),
            "cost": (("layer",), constraints.cost[0].numpy()),
            **curves,
        },
        {
            "policy": [f.method for f in found],
            "monday": [str(m) for m in problem.first],
            "layer": list(LAYERS),
            "week": weeks,
            "draw": at.numpy(),
        },
        {"budget": constraints.budget, "weeks_end": [str(m + timedelta(days=6)) for m in problem.first]},
    )
