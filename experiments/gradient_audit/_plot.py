"""Plots of the audit, from its table of verdicts alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from calib.plotting import ACCENT, GREY, INK, LIGHT, SECOND, blank, styled
from experiments.gradient_audit._assess import TOLERANCE

__all__ = ["plot_comparison", "plot_groups", "plot_worlds"]

_COLOURS = {"removals": ACCENT, "local-score": SECOND}
_MAIN = ("removals", "local-score")


@styled
def plot_groups(table: pd.DataFrame) -> Figure:
    """Bias in Reed-Frost groups against their size: a panel for each reach and parameter, filled where the outside hazard is 0.01."""
    part = table[table["world"].str.startswith("reed-frost") & table["estimator"].isin(_MAIN)].copy()
    part[["n", "reach", "seed"]] = (
        part["world"].str.extract(r"n(\d+)-reach([\d.]+)-seed([\d.]+)").astype(float).to_numpy()
    )
    reaches, parameters = sorted(part["reach"].unique()), list(dict.fromkeys(part["parameter"]))
    figure = blank(9.6, 0.9 + 2.3 * len(parameters))
    grid = figure.subplots(len(parameters), len(reaches), sharex=True, sharey=True, squeeze=False)
    for row, parameter in zip(grid, parameters, strict=True):
        for axes, reach in zip(row, reaches, strict=True):
            _one_group(axes, part[(part["reach"] == reach) & (part["parameter"] == parameter)])
            axes.set_title(f"{parameter}, reach {reach:g}")
        row[0].set_ylabel("bias, % of the truth")
    sizes = sorted(part["n"].unique())
    for axes in grid[-1]:
        axes.set_xlabel("members of a group")
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n:g}" for n in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
    handles = [
        grid[0, 0].plot([], [], "o", color=_COLOURS[x], label=x)[0] for x in _MAIN if x in set(part["estimator"])
    ]
    for seed, fill in ((0.01, INK), (0.001, "white")):
        label = f"outside hazard {seed:g}"
        handles += grid[0, 0].plot([], [], "o", markerfacecolor=fill, markeredgecolor=INK, label=label)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _one_group(axes: Axes, part: pd.DataFrame) -> None:
    axes.axhspan(-TOLERANCE, TOLERANCE, color=LIGHT, zorder=0)
    axes.axhline(0, color=GREY, linewidth=0.7, zorder=0)
    for (estimator, seed), some in part.groupby(["estimator", "seed"]):
        colour, some = _COLOURS[str(estimator)], some.sort_values("n")
        fill, shift = (colour, 0.96) if seed == 0.01 else ("white", 1.04)
        axes.errorbar(
            some["n"] * shift, some["bias"], yerr=2 * some["error"], fmt="o", markersize=4, markerfacecolor=fill,
            markeredgecolor=colour, color=colour, elinewidth=0.8,
        )  # fmt: skip


@styled
def plot_worlds(table: pd.DataFrame) -> Figure:
    """Bias in the other worlds: a row for each world and parameter, of the derivative of the first outcome."""
    part = table[~table["world"].str.startswith("reed-frost") & table["estimator"].isin(_MAIN)]
    part = part[part["outcome"] == "total"]
    labels = list(dict.fromkeys(zip(part["world"], part["parameter"], strict=True)))
    figure = blank(7.6, 1.2 + 0.155 * len(labels))
    axes = figure.subplots()
    axes.axvspan(-TOLERANCE, TOLERANCE, color=LIGHT, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
    for place, name in enumerate(x for x in _MAIN if x in set(part["estimator"])):
        some = part[part["estimator"] == name]
        y = (
            np.array([labels.index(x) for x in zip(some["world"], some["parameter"], strict=True)])
            + 0.26 * place
            - 0.13
        )
        axes.errorbar(
            some["bias"], y, xerr=2 * some["error"], fmt="o", markersize=3, color=_COLOURS[name], elinewidth=0.7,
            label=name,
        )  # fmt: skip
    starts = [i for i, x in enumerate(labels) if i == 0 or labels[i - 1][0] != x[0]]
    for i in starts[1:]:
        axes.axhline(i - 0.5, color=LIGHT, linewidth=0.7, zorder=0)
    axes.set_yticks(range(len(labels)), [x[1] for x in labels], fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    reach = float(np.nanmax(np.minimum(np.abs(part["bias"]) + 10, 110))) if len(part) else 10.0
    axes.set_xlim(-reach, reach)
    for i in starts:
        axes.annotate(
            labels[i][0], (1.01, i), xycoords=("axes fraction", "data"), fontsize=7.5, fontweight="bold", va="center"
        )
    axes.set_xlabel("bias of the gradient of the total, % of the truth; bars: two standard errors")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def plot_comparison(table: pd.DataFrame) -> Figure:
    """Bias, noise of one run and cost of every estimator, a dot for each world and parameter in which the costly ones ran."""
    costly = table[~table["estimator"].isin(_MAIN)]
    part = table[table["world"].isin(costly["world"]) & (table["outcome"] == "total")]
    names = list(dict.fromkeys(part["estimator"]))
    figure = blank(10.0, 1.4 + 0.32 * len(names))
    bias, noise, cost = figure.subplots(1, 3, sharey=True, width_ratios=(1.5, 1.2, 0.9))
    for y, name in enumerate(names):
        some = part[part["estimator"] == name]
        at = y + np.linspace(-0.25, 0.25, len(some))
        dots = {"markersize": 3, "alpha": 0.7, "color": _COLOURS.get(name, INK), "linestyle": "none", "marker": "o"}
        bias.plot(some["bias"], at, **dots)
        noise.plot(some["sd"].where(some["sd"] > 1e-6), at, **dots)
        cost.plot(some["cost"], at, **dots)
    bias.set_xscale("symlog", linthresh=10, linscale=1.2)
    bias.axvspan(-TOLERANCE, TOLERANCE, color=LIGHT, zorder=0)
    bias.set_xticks([-100, -10, 0, 10, 100, 1_000])
    bias.axvline(0, color=GREY, linewidth=0.7, zorder=0)
    noise.set_xscale("log")
    cost.set_xscale("log")
    cost.set_xlim(1, max(2.0, 1.3 * float(part["cost"].max(skipna=True))))
    cost.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axes, label in (
        (bias, "bias, % of the truth"),
        (noise, "sd of one run, % of the truth"),
        (cost, "cost, forward runs"),
    ):
        axes.set_xlabel(label)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        axes.grid(axis="x", color=LIGHT, linewidth=0.6)
    bias.set_yticks(range(len(names)), names)
    bias.tick_params(axis="y", length=0)
    bias.set_ylim(len(names) - 0.4, -0.6)
    return figure


def _tick(value: float, position: int | None = None) -> str:
    """Numbers to 1,000, then powers of ten."""
    del position
    if abs(value) <= 1_000:
        return f"{value:g}"
    return f"{'−' if value < 0 else ''}$10^{{{round(math.log10(abs(value)))}}}$"
