"""Tools that simulate: what if, R0 of the calibrated model, and the search for restrictions."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from epi.analyst.child import run_module
from epi.analyst.read_epidemic import Place, Week, Which, named, picked, selected
from epi.analyst.requests import Request
from epi.analyst.series import Statistic, statistic_of, week_of_peak
from epi.analyst.source import ALL, CannotAnswer, Output, Source, nearest
from epi.analyst.values import Result, Value, clean, of_draws
from epi.analyst.worker import make
from epi.errors import StudyError
from epi.outputs.former_names import region_axis
from epi.reporting.sentences import listed
from epi.scenarios.change import AFTER, BEFORE, derived_variable, stream_variable
from epi.scenarios.registry import load_scenarios
from epi.scenarios.run import CALIBRATED
from epi.scenarios.scenario import Question
from epi.scenarios.summary import reference

__all__ = ["CACHE", "allocate", "reproduction", "scenario"]

CACHE = "analyst"
"""Folder in the run's that keeps what was simulated for answers."""

Array = NDArray[np.float64]
Number = Annotated[float | None, Field(allow_inf_nan=False)]


def scenario(
    run: Source,
    output: Annotated[str, Field(max_length=80, description="What is asked about: a stream or a derived quantity.")],
    r0: Annotated[float | None, Field(gt=0, le=100, description="R0 in place of the calibrated one.")] = None,
    factor: Annotated[
        float | None, Field(ge=0, le=100, description="Factor on contacts in the layers: 0 closes them.")
    ] = None,
    layers: Annotated[
        list[Annotated[str, Field(max_length=40)]],
        Field(max_length=12, description="household, community, school, work, ...; empty for all."),
    ] = [],  # noqa: B006  (pydantic copies it)
    first: Annotated[str, Field(max_length=10, description="First day of the factor, ISO; empty for the first.")] = "",
    last: Annotated[str, Field(max_length=10, description="Last day of the factor, ISO; empty for the last.")] = "",
    parameter: Annotated[str, Field(max_length=80, description="A parameter that is changed.")] = "",
    value: Annotated[float | None, Field(allow_inf_nan=False, description="Its new value.")] = None,
    times: Annotated[float | None, Field(ge=0, le=1e6, description="A factor on it, in place of a value.")] = None,
    name: Annotated[
        str, Field(max_length=60, description="A scenario of the study by name; 'list' for their names.")
    ] = "",
    place: Place = ALL,
    week: Week = "",
    statistic: Which = None,
) -> Result:
    """What if R0, contacts or a parameter had been another, or a scenario of the study: simulated against the calibrated epidemic.

    Both worlds have the same posterior draws and random numbers. Give r0, or factor with layers and dates, or parameter with value or
    times, or name.
    """
    if name:
        return _named_scenario(run, name, output, place, week, statistic)
    out = run.output(output, place)
    days = {key: _day(text, key) for key, text in (("first", first), ("last", last)) if text}
    request = _request(
        run, "change", r0=r0, factor=factor, layers=tuple(layers), parameter=parameter, value=value, times=times, **days
    )
    request.change.check(run.study)
    data, kept = _simulated(run, request)
    variable = stream_variable(out.name) if out.stream else derived_variable(out.name, out.by)
    worlds = {w: picked(np.asarray(data[variable].sel(world=w).values, dtype=float), out) for w in (BEFORE, AFTER)}
    given = {
        k: v
        for k, v in request.plain().items()
        if k in (*Request.model_fields,) and k not in _TECHNICAL and v not in (None, "", [])
    }
    result = _compared(run, out, worlds, kept, request.file, variable, week, statistic, given)
    return result


_TECHNICAL = ("kind", "posterior", "draws", "seed", "scale")


def reproduction(run: Source) -> Result:
    """R0 of the calibrated model by the next-generation matrix, in the first week in which people meet."""
    request = _request(run, "reproduction")
    data, kept = _simulated(run, request)
    file = f"{CACHE}/{request.file}"
    values = [of_draws("R0", data["r0"].values, "infections per infection", run.origin(file, "r0"))]
    if not np.allclose(data["r0"].values, data["control"].values):
        at = run.origin(file, "control")
        values.append(
            of_draws(
                "reproduction number with the doses given by then",
                data["control"].values,
                "infections per infection",
                at,
            )
        )
    return Result("reproduction", {}, tuple(values), "", cached=kept)


