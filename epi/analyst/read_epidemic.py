"""Tools that read the epidemic from a run's files: what was observed, what is forecast, and quantities that nobody observes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from epi.analyst.series import Statistic, statistic_of, week_of_peak
from epi.analyst.source import ALL, CannotAnswer, Output, Source
from epi.analyst.values import Origin, Result, Value, of_draws

__all__ = ["Place", "Week", "Which", "derived", "forecast", "named", "observed", "picked", "selected"]

Array = NDArray[np.float64]
Name = Annotated[str, Field(max_length=80, description="Name of a data stream, such as cases or admissions.")]
Place = Annotated[str, Field(max_length=80, description="A region, an age band, or 'all' for all places together.")]
Week = Annotated[str, Field(max_length=10, description="ISO date of a day in the week; empty for no single week.")]
Which = Annotated[
    Statistic | None,
    Field(description="What of the weekly series; by default the week if one is given, else the total."),
]


def observed(run: Source, stream: Name, place: Place = ALL, week: Week = "", statistic: Which = None) -> Result:
    """What was reported: a week, the total, the peak or the week of the peak of a data stream. Exact numbers, no model."""
    out = run.stream(stream, place)
    values = picked(run.files.observed(out.name)[None], out)
    week, chosen = _asked(run, week, statistic, "total")
    known = np.isfinite(values[0])
    if chosen == "week" and not known[run.files.weeks.index(week)]:
        raise CannotAnswer(f"No {out.label} were reported for the week to {week} in {out.where}.")
    found = statistic_of(values, run.files.weeks, chosen, week, run.files.forecast_from)
    origin = run.origin("posterior.nc", f"observed_data/{out.name}{selected(out, week)}")
    name = named("", out, chosen, week)
    value = (
        week_of_peak(name, found, run.files.weeks, origin)
        if chosen == "peak week"
        else Value(name, float(found[0]), out.unit, origin)
    )
    more: tuple[Value, ...] = ()
    if chosen == "peak":
        when = statistic_of(values, run.files.weeks, "peak week")
        more = (week_of_peak(named("", out, "peak week", ""), when, run.files.weeks, origin),)
    used = {"stream": out.name, "place": out.place, "week": week, "statistic": chosen}
    return Result("observed", used, (value, *more), f"{out.label.capitalize()} as reported, {out.where}.")


def forecast(run: Source, stream: Name, place: Place = ALL, week: Week = "", statistic: Which = None) -> Result:
    """What the calibrated model predicts of a data stream, with its noise: a week, the total of the forecast weeks, or the peak."""
    out = run.stream(stream, place)
    values = picked(run.files.predicted(out.name), out)
    week, chosen = _asked(run, week, statistic, "forecast total")
    if chosen == "total":
        chosen = "forecast total"
    weeks, first = run.files.weeks, run.files.forecast_from
    if chosen in ("peak", "peak week"):  # of the forecast weeks
        later = [i for i, w in enumerate(weeks) if w >= first]
        values, weeks = values[:, later], [weeks[i] for i in later]
    found = statistic_of(values, weeks, chosen, week, first)
    origin = run.origin("posterior.nc", f"posterior_predictive/{out.name}{selected(out, week)}")
    name = named("expected ", out, chosen, week)
    value = (
        week_of_peak(name, found, weeks, origin) if chosen == "peak week" else of_draws(name, found, out.unit, origin)
    )
    rows = [value]
    actual = picked(run.files.observed(out.name)[None], out)
    if chosen == "week":
        last = [i for i, w in enumerate(run.files.weeks) if w < first and np.isfinite(actual[0, i])]
        if last and week >= first:
            before = run.files.weeks[last[-1]]
            at = run.origin("posterior.nc", f"observed_data/{out.name}{selected(out, before)}")
            rows.append(
                Value(named("", out, "week", before) + ", as reported", float(actual[0, last[-1]]), out.unit, at)
            )
    note = () if not week or week >= first else ("This week was among those that the model was fitted to.",)
    used = {"stream": out.name, "place": out.place, "week": week, "statistic": chosen}
    return Result(
        "forecast", used, tuple(rows), f"Forecast of {out.label}, {out.where}, from the week to {first}.", note
    )


def derived(
    run: Source,
    quantity: Annotated[
        str,
        Field(max_length=80, description="attack rate, Rt, infections, ascertainment, infection-fatality ratio, ..."),
    ],
    place: Place = ALL,
    week: Week = "",
    statistic: Which = None,
) -> Result:
    """What nobody observes: infections, attack rate, Rt, share reported, admissions and deaths per infection, by place."""
    out = run.quantity(quantity, place)
    name = f"{out.name}_{out.by}".lower().replace(" ", "_").replace("-", "_").replace(",", "")
    data = run.derived[name]
    values = np.asarray(data.transpose("draw", ...).values, dtype=float)
    used = {"quantity": out.name, "place": out.place, "week": "", "statistic": ""}
    if not out.weekly:
        column = values[:, out.index or 0]
        origin = run.origin("derived.nc", f"{name}[{out.by}={out.place}]")
        return Result("derived", used, (of_draws(f"{out.name}, {out.where}", column, out.unit, origin),))
    series = picked(values, out)
    week, chosen = _asked(run, week, statistic, "total" if out.adds else "peak")
    if not out.adds and chosen in ("total", "forecast total"):
        raise CannotAnswer(
            f"Values of {out.name} of several weeks cannot be added up; name a week, or ask for the peak."
        )
    weeks, origin = run.files.weeks, run.origin("derived.nc", f"{name}{selected(out, week)}")
    unit = out.unit if chosen in ("week", "peak") or not out.adds else out.unit.removesuffix(" a week")
    used |= {"week": week, "statistic": chosen}
    rows = []
    if chosen == "week" or out.adds:
        found = statistic_of(series, weeks, chosen, week, run.files.forecast_from)
        label = named("", out, chosen, week)
        rows.append(
            week_of_peak(label, found, weeks, origin) if chosen == "peak week" else of_draws(label, found, unit, origin)
        )
    else:  # every week
        for i, w in enumerate(weeks):
            at = Origin(origin.file, f"{name}{selected(out, w)}", origin.sha256)
            if np.isfinite(series[:, i]).any():
                rows.append(of_draws(named("", out, "week", w), series[:, i], unit, at))
    if not any(np.isfinite(v.value) for v in rows):
        raise CannotAnswer(
            f"The run has no value of {out.name} for the week to {week}: too few infections were there to tell."
        )
    return Result("derived", used, tuple(rows))


def picked(values: Array, out: Output) -> Array:
    """`[draw, week]` of `[draw, week, place]`."""
    found: Array = values.sum(-1) if out.index is None else values[..., out.index]
    return found


def _asked(run: Source, week: str, statistic: Statistic | None, default: Statistic) -> tuple[str, Statistic]:
    """The week and the statistic that are meant."""
    if week:
        return run.week(week), statistic or "week"
    return "", statistic or default


def selected(out: Output, week: str, *more: str) -> str:
    """The selector of a place and week in a file, `[world=..., week=..., age=...]`."""
    inside = [*more, *([f"week={week}"] if week else []), f"{out.by}={out.place}"]
    return f"[{', '.join(inside)}]"


def named(lead: str, out: Output, statistic: Statistic, week: str) -> str:
    """A number's name in words."""
    text = {
        "week": f"{out.label}, {out.where}, week to {week}",
        "total": f"{out.label}, {out.where}, total of all weeks",
        "forecast total": f"{out.label}, {out.where}, total of the forecast weeks",
        "peak": f"peak week's {out.label}, {out.where}",
        "peak week": f"week of the peak of {out.label}, {out.where}",
    }[statistic]
    return lead + text
