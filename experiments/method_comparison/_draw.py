"""The figure of the table: relative WIS and coverage of every method, stream by stream."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calib.plotting import ACCENT, GREY, INK, blank, save_figure, styled
from experiments.method_comparison._table import HORIZONS, SHOWN, STUDY

MEASURES = {
    "relative_wis": ("WIS relative to the hub baseline", 1.0),
    "coverage_50": ("share inside the 50 % intervals", 0.5),
    "coverage_95": ("share inside the 95 % intervals", 0.95),
}
"""Columns with their words and the value to be compared with."""


@styled
def _figure(table: pd.DataFrame) -> Figure:
    names = list(dict.fromkeys(zip(table["method"], table["simulations"], strict=True)))
    figure = blank(9.4, 3 * (0.21 * len(names) + 0.75) + 0.3)
    panels = figure.subplots(len(MEASURES), len(SHOWN), sharey=True, squeeze=False)
    for i, (measure, (spent_on, value)) in enumerate(MEASURES.items()):
        highest = float(table["relative_wis"].max()) if measure == "relative_wis" else 1.0
        for j, (stream, title) in enumerate(SHOWN.items()):
            axes = panels[i, j]
            _panel(axes, table[table["stream"] == stream], names, measure, value)
            if measure == "relative_wis":
                axes.set_xscale("log")
                axes.set_xlim(0.18, max(2.2, 1.2 * highest))
                axes.set_xticks([0.25, 0.5, 1, 2], ["0.25", "0.5", "1", "2"])
                axes.minorticks_off()
            elif measure == "coverage_95":
                axes.set_xlim(min(0.8, float(table[measure].min())) - 0.02, 1.02)
            else:
                axes.set_xlim(-0.04, 1.04)
                axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
            if i == 0:
                axes.set_title(title[0].upper() + title[1:])
        panels[i, 0].set_xlabel(spent_on, loc="left")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=INK, markersize=5, label="1 to 4 weeks ahead"),
        Line2D([], [], marker="o", linestyle="", color=INK, markerfacecolor="white", markersize=5, label="5 to 11 weeks ahead"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, names: list[tuple[str, int]], measure: str, value: float) -> None:
    axes.axvline(value, color=GREY, linewidth=0.8, zorder=0)
    for place, (method, simulations) in enumerate(names):
        colour = ACCENT if method.startswith(STUDY) else INK
        part = rows[(rows["method"] == method) & (rows["simulations"] == simulations)].set_index("horizon")[measure]
        axes.plot(part.loc[list(HORIZONS)], [place] * 2, color=colour, linewidth=0.6, alpha=0.5, zorder=1)
        for horizon, face in zip(HORIZONS, (colour, "white"), strict=True):
            axes.plot([part[horizon]], [place], "o", color=colour, markerfacecolor=face, markersize=5, clip_on=False)
    labels = [name if not n else f"{name} ({n:,})" for name, n in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def draw(table: pd.DataFrame, file: Path) -> None:
    """Draw a row of panels a measure and a panel a stream; the line is the baseline, or what an exact forecast would have."""
    save_figure(_figure(table), file)