def allocate(
    run: Source,
    budget: Annotated[float, Field(gt=0, le=1e6, description="Weeks of full closure of a layer that may be spent.")],
    first: Annotated[str, Field(max_length=10, description="First Monday of the restrictions, ISO.")],
    last: Annotated[str, Field(max_length=10, description="Last day of the restrictions, ISO.")],
    until: Annotated[str, Field(max_length=10, description="Last day whose admissions count, ISO; it ends a week.")],
) -> Result:
    """The weekly restrictions at school, at work and elsewhere that avert most admissions under a budget, by a search; it takes minutes."""
    if run.study.measures is None:  # before a process is started
        raise CannotAnswer(
            "The search for restrictions needs a study with measures (epi.Measures), and this one has none."
        )
    days = [_day(text, key).isoformat() for key, text in (("first", first), ("last", last), ("until", until))]
    draws = max(2, min(8, int(run.files.groups["forecast_draws"].sizes["draw"]) // 4))
    used: dict[str, Any] = {"budget": budget, "first": days[0], "last": days[1], "until": days[2]}
    posterior = run.origin("posterior.nc", "").sha256
    request = Request(kind="change", posterior=posterior, draws=draws, name=json.dumps(used, sort_keys=True))
    folder = f"{CACHE}/allocate-{request.file.split('-')[1].removesuffix('.nc')}"
    kept = run.file(f"{folder}/policy.csv").is_file()
    if not kept:
        options = [
            "--budget",
            str(budget),
            "--first",
            days[0],
            "--last",
            days[1],
            "--until",
            days[2],
            "--draws",
            str(draws),
        ]
        options += ["--judges", str(2 * draws), "--competitor", "none", "--output", str(run.file(folder))]
        if run.scale is not None:
            options += ["--scale", str(run.scale)]
        run_module("posterity", ["allocate-restrictions", str(run.folder), *options], "", run.seconds, run.progress)
    table, file = pd.read_csv(run.file(f"{folder}/policy.csv")), f"{folder}/policy.csv"
    values = []
    for row in table.itertuples():
        at = run.origin(file, f"policy={row.policy}")
        values.append(
            Value(
                f"admissions averted by {row.policy}",
                float(row.averted),
                "admissions",
                at,
                float(row.averted_low),
                float(row.averted_high),
                draws=2 * draws,
            )
        )
    with xr.open_dataset(run.file(f"{folder}/policy.nc"), engine="h5netcdf") as data:
        best = data["stringency"].sel(policy="gradient")
        for monday in best["monday"].values:
            for layer in best["layer"].values:
                x = float(best.sel(monday=monday, layer=layer))
                if x > 0.005:
                    at = run.origin(
                        f"{folder}/policy.nc", f"stringency[policy=gradient, monday={monday}, layer={layer}]"
                    )
                    values.append(Value(f"stringency in {layer}, week from {monday}", 100 * x, "%", at))
    return Result(
        "allocate", used, tuple(values), "Restrictions that avert most admissions under the budget.", cached=kept
    )


def _named_scenario(run: Source, name: str, output: str, place: str, week: str, statistic: Any) -> Result:
    try:
        known = load_scenarios(run.files.manifest["configuration"]["study"])
    except StudyError:
        known = {}
    if name == "list" or name not in known:
        if not known:
            raise CannotAnswer("The study has no scenarios of its own; change R0, contacts or a parameter instead.")
        if name == "list":
            text = "; ".join(f"{q.name}: {q.title}" for q in known.values())
            return Result("scenario", {"name": name}, (), f"Scenarios of the study: {text}.")
        raise CannotAnswer(
            f"The study has no scenario {clean(name, 60)!r}{nearest(name, known)}; it has {listed(list(known))}."
        )
    question = known[name]
    if not isinstance(question, Question):
        raise CannotAnswer(
            f"Scenario {name!r} changes parts of the study and builds it anew, which takes minutes; ask it with `posterity scenario`."
        )
    if output not in ("infections", "admissions", "deaths"):
        raise CannotAnswer("Scenarios of the study say infections, admissions and deaths; ask for one of them.")
    request = _request(run, "named", name=name)
    data, kept = _simulated(run, request)
    axis = region_axis(data)
    cells = data[output].transpose("world", "draw", "week", axis, "age")
    places = (*map(str, cells[axis].values), *map(str, cells["age"].values))
    both = xr.concat([cells.sum("age").rename({axis: "p"}), cells.sum(axis).rename(age="p")], "p")
    match = [i for i, p in enumerate(places) if p.lower() == place.strip().lower()]
    if not match and place.strip().lower() not in (ALL, run.study.country.lower()):
        raise CannotAnswer(
            f"The run has no {output} at {clean(place, 60)!r}{nearest(place, places)}; it has {listed(places)}."
        )
    by = "age" if match and match[0] >= cells.sizes[axis] else run.study.region.axis
    out = Output(
        output, output, "people", by, places[match[0]] if match else ALL, match[0] if match else None, places, False
    )
    pairs = ((BEFORE, reference(question)), (AFTER, name))
    part = both.transpose("world", "draw", "week", "p")
    worlds = {
        w: np.asarray(
            part.sel(world=of).values[..., match[0]] if match else cells.sel(world=of).sum((axis, "age")).values
        )
        for w, of in pairs
    }
    before = CALIBRATED if question.against is None else question.against_label
    notes = (f"Carries: {question.carries}", f"Leaves out: {question.leaves_out}", f"Compared with the world {before}.")
    found = _compared(run, out, worlds, kept, request.file, output, week, statistic, {"name": name})
    return Result(found.tool, found.arguments, found.values, question.title, notes, cached=kept)


def _compared(
    run: Source, out: Output, worlds: dict[str, Array], kept: bool, file: str, variable: str, week: str, statistic: Any, given: dict[str, Any],
) -> Result:  # fmt: skip
    """The changed world, the calibrated one, their difference and the change in per cent, by draw."""
    weeks, first = run.files.weeks, run.files.forecast_from
    used = given | {"output": out.name, "place": out.place, "week": "", "statistic": ""}
    at = f"{CACHE}/{file}"
    chosen: Statistic
    if worlds[BEFORE].shape[-1] == 1:
        chosen, label = "total", f"{out.label}, {out.where}"
        by_draw = {w: x[:, 0] for w, x in worlds.items()}
        unit = out.unit
    else:
        if week:
            week, chosen = run.week(week), statistic or "week"
        else:
            chosen = statistic or ("total" if out.adds else "peak")
        if not out.adds and chosen in ("total", "forecast total"):
            raise CannotAnswer(
                f"Values of {out.label} of several weeks cannot be added up; name a week, or ask for the peak."
            )
        used |= {"week": week, "statistic": chosen}
        label = named("", out, chosen, week)
        by_draw = {w: statistic_of(x, weeks, chosen, week, first) for w, x in worlds.items()}
        unit = out.unit if chosen in ("week", "peak") else out.unit.removesuffix(" a week")

    def origin(world: str) -> Any:
        return run.origin(at, f"{variable}{selected(out, week, f'world={world}')}")

    difference = by_draw[AFTER] - by_draw[BEFORE]
    both = f"{BEFORE} and {AFTER}"
    values: list[Value]
    if chosen == "peak week":
        values = [week_of_peak(f"{label}, {w}", by_draw[w], weeks, origin(w)) for w in (AFTER, BEFORE)]
        values.append(
            of_draws(
                f"weeks by which the peak is later with the change, {out.label}, {out.where}",
                difference,
                "weeks",
                origin(both),
            )
        )
    else:
        values = [of_draws(f"{label}, with the change", by_draw[AFTER], unit, origin(AFTER)),
                  of_draws(f"{label}, as calibrated", by_draw[BEFORE], unit, origin(BEFORE)),
                  of_draws(f"change in {label}", difference, unit, origin(both))]  # fmt: skip
        if (by_draw[BEFORE] > 0).all():
            values.append(
                of_draws(f"relative change in {label}", 100 * difference / by_draw[BEFORE], "%", origin(both))
            )
    text = f"Expected {out.label}, {out.where}, with and without the change, without the scatter of reports."
    return Result("scenario", used, tuple(values), text, cached=kept)


def _request(run: Source, kind: Any, **given: Any) -> Request:
    available = int(run.files.groups["forecast_draws"].sizes["draw"])
    posterior = run.origin("posterior.nc", "").sha256
    return Request(kind=kind, posterior=posterior, draws=max(2, min(run.draws, available)), scale=run.scale, **given)


def _simulated(run: Source, request: Request) -> tuple[xr.Dataset, bool]:
    """The result of a request and whether it was kept from before."""
    file = run.file(f"{CACHE}/{request.file}")
    kept = file.is_file()
    if not kept and not run.apart:
        make(run.folder, file, request, run.progress)
    elif not kept:
        given = request.model_dump_json()
        run_module("epi.analyst.worker", [str(run.folder.resolve()), str(file)], given, run.seconds, run.progress)
    with xr.open_dataset(Path(file), engine="h5netcdf") as data:
        return data.load(), kept


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CannotAnswer(
            f"The day {name} is {clean(text, 20)!r}, expected year-month-day in digits; correct it."
        ) from None
