"""Scenarios that are another declaration: a closure on another day, or none, with the parameters that were fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from calib.numerics import derive_seed
from epi.errors import StudyError
from epi.inference.setup import make_simulator
from epi.model import Simulator
from epi.outputs.reload import Fitted
from epi.scenarios.run import CALIBRATED
from epi.study import Intervention, Study

__all__ = ["ChangedStudy", "moved", "simulate_changes", "without"]

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class ChangedStudy:
    """What if the study had been another: a scenario of the same form as a `Question`, without sites of its own.

    The changed study may drop parameters of the fitted one and must add none.

    Attributes:
        name: short, for the command line.
        title: the question in words.
        change: the study as it would have been.
        carries: what in the model carries the effect.
        leaves_out: what the answer does not contain.
    """

    name: str
    title: str
    change: Callable[[Study], Study]
    carries: str
    leaves_out: str
    against: None = None
    against_label: str = "as calibrated"


def _interventions(study: Study, names: Sequence[str]) -> list[Intervention]:
    known = {p.name: p for p in study.parts_of(Intervention)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StudyError(
            f"Study {study.name!r} has no dated change {unknown[0]!r}; choose among {', '.join(known) or 'none'}."
        )
    return [known[name] for name in names]


def moved(study: Study, days: Mapping[str, int]) -> Study:
    """The study with dated changes some days later, or earlier where negative.

    Raises:
        StudyError: it has no such dated change, or one would begin on no day of the calendar.
    """
    old = _interventions(study, list(days))
    new = {}
    for part in old:
        by = timedelta(days=days[part.name])
        last = None if part.last is None else part.last + by
        new[part.name] = replace(part, first=part.first + by, last=last)
        if not study.calendar.start <= new[part.name].first <= study.calendar.last_week:
            raise StudyError(
                f"The dated change {part.name!r} would begin on {new[part.name].first}, expected a day from {study.calendar.start} to "
                f"{study.calendar.last_week}; move it less."
            )
    parts = (new.get(p.name, p) if isinstance(p, Intervention) else p for p in study.parts)
    return replace(study, parts=tuple(parts))


def without(study: Study, *names: str) -> Study:
    """The study without some dated changes.

    Raises:
        StudyError: it has no such dated change.
    """
    gone = _interventions(study, names)
    return replace(study, parts=tuple(p for p in study.parts if p not in gone))


def simulate_changes(
    fitted: Fitted, changes: Sequence[ChangedStudy], draws: int, seed: int, advance: Advance | None = None
) -> xr.Dataset:
    """Infections, admissions and deaths of the calibrated world and of each change, with common random numbers.

    Args:
        fitted: the calibrated run.
        changes: the scenarios.
        draws: posterior draws, evenly spaced.
        seed: of the epidemics; draw s has the random stream s in every world.
        advance: told how many runs were done.

    Returns:
        `infections`, `admissions`, `deaths` (world, draw, week, region, age): expected people, as `epi.scenarios.run.simulate` gives them.

    Raises:
        StudyError: a change needs a parameter that was not fitted, or more draws are asked for than there are.
    """
    if not 2 <= draws <= fitted.draws:
        raise StudyError(
            f"{draws} draws were asked for, and the run has {fitted.draws}; choose from 2 to {fitted.draws}."
        )
    at = torch.linspace(0, fitted.draws - 1, draws, dtype=torch.float64).round().long()
    theta = {name: x[at] for name, x in fitted.theta.items()}
    base, own = fitted.simulator, derive_seed(seed, 0, "what-if")
    worlds: dict[str, list[Tensor]] = {}
    for name, study in {CALIBRATED: base.study, **{c.name: c.change(base.study) for c in changes}}.items():
        simulator = base if study is base.study else _changed(fitted, study, name)
        worlds[name] = _outcomes(simulator, theta, own, fitted.config.particles, advance)
    axis = base.study.region.axis
    dims = ("world", "draw", "week", axis, "age")
    stacked = [torch.stack([x[i] for x in worlds.values()]).numpy() for i in range(3)]
    weeks = [str(w.date()) for w in base.observation.weeks]
    coords = {
        "world": list(worlds), "draw": np.arange(draws), "week": weeks, axis: list(base.study.region.names),
        "age": list(base.study.ages.names),
    }  # fmt: skip
    variables = {
        name: (dims, x, {"unit": "people"})
        for name, x in zip(("infections", "admissions", "deaths"), stacked, strict=True)
    }
    return xr.Dataset(
        variables, coords, {"country": base.study.country, "study": base.study.title, "region_axis": axis}
    )


def _changed(fitted: Fitted, study: Study, name: str) -> Simulator:
    """The simulator of a changed study on the same population."""
    added = {p.name for p in study.parameters()} - set(fitted.theta)
    if added:
        raise StudyError(
            f"Scenario {name!r} has the parameter {min(added)!r}, which the run did not fit; change dates and parts without adding one."
        )
    base = fitted.simulator
    data = replace(fitted.epidemic_data, study=study)
    return make_simulator(
        fitted.config, data, base.population, base.space, study.calendar.last_week, fitted.config.device
    )


def _outcomes(
    simulator: Simulator, theta: dict[str, Tensor], seed: int, batch: int, advance: Advance | None
) -> list[Tensor]:
    """Infections, admissions and deaths, each `[S, W, R, A]`."""
    draws, parts = len(next(iter(theta.values()))), []
    o = simulator.observation
    for start in range(0, draws, batch):
        part = {name: x[start : start + batch] for name, x in theta.items()}
        streams = torch.arange(start, min(start + batch, draws))
        with torch.no_grad():
            _, epidemic = simulator.simulate(part, seed, streams)
            x = epidemic.infections
            weekly = (
                (o.week, x),
                (o.week @ o.admit.T, x * epidemic.admitted[..., None, :]),
                (o.week @ o.die.T, x * epidemic.dead[..., None, :]),
            )
            parts.append([torch.einsum("wt,stra->swra", week, people).double().cpu() for week, people in weekly])
        if advance:
            advance(len(streams))
    return [torch.cat([p[i] for p in parts]) for i in range(3)]
