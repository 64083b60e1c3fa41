"""Maps of a run: a derived quantity by region, from the run's files alone."""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from epi.data.geometry import coordinates_of, read_outlines
from epi.errors import NotKept, StudyError
from epi.outputs.run_files import RunFiles
from epi.reporting.maps import MapPanel, plot_maps
from epi.reporting.sentences import day
from epi.study import Study

__all__ = ["map_attack_rate", "map_infections", "map_quantity", "map_reproduction", "plot_region_map"]

SHOWN = 12
"""Weeks of a map by week."""


def plot_region_map(
    study: Study, panels: list[MapPanel], unit: str, title: str, *, centre: float | None = None
) -> Figure:
    """Maps of numbers by region of a study: outlines if it gives a GeoJSON file, else tiles."""
    return plot_maps(
        panels,
        study.region.names,
        coordinates_of(study, study.data),
        read_outlines(study.data, study),
        unit,
        title,
        centre=centre,
    )


def map_quantity(run: RunFiles, quantity: str) -> Figure:
    """A map of a derived quantity: one of the whole time, or one a week; infections are added up.

    Args:
        run: a finished run.
        quantity: as in `derived.csv`; underscores stand for blanks, and case does not matter.

    Raises:
        StudyError: the run has no such quantity by region.
    """
    axis, table = run.study.region.axis, run.derived
    known = list(dict.fromkeys(table.loc[table["by"] == axis, "quantity"]))
    by_key = {_key(name): name for name in known}
    name = by_key.get(_key(quantity))
    if name is None:
        near = difflib.get_close_matches(_key(quantity), by_key, 1, 0.4)
        hint = f"did you mean {near[0]!r}? Or " if near else ""
        raise StudyError(
            f"The run has no {quantity!r} by {axis} to map; {hint}choose among {', '.join(map(repr, by_key))}."
        )
    if name == "infections":
        return map_infections(run)
    rows = table[(table["by"] == axis) & (table["quantity"] == name)]
    unit, centre = str(rows["unit"].iloc[0]), 1.0 if name == "Rt" else None
    weeks = [w for w in dict.fromkeys(rows["week"].fillna("")) if w]
    until = f"to {day(run.weeks[-1])}"
    if not weeks:
        return plot_region_map(
            run.study, [_panel("", rows, run.study)], unit, f"{run.study.country}: {name} {until}", centre=centre
        )
    step = -(-len(weeks) // SHOWN)
    panels = [_panel(day(week), rows[rows["week"] == week], run.study) for week in weeks[::step]]
    return plot_region_map(run.study, panels, unit, f"{run.study.country}: {name} by week", centre=centre)


def _key(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_").replace(",", "")


def _panel(title: str, rows: pd.DataFrame, study: Study) -> MapPanel:
    ordered = rows.set_index("place").reindex(study.region.names)
    value, low, high = (ordered[c].to_numpy(float) for c in ("median", "q025", "q975"))
    return MapPanel(title, value, low, high)


def map_attack_rate(run: RunFiles) -> Figure:
    """Infections for each 100 people, by region."""
    return _drawn(run, "attack rate")


def map_infections(run: RunFiles) -> Figure:
    """All infections by region, with 95 % intervals over draws."""
    _need_places(run)
    total = run.predicted(run.study.infections).sum(1)
    low, middle, high = np.quantile(total, [0.025, 0.5, 0.975], axis=0)
    title = f"{run.study.country}: infections to {day(run.weeks[-1])}"
    return plot_region_map(run.study, [MapPanel("", middle, low, high)], "people", title)


def map_reproduction(run: RunFiles) -> Figure:
    """Rt by week and region."""
    return _drawn(run, "Rt")


def _drawn(run: RunFiles, quantity: str) -> Figure:
    """As `map_quantity`, left out of the report where there is nothing to map."""
    _need_places(run)
    try:
        return map_quantity(run, quantity)
    except StudyError as error:
        raise NotKept(str(error)) from error


def _need_places(run: RunFiles) -> None:
    if len(run.study.region) < 2:
        raise NotKept(f"Study {run.study.name!r} has one {run.study.region.axis}, and a map of one says nothing.")
    try:
        coordinates_of(run.study, run.study.data)
    except StudyError as error:
        raise NotKept(str(error)) from error
