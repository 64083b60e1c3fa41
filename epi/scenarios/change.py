"""Changes that any study can be asked about: another R0, other contacts on some days, another parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from calib.numerics import derive_seed
from epi.errors import StudyError
from epi.model import Simulator, derive, distribution, quantities
from epi.model.setting import Theta
from epi.outputs.reload import Fitted
from epi.scenarios.reproduction import transmission_for
from epi.study import Study

__all__ = [
    "AFTER",
    "BEFORE",
    "Change",
    "changed_simulator",
    "changed_theta",
    "derived_variable",
    "simulate_change",
    "stream_variable",
]

BEFORE, AFTER = "calibrated", "changed"


@dataclass(frozen=True)
class Change:
    """What is another than in the calibrated epidemic.

    Attributes:
        r0: R0 of every draw, by one factor on all transmission rates; None to leave it.
        factor: on transmission in `layers` from `first` to `last`; None for none.
        layers: names such as "school"; empty for all.
        first, last: days, both included; None for the first and last simulated day.
        parameter: name of a parameter, or of a vector's element as `name[label]`; empty for none.
        value: what it is set to. times: what it is multiplied with, in place of `value`.
    """

    r0: float | None = None
    factor: float | None = None
    layers: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    parameter: str = ""
    value: float | None = None
    times: float | None = None

    def check(self, study: Study) -> None:
        """Refuse what makes no sense for a study.

        Raises:
            StudyError: nothing is changed, a layer or parameter does not exist, a number is out of range, or days are not simulated.
        """
        if self.r0 is None and self.factor is None and not self.parameter:
            raise StudyError("The change names no R0, no factor on contacts and no parameter; give one of them.")
        for name, number, high in (("r0", self.r0, 100.0), ("factor", self.factor, 100.0), ("times", self.times, 1e6)):
            if number is not None and not 0 <= number <= high:
                raise StudyError(
                    f"The change has {name} = {number:g}, expected a number from 0 to {high:g}; correct it."
                )
        if self.r0 == 0:
            raise StudyError(
                "The change has r0 = 0, expected a number above 0; close all layers by a factor of 0 instead."
            )
        unknown = [layer for layer in self.layers if layer not in study.layers]
        if unknown:
            raise StudyError(f"There is no layer {unknown[0]!r}; choose among {', '.join(study.layers)}.")
        calendar = study.calendar
        first, last = self.first or calendar.start, self.last or calendar.last_week
        if not calendar.start <= first <= last <= calendar.last_week:
            raise StudyError(
                f"The change goes from {first} to {last}, expected days from {calendar.start} to {calendar.last_week} in order; correct them."
            )
        if self.parameter:
            _element(study, self.parameter)
            if (self.value is None) == (self.times is None):
                raise StudyError("A changed parameter needs either a value or a factor `times`; give one of them.")


@dataclass(frozen=True, eq=False)
class _Factor:
    """A part that multiplies transmission by `rows [layer, T]`."""

    rows: Tensor

    def factor(self, theta: Theta) -> Tensor:
        """`[layer, T]`, the same for every draw."""
        return self.rows


def changed_simulator(simulator: Simulator, change: Change) -> Simulator:
    """The simulator with the factor of a change on transmission by layer and day."""
    if change.factor is None:
        return simulator
    study, context = simulator.study, simulator.context
    calendar = study.calendar
    day = np.arange(context.days)
    first = calendar.day_of(change.first or calendar.start)
    last = calendar.day_of(change.last) if change.last is not None else context.days
    here = np.array([not change.layers or layer in change.layers for layer in study.layers])
    rows = np.where(here[:, None] & ((day >= first) & (day <= last)), change.factor, 1.0)
    part = _Factor(context.setting.real(rows))
    return replace(simulator, context=replace(context, parts=(*context.parts, part)))


def changed_theta(simulator: Simulator, theta: Mapping[str, Tensor], change: Change) -> dict[str, Tensor]:
    """Parameters `[P]` with the change: another R0, another parameter.

    Raises:
        StudyError: the value lies outside the parameter's range.
    """
    out = dict(theta)
    if change.r0 is not None:
        out |= transmission_for(simulator, theta, change.r0)
    if change.parameter:
        study = simulator.study
        site, index = _element(study, change.parameter)
        old = out[site]
        part = old if index is None else old[..., index]
        new = torch.full_like(part, change.value) if change.value is not None else part * float(change.times or 0.0)
        prior = next(p for p in study.parameters() if p.name == site).prior
        support: Any = distribution(prior).support
        if not bool(support.check(new).all()):
            bad = new[~support.check(new)].flatten()[0]
            raise StudyError(
                f"Parameter {change.parameter!r} would be {float(bad):g}, which lies outside its range; choose another value."
            )
        out[site] = new if index is None else torch.cat([old[..., :index], new[..., None], old[..., index + 1 :]], -1)
    return out


def _element(study: Study, name: str) -> tuple[str, int | None]:
    """Site and index of a flat parameter; None for all of it."""
    site, bracket, label = name.partition("[")
    found = next((p for p in study.parameters() if p.name == site), None)
    label = label.removesuffix("]")
    if found is None or (bracket and label not in found.labels):
        known = [n for p in study.parameters() for n in ([f"{p.name}[{x}]" for x in p.labels] or [p.name])]
        raise StudyError(f"There is no parameter {name!r}; choose among {', '.join(known)}.")
    return site, found.labels.index(label) if bracket else None


def simulate_change(
    fitted: Fitted,
    change: Change,
    *,
    draws: int,
    seed: int = 0,
    batch: int = 8,
    advance: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Expected observations and derived quantities with and without a change, at the same draws and random numbers.

    Args:
        fitted: the calibrated study.
        change: what is another.
        draws: posterior draws, evenly spaced.
        seed: of the epidemics.
        batch: draws simulated at once.
        advance: told how many simulations were done.

    Returns:
        Variables `stream <name>` and `derived <name> by <axis>`, `[world, draw, week, place]`, with one week where a quantity has one value;
        draws that failed in a world are left out (attribute `failed`).

    Raises:
        StudyError: the change cannot be made, or fewer than two draws are finite.
    """
    study = fitted.simulator.study
    change.check(study)
    count = min(draws, fitted.draws)
    at = torch.linspace(0, fitted.draws - 1, count, dtype=torch.float64).round().long()
    theta = {name: value[at] for name, value in fitted.theta.items()}
    changed = changed_theta(fitted.simulator, theta, change)
    key = derive_seed(seed, 0, "change")
    worlds = ((fitted.simulator, theta), (changed_simulator(fitted.simulator, change), changed))
    rows: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for simulator, values in worlds:
            parts = []
            for start in range(0, count, batch):
                part = {n: x[start : start + batch] for n, x in values.items()}
                streams = torch.arange(start, min(start + batch, count))
                parts.append(_outputs(simulator, part, key, streams))
                if advance is not None:
                    advance(len(streams))
            rows.append({n: torch.cat([p[n] for p in parts]) for n in parts[0]})
    infections = [row[stream_variable(study.infections)] for row in rows]
    good = torch.stack([torch.isfinite(x).flatten(1).all(1) for x in infections]).all(0)
    if int(good.sum()) < 2:
        raise StudyError(
            f"Only {int(good.sum())} of {count} draws gave finite simulations; the change leaves the model's range."
        )
    data, known = {}, _places(study)
    for name in rows[0]:
        both = torch.stack([row[name][good] for row in rows]).double().cpu().numpy()
        places = list(known[name])
        axis = f"place of {name}"
        week = "week" if both.shape[2] > 1 else "once"
        data[name] = xr.DataArray(both, dims=("world", "draw", week, axis), coords={axis: places})
    weeks = [str(w.date()) for w in fitted.simulator.observation.weeks]
    found = xr.Dataset(data, attrs={"failed": int((~good).sum()), "draws": int(good.sum())})
    return found.assign_coords(world=[BEFORE, AFTER], week=weeks)


def _outputs(simulator: Simulator, theta: Mapping[str, Tensor], seed: int, streams: Tensor) -> dict[str, Tensor]:
    counts, epidemic = simulator.simulate(theta, seed, streams)
    out = {stream_variable(name): x for name, x in counts.items()}
    return out | {derived_variable(name, by): x for (name, by), x in derive(epidemic).items()}


def stream_variable(name: str) -> str:
    """Name of a stream's variable in what `simulate_change` gives."""
    return f"stream {name}"


def derived_variable(name: str, by: str) -> str:
    """Name of a derived quantity's variable."""
    return f"derived {name} by {by}"


def _places(study: Study) -> dict[str, tuple[str, ...]]:
    """Labels of the places of every variable."""
    found = {stream_variable(s.name): s.places(study) for s in study.streams}
    return found | {derived_variable(q.name, q.by): q.places for q in quantities(study)}
