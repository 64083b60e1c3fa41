"""Plots of derived quantities: Rt, infections next to cases, attack rates by age."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, SECOND, blank, heading, months, styled, thousands
from epi.errors import NotKept
from epi.outputs.run_files import RunFiles

ALL_PLACES = "all"


def reproduction_numbers(run: RunFiles) -> Figure:
    """Rt by week: all regions together, then each of them."""
    return plot_reproduction(run.derived, run.study.country, run.study.region.axis, _last_known(run))


def infections_and_cases(run: RunFiles) -> Figure:
    """Infections next to reported cases by week, and the share of infections that is reported."""
    infections = _rows(run.derived, "infections", ALL_PLACES)
    reported = run.observed(run.cases).sum(-1)
    cases = pd.Series(reported, index=pd.DatetimeIndex(run.weeks))
    return plot_infections(
        infections, cases, _rows(run.derived, "ascertainment", ALL_PLACES), run.study.country, _last_known(run)
    )


def attack_rates(run: RunFiles) -> Figure:
    """Attack rate by age and by region, to the end of the forecast."""
    axis = run.study.region.axis
    table = run.derived
    parts = {by: _rows(table, "attack rate", by) for by in ("age", axis)}
    return plot_attack_rates(parts, float(_rows(table, "attack rate", ALL_PLACES)["median"].iloc[0]), run.weeks[-1])


def _last_known(run: RunFiles) -> str:
    return str(run.study.calendar.forecast_from)


def _rows(table: pd.DataFrame, quantity: str, by: str) -> pd.DataFrame:
    rows = table[(table.quantity == quantity) & (table.by == by)]
    if rows.empty:
        raise NotKept(f"The study has no {quantity} by {by}.")
    return rows


def _weeks(rows: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(rows.week)


def _band(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    """Median, 50 % and 95 % band by week."""
    weeks = _weeks(rows)
    axes.fill_between(weeks, rows.q025, rows.q975, color=colour, alpha=0.18, linewidth=0)
    axes.fill_between(weeks, rows.q25, rows.q75, color=colour, alpha=0.38, linewidth=0)
    axes.plot(weeks, rows["median"], color=colour, linewidth=1.3, label=label)


def _by_week(axes: Axes, last_known: str, span: pd.DatetimeIndex) -> None:
    """Ticks by month, and a line at the forecast date."""
    axes.axvline(pd.Timestamp(last_known) + pd.Timedelta(hours=84), color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    axes.set_xlim(span[0] - pd.Timedelta(days=3), span[-1] + pd.Timedelta(days=3))
    months(axes)


@styled
def plot_reproduction(table: pd.DataFrame, whole: str, axis: str, last_known: str) -> Figure:
    """Small multiples of Rt with a line at 1.

    Args:
        table: derived quantities (`derived.csv`).
        whole: name of all regions together.
        axis: of the regions.
        last_known: ISO date of the forecast date.
    """
    rows = _rows(table, "Rt", ALL_PLACES)
    panels = [(whole[:1].upper() + whole[1:], rows)]
    regions = table[(table.quantity == "Rt") & (table.by == axis)]
    panels += [(place, regions[regions.place == place]) for place in dict.fromkeys(regions.place)]
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure, span = blank(8.6, 1.75 * lines + 0.9), _weeks(rows)
    top = float(table.loc[table.quantity == "Rt", "q75"].max()) * 1.25
    for index, axes in enumerate(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()):
        if index >= len(panels):
            axes.set_axis_off()
            continue
        title, own = panels[index]
        axes.axhline(1.0, color=GREY, linewidth=0.9)
        _band(axes, own, ACCENT, "Rt")
        _by_week(axes, last_known, span)
        axes.set_ylim(0, top)
        axes.set_title(title, fontsize=8.5)
        axes.tick_params(axis="x", labelbottom=index + columns >= len(panels))
    heading(figure, "Rt: infections for each earlier infection, by week (median, 50 % and 95 % interval)")
    return figure


@styled
def plot_infections(
    infections: pd.DataFrame, cases: pd.Series, ascertainment: pd.DataFrame, whole: str, last_known: str
) -> Figure:
    """Infections and reported cases a week; next to them the share of a week's infections that is ever reported.

    Args:
        infections: rows of infections of all regions together.
        cases: by week, NaN where there are none.
        ascertainment: rows of all regions together.
        whole: name of all regions together.
        last_known: ISO date of the forecast date.
    """
    figure = blank(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    span = _weeks(infections)
    _band(left, infections, ACCENT, "infections (estimate)")
    known = cases.dropna()
    left.plot(known.index, known, "o", color=INK, markersize=3.2, label="reported cases")
    left.set_ylim(
        0,
        max(
            min(1.6 * float(infections.q75.max()), float(infections.q975.max())),
            float(known.max() if len(known) else 0.0),
        )
        * 1.05,
    )
    left.set_title(f"{whole[:1].upper()}{whole[1:]}: people a week")
    left.legend(loc="upper right")
    thousands(left)
    _band(right, ascertainment, SECOND, "reported")
    right.set_ylim(0, min(100.0, float(ascertainment.q975.max()) * 1.25))
    right.set_title("Of the infections of a week, reported (%)")
    for axes in (left, right):
        _by_week(axes, last_known, span)
    return figure


@styled
def plot_attack_rates(parts: dict[str, pd.DataFrame], whole: float, until: str) -> Figure:
    """Attack rates with 50 % and 95 % intervals, one panel an axis, and the median of all people as a line.

    Args:
        parts: rows by axis of places.
        whole: attack rate of all people, per cent.
        until: ISO date that ends the last week.
    """
    longest = max(len(rows) for rows in parts.values())
    figure = blank(8.6, 0.24 * longest + 1.6)
    for axes, (by, rows) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
        y = np.arange(len(rows))[::-1]
        axes.axvline(whole, color=GREY, linewidth=0.9)
        axes.hlines(y, rows.q025, rows.q975, color=ACCENT, alpha=0.45, linewidth=1.6)
        axes.hlines(y, rows.q25, rows.q75, color=ACCENT, linewidth=3.4)
        axes.plot(rows["median"], y, "o", color="white", markeredgecolor=ACCENT, markersize=4.2)
        axes.set_yticks(y, rows.place)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlim(left=0)
        axes.set_title(f"By {by}")
        axes.set_xlabel("infections for each 100 people")
    heading(figure, f"Attack rate to {until} (median, 50 % and 95 % interval; line: all people)")
    return figure
