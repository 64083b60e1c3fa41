"""C2ST of every run, task by task, with what was published."""

from __future__ import annotations

import os

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, SECOND, blank, save_figure, styled
from experiments.benchmark_posteriors._table import AMORTISED, SEQUENTIAL, published

LABELS = {
    "emulated-smc": "posterity, no gradients",
    "emulated-smc-gradient": "posterity, gradients",
    "emulated-smc-forward": "posterity, forward mode",
    "vi-gradient": "posterity, new runs at each update",
    "npe": "sbi NPE",
    "nle": "sbi NLE",
    "nre": "sbi NRE",
    "fmpe": "sbi FMPE",
    "smc-abc": "sbi SMC-ABC",
}


@styled
def _figure(rows: pd.DataFrame) -> Figure:
    tasks, budgets = list(dict.fromkeys(rows["task"])), sorted(set(rows["budget"]))
    known = published().set_index(["task", "budget"])
    shown = [[m for m in LABELS if m in set(rows.loc[rows["budget"] == budget, "method"])] for budget in budgets]
    lines = [len(methods) + 2 for methods in shown]
    figure = blank(1.5 * len(tasks) + 1.9, 0.23 * sum(lines) + 0.5 * len(budgets) + 0.5)
    panels = figure.subplots(
        len(budgets), len(tasks), sharex=True, sharey="row", squeeze=False, gridspec_kw={"height_ratios": lines}
    )
    for i, (budget, methods) in enumerate(zip(budgets, shown, strict=True)):
        for j, task in enumerate(tasks):
            part = rows[(rows["task"] == task) & (rows["budget"] == budget)]
            row = known.loc[(task, budget)] if (task, budget) in known.index else None
            _panel(panels[i, j], methods, part, row)
            if i == 0:
                panels[i, j].set_title(task.replace("_", " "), fontsize=9)
        panels[i, 0].set_ylabel(f"{budget:,} simulations", fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("C2ST")
    return figure


def _panel(axes: Axes, methods: list[str], rows: pd.DataFrame, row: pd.Series | None) -> None:
    """One task at one budget: a line a method, two of published medians."""
    labels = [*[LABELS[m] for m in methods], "published, amortised", "published, sequential"]
    axes.axvline(0.5, color=GREY, linewidth=0.7)
    for place, method in enumerate(methods):
        part = rows.loc[rows["method"] == method, "c2st"]
        colour = ACCENT if method.startswith("emulated-smc") else SECOND if "vi" in method else GREY
        axes.plot(part, [place] * len(part), "o", color=colour, markersize=4, alpha=0.5, markeredgewidth=0)
        if len(part):
            axes.plot([part.median()], [place], "|", color=INK, markersize=8, markeredgewidth=1.2)
    if row is not None:
        for place, names in enumerate((AMORTISED, SEQUENTIAL), start=len(methods)):
            axes.plot([row[n] for n in names], [place] * len(names), "|", color=INK, markersize=8, markeredgewidth=0.8)
    axes.set_xlim(0.47, 1.02)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def draw_c2st(rows: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Draw dots (observations) and bars (medians); 0.5 cannot be told from the reference, 1 always can."""
    save_figure(_figure(rows), path)
