"""Plots of the benchmark, from its table alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, blank, heading, styled


@styled
def draw_groups(table: pd.DataFrame) -> Figure:
    """Coverage of 50 % and 90 % intervals by group of parameters, with 95 % binomial intervals of each share."""
    figure = blank(8.6, 0.34 * len(table) + 1.3)
    axes = figure.add_subplot()
    at = np.arange(len(table))[::-1]
    for level, colour in (("50", GREY), ("90", ACCENT)):
        axes.axvline(int(level) / 100, color=colour, linewidth=0.8, linestyle=(0, (4, 3)))
        value = table[f"coverage_{level}"].to_numpy(float)
        ends = np.abs(table[[f"low_{level}", f"high_{level}"]].to_numpy(float).T - value)
        axes.errorbar(value, at, xerr=ends, fmt="o", color=colour, markersize=5, elinewidth=1.4)
        axes.annotate(
            f"{level} % intervals", (int(level) / 100, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="center", color=INK if level == "50" else colour, fontsize=8,
        )  # fmt: skip
    labels = [f"{row.group.replace('_', ' ')} ({row.parameters})" for row in table.itertuples()]
    axes.set_yticks(at, labels)
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of the true values inside, with 95 % binomial intervals (in brackets: parameters)")
    heading(figure, f"Coverage over {int(table['epidemics'].iloc[0])} synthetic epidemics")
    return figure
