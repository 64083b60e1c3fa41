"""C2ST of every run, task by task, with what was published."""

from __future__ import annotations

import os

import pandas as pd
from matplotlib.figure import Figure

from calib._style import ACCENT, GREY, INK, SECOND, blank, save_figure, styled
from experiments.benchmark_posteriors._table import AMORTISED, SEQUENTIAL, published

LABELS = {
    "reuse": "posterity, no gradients",
    "reuse-gradient": "posterity, gradients",
    "reuse-forward": "posterity, forward mode",
    "direct-gradient": "posterity, new runs at each update",
    "npe": "sbi NPE",
    "nle": "sbi NLE",
    "nre": "sbi NRE",
    "fmpe": "sbi FMPE",
    "smc-abc": "sbi SMC-ABC",
}


@styled
def _figure(rows: pd.DataFrame) -> Figure:
    tasks, methods = list(dict.fromkeys(rows["task"])), [m for m in LABELS if m in set(rows["method"])]
    known = published().set_index(["task", "budget"])
    budgets = sorted(set(rows["budget"]))
    figure = blank(7.4, 0.55 + 0.21 * (len(methods) + 2) * len(budgets))
    panels = figure.subplots(len(budgets), len(tasks), sharex=True, sharey=True, squeeze=False)
    lines = [*[LABELS[m] for m in methods], "published, amortised", "published, sequential"]
    for i, budget in enumerate(budgets):
        for j, task in enumerate(tasks):
            axes = panels[i, j]
            for place, method in enumerate(methods):
                part = rows[(rows["task"] == task) & (rows["budget"] == budget) & (rows["method"] == method)]["c2st"]
                colour = ACCENT if method.startswith("reuse") else SECOND if "direct" in method else GREY
                axes.plot(part, [place] * len(part), "o", color=colour, markersize=3, alpha=0.35, markeredgewidth=0)
                if len(part):
                    axes.plot([part.median()], [place], "|", color=INK, markersize=9, markeredgewidth=1.4)
            if (task, budget) in known.index:
                row = known.loc[(task, budget)]
                for place, names in enumerate((AMORTISED, SEQUENTIAL)):
                    axes.plot(
                        [row[n] for n in names],
                        [len(methods) + place] * 3,
                        "|",
                        color=INK,
                        markersize=9,
                        markeredgewidth=1.0,
                    )
            axes.axvline(0.5, color=GREY, linewidth=0.7)
            axes.set_xlim(0.47, 1.02)
            axes.set_yticks(range(len(lines)), lines)
            axes.tick_params(axis="y", length=0)
            if i == 0:
                axes.set_title(task.replace("_", " "))
            if j == 0:
                axes.set_ylabel(f"{budget:,} simulations")
            if i == len(budgets) - 1:
                axes.set_xlabel("C2ST")
    panels[0, 0].set_ylim(len(lines) - 0.4, -0.6)
    return figure


def draw_c2st(rows: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Draw dots (observations) and bars (medians); 0.5 cannot be told from the reference, 1 always can."""
    save_figure(_figure(rows), path)
