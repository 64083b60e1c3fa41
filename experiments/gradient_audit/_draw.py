"""Figures of the audit, from its tables alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from calib._style import ACCENT, GREY, INK, LIGHT, SECOND, blank, styled
from experiments.gradient_audit._estimates import VARIANTS
from experiments.gradient_audit._world import PARAMETERS

_LEVEL_COLOURS = {"low": "#8db9d6", "middle": ACCENT, "high": "#0d2f47"}


@styled
def draw_bias(table: pd.DataFrame, aim: float = 0.03) -> Figure:
    """Relative bias of every parameter: a panel an estimator, colour the attack rate, filled for the larger population."""
    return _panels(
        table,
        "bias",
        "Relative bias of the gradient of total infections",
        "bias, % of the true derivative (grey: the aim of ±3 %; linear within ±10 %, then by powers of ten; bars: one standard error)",
        aim,
    )


@styled
def draw_noise(table: pd.DataFrame, aim: float = 0.05) -> Figure:
    """Standard deviation of one run of every parameter, laid out like `draw_bias`."""
    return _panels(
        table,
        "sd",
        "Noise of one run's gradient",
        "standard deviation of one run, % of the true derivative (dashed: the aim of 5 %)",
        aim,
    )


def _panels(table: pd.DataFrame, column: str, title: str, label: str, aim: float) -> Figure:
    run = table[table["runs"] > 0]
    named = list(dict.fromkeys(run["estimator"]))
    names = sorted(named, key=["finite-difference", *VARIANTS, *named].index)
    figure = blank(10.4, 2.0 + 1.55 * (len(names) > 3) + 2.1)
    rows, across = (2, -(-len(names) // 2)) if len(names) > 3 else (1, max(1, len(names)))
    grid = np.atleast_1d(figure.subplots(rows, across, sharex=True, sharey=True)).ravel()
    for axes, name in zip(grid, names, strict=False):
        _panel(axes, run[run["estimator"] == name], column, aim)
        axes.set_title(name)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    grid[0].set_ylim(len(PARAMETERS) - 0.4, -0.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    _legend(figure, run, label)
    return figure


def _panel(axes: Axes, part: pd.DataFrame, column: str, aim: float) -> None:
    sizes, levels = sorted(part["agents"].unique()), list(dict.fromkeys(part["level"]))
    places = [(agents, level) for agents in sizes for level in levels]
    if column == "bias":
        axes.set_xscale("symlog", linthresh=0.1, linscale=1.2)
        axes.set_xticks([-1.0, 0.0, 1.0, 1e2, 1e4])
        axes.axvspan(-aim, aim, color=LIGHT, zorder=0)
        axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
    else:
        axes.set_xscale("log")
        axes.axvline(aim, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
    for row, parameter in enumerate(PARAMETERS):
        for place, (agents, level) in enumerate(places):
            here = part[(part["parameter"] == parameter) & (part["agents"] == agents) & (part["level"] == level)]
            if here.empty:
                continue
            colour, y = _LEVEL_COLOURS.get(level, INK), row + 0.62 * ((place + 0.5) / len(places) - 0.5)
            axes.errorbar(
                here[column],
                [y],
                xerr=here["bias_se"] if column == "bias" else None,
                marker="o",
                markersize=3.4,
                markerfacecolor=colour if agents == sizes[-1] else "white",
                markeredgecolor=colour,
                markeredgewidth=0.8,
                color=colour,
                elinewidth=0.7,
            )
    axes.set_yticks(range(len(PARAMETERS)), list(PARAMETERS))
    axes.xaxis.set_major_formatter(FuncFormatter(_per_cent))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", length=0)


def _per_cent(share: float, position: int | None = None) -> str:
    """Tick labels: whole per cent to 100, then powers of ten, every other one left out so that they do not meet."""
    del position
    value = 100 * share
    if abs(value) <= 100:
        return f"{value:g}"
    power = round(math.log10(abs(value)))
    return "" if power % 2 else f"{'−' if value < 0 else ''}$10^{{{power}}}$"


def _legend(figure: Figure, run: pd.DataFrame, label: str) -> None:
    sizes, axes = sorted(run["agents"].unique()), figure.axes[0]
    handles = []
    for level in dict.fromkeys(run["level"]):
        rate = run.loc[run["level"] == level, "attack_rate"].mean()
        handles.append(
            axes.plot(
                [], [], "o", color=_LEVEL_COLOURS.get(level, INK), markersize=4, label=f"{100 * rate:.0f} % infected"
            )[0]
        )
    for agents in sizes:
        filled = INK if agents == sizes[-1] else "white"
        handles.append(
            axes.plot(
                [], [], "o", markerfacecolor=filled, markeredgecolor=INK, markersize=4, label=f"{agents:,} agents"
            )[0]
        )
    figure.legend(
        handles=handles, title=label, title_fontsize=8.5, loc="outside lower center", ncols=len(handles), columnspacing=1.4,
        handletextpad=0.1,
    )  # fmt: skip


@styled
def draw_memory(memory: pd.DataFrame) -> Figure:
    """Peak memory above population and rates against days: forward and reverse, ours beside the two tapes."""
    figure = blank(7.2, 3.6)
    axes = figure.subplots()
    colours = {"ours": ACCENT, "tape": SECOND, "checkpointed tape": "#7a5195"}
    for method, part in memory.groupby("method", sort=False):
        colour = colours.get(str(method), INK)
        axes.plot(part["days"], part["reverse_mib"], "o-", color=colour, markersize=4, linewidth=1.6)
        axes.plot(
            part["days"], part["forward_mib"], "o:", color=colour, markersize=3, linewidth=1.2, markerfacecolor="white"
        )
        last = part.iloc[-1]
        axes.annotate(
            f"{method}, {max(last['reverse_mib'], last['forward_mib']):,.0f} MiB",
            (last["days"], max(last["reverse_mib"], last["forward_mib"])),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8.5,
        )
    ours = memory[memory["method"] == "ours"]
    axes.plot(ours["days"], ours["result_mib"], color=GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.annotate(
        f"of which incidence and gradient\nthemselves, {ours['result_mib'].iloc[-1]:,.0f} MiB",
        (ours["days"].iloc[-1], ours["result_mib"].iloc[-1]),
        xytext=(8, -9),
        textcoords="offset points",
        color="#6d7379",
        fontsize=8,
        va="top",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=ours["forward_mib"].min() * 0.5)
    days = sorted(memory["days"].unique())
    axes.set_xticks(days, [f"{d:,}" for d in days])
    axes.set_xlim(days[0] * 0.85, days[-1] * 3.2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    axes.set_xlabel("days simulated")
    axes.set_ylabel("peak MiB above population and rates")
    axes.set_title(
        f"Memory of one run of {int(memory['agents'].iloc[0]):,} agents: forward (dotted) and reverse (line)"
    )
    return figure
