"""Alternative texts of the plots: what is seen, computed from the numbers that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from calib.plotting import number
from epi.errors import NotKept
from epi.outputs.derivatives import HEADLINES
from epi.outputs.run_files import RunFiles
from epi.reporting.sentences import day, leading, listed, percent
from epi.study import Admissions, Cases, Deaths, Occupancy, Stream, Wastewater


def alt_text(run: RunFiles, name: str) -> str:
    """What a plot shows, in one or two sentences.

    Args:
        run: a finished run.
        name: of the plot, a key of `epi.reporting.plots.ALL`.

    Returns:
        The text; empty for a plot without one.
    """
    make = TEXTS.get(name)
    try:
        return "" if make is None else make(run)
    except NotKept:
        return ""


def _stream(run: RunFiles, kind: type[Stream], by: str | None = None) -> Stream:
    found = next((s for s in run.study.observed if isinstance(s, kind) and by in (None, s.by)), None)
    if found is None:
        raise NotKept(f"The study has no stream {kind.__name__}.")
    return found


def _fans(run: RunFiles, kind: type[Stream], by: str) -> str:
    """Places with the largest numbers, and how many observations lie in the intervals."""
    s = _stream(run, kind, by)
    observed, drawn = run.observed(s.name), run.predicted(s.name)
    places = run.places(s.name)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    known = np.isfinite(observed)
    inside = ((low <= observed) & (observed <= high))[known].mean() if known.any() else None
    peak = np.where(known, observed, -1.0).max(0)
    first, last = int(peak.argmax()), int(peak.argmin())
    return (
        f"{len(places)} panels of {s.description}, each with a band of predictions and the reported numbers. The highest reported "
        f"peak is {number(float(peak[first]))} ({places[first]}), the lowest {number(float(peak[last]))} ({places[last]}). "
        f"{percent(inside)} of the reported numbers lie in the 95 % bands."
    )


def _national(run: RunFiles) -> str:
    s = _stream(run, Cases)
    observed, drawn = run.observed(s.name).sum(-1), run.predicted(s.name).sum(-1)
    median = np.median(drawn, 0)
    week = int(np.nanargmax(observed)) if np.isfinite(observed).any() else 0
    return (
        f"Curves of cases and admissions with bands of predictions. Reported cases are highest in the week to {day(run.weeks[week])} with "
        f"{number(float(observed[week]))}; the median prediction is highest in the week to {day(run.weeks[int(median.argmax())])} with "
        f"{number(float(median.max()))}."
    )


def _streams(run: RunFiles) -> str:
    others = [s.title for s in run.study.observed if not isinstance(s, Cases | Admissions)]
    return f"One panel each for {listed(others).lower()}: bands of predictions with the reported numbers."


def _information(run: RunFiles) -> str:
    table = run.stream_information
    top = table.sort_values("wider", ascending=False).iloc[0]
    return f"Table of colours. The darkest cell: {run.label(str(top.quantity))} would be {percent(top.wider - 1)} wider without {top.option}."


def _scores(run: RunFiles) -> str:
    rows = [r for r in run.scores[run.headline]["by_horizon"] if r["relative_wis"] is not None]
    better = sum(r["relative_wis"] < 1 for r in rows)
    return f"Errors by weeks ahead. For the first stream the model's error is below the baseline's at {better} of {len(rows)} horizons."


def _forest(elements: bool) -> Callable[[RunFiles], str]:
    def text(run: RunFiles) -> str:
        names, draws = run.draws()
        chosen = [i for i, name in enumerate(names) if ("[" in name) == elements]
        width = {names[i]: float(np.subtract(*np.quantile(draws[:, i], (0.95, 0.05)))) for i in chosen}
        ratio = {
            n: w / max(float(e["prior_high"]) - float(e["prior_low"]), 1e-12)
            for n, w in width.items()
            if "prior_high" in (e := run.entry(n))
        }
        if not ratio:
            raise NotKept("no such parameters")
        narrow = sorted(ratio, key=lambda n: ratio[n])
        return (
            f"{len(chosen)} rows, each with a grey prior and a blue posterior interval. Narrowest next to its prior: {run.label(narrow[0])} "
            f"({percent(ratio[narrow[0]])} of its width); widest: {run.label(narrow[-1])} ({percent(ratio[narrow[-1]])})."
        )

    return text


def _width(entry: dict[str, Any]) -> float:
    return max(float(entry["prior_high"]) - float(entry["prior_low"]), 1e-12)


def _shrinkage(run: RunFiles) -> str:
    return "Rows of dots, one a parameter, from no information (left) to fully determined (right). Dots left of zero: wider than the prior."


def _pairs(run: RunFiles) -> str:
    return "Scatter plots of pairs of parameters; slanted clouds are combinations that the data determine better than each parameter."


def _output(run: RunFiles, place: int) -> str:
    """The output that rankings lead with, or the one after it."""
    known = set(run.sensitivity["output"])
    found = [output for output in HEADLINES if output in known]
    if len(found) <= place:
        raise NotKept("The run has no such output.")
    return found[place]


def _ranking(place: int) -> Callable[[RunFiles], str]:
    def text(run: RunFiles) -> str:
        output = _output(run, place)
        top = leading(run, output, "derivative_share", 3)
        rows = listed([f"{run.label(r.parameter)} ({percent(r['index'])})" for _, r in top.iterrows()])
        return f"Bars of the parameters that {output} depend on most: {rows}."

    return text


def _tornado(place: int) -> Callable[[RunFiles], str]:
    def text(run: RunFiles) -> str:
        output = _output(run, place)
        top = leading(run, output, "prior_swing", 1).iloc[0]
        return f"Bars to both sides: how {output} change over each parameter's prior. The longest is {run.label(top.parameter)}."

    return text


def _reproduction(run: RunFiles) -> str:
    rows = run.derived[(run.derived.quantity == "Rt") & (run.derived.by == "all")]
    below = rows[rows["median"] < 1]
    when = f"falls below 1 in the week to {day(str(below.week.iloc[0]))}" if len(below) else "stays above 1"
    return f"Curves of Rt by week for all places together and for each. The median for all {when}."


def _infections(run: RunFiles) -> str:
    rows = run.derived[(run.derived.quantity == "infections") & (run.derived.by == "all")]
    top = rows.loc[rows["median"].idxmax()]
    return (
        f"Left: estimated infections rise to {number(float(top['median']))} in the week to {day(str(top.week))}, above reported cases. "
        "Right: the share reported."
    )


def _attack(run: RunFiles) -> str:
    rows = run.derived[(run.derived.quantity == "attack rate") & (run.derived.by == "age")]
    high, low = rows.loc[rows["median"].idxmax()], rows.loc[rows["median"].idxmin()]
    return (
        f"Attack rates with intervals. By age the highest is {number(float(high['median']))} per 100 at {high.place}, the lowest "
        f"{number(float(low['median']))} at {low.place}."
    )


def _map(quantity: str, unit: str) -> Callable[[RunFiles], str]:
    def text(run: RunFiles) -> str:
        axis = run.study.region.axis
        rows = run.derived[(run.derived.quantity == quantity) & (run.derived.by == axis)]
        total = rows.groupby("place")["median"].sum().sort_values()
        high, low = total.index[-1], total.index[0]
        return (
            f"A place on the map for each {axis}, coloured by {unit}. The highest is {number(float(total.iloc[-1]))} in {high}, the lowest "
            f"{number(float(total.iloc[0]))} in {low}."
        )

    return text


def _map_infections(run: RunFiles) -> str:
    total = np.median(run.predicted(run.study.infections).sum(1), 0)
    names, high, low = run.study.region.names, int(total.argmax()), int(total.argmin())
    return (
        f"A place on the map for each {run.study.region.axis}, coloured by infections. The highest is {number(float(total[high]))} in "
        f"{names[high]}, the lowest {number(float(total[low]))} in {names[low]}."
    )


def _map_reproduction(run: RunFiles) -> str:
    rows = run.derived[(run.derived.quantity == "Rt") & (run.derived.by == run.study.region.axis)]
    first = rows[rows.week == rows.week.min()]
    above = int((first["median"] > 1).sum())
    return f"Colours of Rt by week and place. {above} of {len(first)} places start above 1; red turns to blue as the wave passes."


def _elbo(run: RunFiles) -> str:
    return f"The objective of the fit over {len(run.history):,} steps: a noisy curve that rises, and its running mean."


TEXTS: dict[str, Callable[[RunFiles], str]] = {
    "forecast_national": _national,
    "forecast_regions": lambda run: _fans(run, Cases, run.study.region.axis),
    "forecast_ages": lambda run: _fans(run, Cases, "age"),
    "forecast_admissions": lambda run: _fans(run, Admissions, "age"),
    "forecast_streams": _streams,
    "forecast_deaths": lambda run: _fans(run, Deaths, "age"),
    "forecast_occupancy": lambda run: _fans(run, Occupancy, run.study.region.axis),
    "forecast_wastewater": lambda run: _fans(run, Wastewater, _stream(run, Wastewater).by),
    "reproduction_numbers": _reproduction,
    "infections_and_cases": _infections,
    "attack_rates": _attack,
    "map_attack_rate": _map("attack rate", "infections for each 100 people"),
    "map_infections": _map_infections,
    "map_reproduction": _map_reproduction,
    "stream_information": _information,
    "scores": _scores,
    "parameters_forest": _forest(False),
    "parameters_forest_elements": _forest(True),
    "parameters_shrinkage": _shrinkage,
    "parameters_pairs": _pairs,
    "sensitivity_ranking": _ranking(0),
    "sensitivity_ranking_admissions": _ranking(1),
    "sensitivity_tornado": _tornado(0),
    "sensitivity_tornado_admissions": _tornado(1),
    "sensitivity_over_time": lambda run: "Table of colours: parameters by week, early ones at the top left, late ones at the bottom right.",
    "sensitivity_rank_path": lambda run: "Lines of the ranks of the leading parameters against the number of draws used.",
    "fit_elbo": _elbo,
}  # fmt: skip
"""By plot."""
