"""Plots of the global analysis and of the comparison with other methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, LIGHT, SECOND, blank, heading, styled, thousands
from epi.sensitivity.global_sobol import KEEP, SURE, WIDTH
from epi.study.printed_names import plain_label as label

TOP = 15
FLOOR = 1e-5


@styled
def brackets(table: pd.DataFrame) -> Figure:
    """Share of variance of the largest inputs with interval, between the lower and the upper bound of their Sobol indices."""
    outputs = table["output"].unique()
    figure = blank(8.6, 0.27 * TOP + 1.1)
    grid = figure.subplots(1, len(outputs), squeeze=False)[0]
    for axes, output in zip(grid, outputs, strict=True):
        rows = table[(table["output"] == output) & (table["distribution"] == "prior") & (table["level"] == "input")]
        rows = rows.sort_values("rank").head(TOP)
        y = np.arange(len(rows))
        low, high = rows["first_lower"].clip(lower=0), rows["total_bound"].clip(lower=0)
        axes.hlines(y, low, high, color=LIGHT, lw=7)
        error = np.abs(np.stack([rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]]))
        axes.errorbar(rows["share"], y, xerr=error, fmt="o", ms=4, color=ACCENT, lw=1.3)
        axes.set_yticks(y, [label(n) for n in rows["input"]], fontsize=7.5)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("share of the variance")
        axes.set_title(output)
    return figure


@styled
def groups(table: pd.DataFrame) -> Figure:
    """Shares of all groups of inputs on a log axis: calibrated and screened ones."""
    output = table["output"].iloc[0]
    rows = table[(table["output"] == output) & (table["distribution"] == "prior") & (table["level"] == "group")]
    rows = rows[rows["total_bound"] > FLOOR].sort_values("share", ascending=False)
    figure = blank(8.6, 0.2 * len(rows) + 0.9)
    axes = figure.add_subplot()
    y = np.arange(len(rows))
    beyond = rows["input"].str.contains("day|kind|mixing of").to_numpy()
    colour = np.where(beyond, SECOND, ACCENT)
    share = rows["share"].clip(lower=FLOOR).to_numpy()
    axes.hlines(y, rows["share_low"].clip(lower=FLOOR), rows["share_high"].clip(lower=FLOOR), color=colour, lw=1.4)
    axes.scatter(share, y, c=colour, s=18, zorder=3)
    axes.scatter(rows["total_bound"].clip(lower=FLOOR), y, marker="|", c=INK, s=40, lw=1)
    axes.axvline(KEEP, color=GREY, ls="--", lw=0.8)
    axes.set_xscale("log")
    axes.set_yticks(y, [label(n) for n in rows["input"]], fontsize=7.5)
    axes.invert_yaxis()
    axes.set_xlabel("share of the variance (dot, 95 % interval) and upper bound of the total Sobol index (bar)")
    axes.set_title(output)
    return figure


@styled
def convergence(path: pd.DataFrame) -> Figure:
    """Shares from growing numbers of draws, and what the stopping rule watches."""
    output = path["output"].iloc[0]
    rows = path[path["output"] == output]
    figure = blank(8.6, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    shares = rows.pivot(index="draws", columns="input", values="share")
    order = shares.iloc[-1].sort_values(ascending=False).index
    for k, name in enumerate(order):
        left.plot(
            shares.index, shares[name], color=ACCENT if k < 5 else GREY, lw=1.4 if k < 5 else 0.9, marker="o", ms=2.5
        )
    last = shares.iloc[-1]
    gap, at = 0.055 * float(shares.to_numpy().max()), np.inf
    for name in order[:5]:
        at = min(float(last[name]), at - gap)
        left.annotate(
            label(name), (shares.index[-1], at), xytext=(5, 0), textcoords="offset points", fontsize=7, va="center"
        )
    left.set_xlim(right=shares.index[-1] * 1.55)
    left.set_xlabel("draws (three gradients each)")
    left.set_title(f"share of the variance: {output}", fontsize=8.5)
    rule = rows.drop_duplicates("draws")
    right.plot(
        rule["draws"], rule["width"], color=ACCENT, marker="o", ms=3, label="half interval of the least sure share"
    )
    right.axhline(WIDTH, color=ACCENT, ls=":", lw=1)
    right.plot(
        rule["draws"], rule["top_five"], color=SECOND, marker="o", ms=3, label="probability that the first five hold"
    )
    right.axhline(SURE, color=SECOND, ls=":", lw=1)
    right.set_ylim(0, 1.28)
    right.set_yticks(np.arange(0, 1.01, 0.25))
    right.legend(loc="upper left", fontsize=7.5)
    right.set_xlabel("draws")
    right.set_title("stopping rule (dotted)", fontsize=8.5)
    return figure


@styled
def methods(table: pd.DataFrame) -> Figure:
    """Agreement of each method with the reference ranking, its price beside it."""
    rows = table[table["output"] == table["output"].iloc[0]]
    rows = rows[rows["rank_correlation"].notna() & ~rows["method"].str.contains("upper bound")]
    rows = rows.sort_values("rank_correlation", kind="stable").reset_index(drop=True)
    figure = blank(8.6, 0.27 * len(rows) + 1.0)
    axes = figure.add_subplot()
    ours = rows["method"].str.contains("project|no simulation").to_numpy()
    at = range(len(rows))
    axes.axvline(0.9, color=LIGHT, lw=1)
    for felt, marker, meaning in ((False, "o", "all parameters"), (True, "d", "those the reference can tell from 0")):
        x = rows["rank_correlation_felt" if felt else "rank_correlation"]
        axes.scatter(
            x, at, s=16 if felt else 42, marker=marker, color=np.where(ours, ACCENT, GREY), zorder=3, label=meaning,
            facecolor="none" if felt else None,
        )  # fmt: skip
    axes.set_yticks(at, rows["method"])
    for tick, mine in zip(axes.get_yticklabels(), ours, strict=True):
        tick.set_fontweight("bold" if mine else "normal")
    for y, row in zip(at, rows.itertuples(), strict=True):
        text = f"{int(row.runs):,} {'gradients' if row.gradients else 'runs'}"
        axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), fontsize=7.5, va="center")
        axes.text(1.175, y, f"{row.top_five}", transform=axes.get_yaxis_transform(), fontsize=7.5, va="center")
    for x, head in ((1.02, "price"), (1.175, "of 5")):
        axes.text(x, len(rows) - 0.3, head, transform=axes.get_yaxis_transform(), fontsize=7.5, fontweight="bold")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("rank correlation with the reference")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.99), ncols=2, fontsize=7.5)
    heading(figure, f"{table['output'].iloc[0]}: agreement and price")
    return figure


@styled
def agreement(dear: pd.DataFrame, wide: pd.DataFrame) -> Figure:
    """Shares from gradients against total Sobol indices from sampling, site by site."""
    outputs = [o for o in wide["output"].unique() if o in set(dear["output"])]
    figure = blank(8.6, 3.9)
    grid = figure.subplots(1, len(outputs), squeeze=False)[0]
    for axes, output in zip(grid, outputs, strict=True):
        ours = wide[
            (wide["output"] == output) & (wide["distribution"] == "prior") & (wide["level"] == "group")
        ].set_index("input")
        theirs = dear[dear["output"] == output].set_index("input")
        names = [
            n for n in theirs.index if n in ours.index and (ours.loc[n, "share"] != 0 or theirs.loc[n, "total"] != 0)
        ]
        x, y = theirs.loc[names, "total"].clip(lower=1e-4), ours.loc[names, "share"].clip(lower=1e-4)
        for n in names:
            axes.plot(theirs.loc[n, ["total_low", "total_high"]].clip(lower=1e-4), [y[n]] * 2, color=GREY, lw=0.8)
            axes.plot([x[n]] * 2, ours.loc[n, ["share_low", "share_high"]].clip(lower=1e-4), color=GREY, lw=0.8)
        axes.scatter(x, y, s=18, color=ACCENT, zorder=3)
        axes.plot([1e-4, 1], [1e-4, 1], color=INK, lw=0.7, ls="--")
        top = ours.loc[names, "share"].sort_values(ascending=False).index[:6]
        for k, n in enumerate(top):  # names in a column at the free upper left, each with a line to its dot
            axes.annotate(
                label(n),
                (x[n], y[n]),
                xytext=(1.3e-4, 0.8 * 0.55**k),
                fontsize=7,
                va="center",
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": GREY},
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(1e-4, 1.2)
        axes.set_ylim(1e-4, 1.2)
        axes.set_xlabel("total Sobol index, sampling")
        axes.set_title(output)
    grid[0].set_ylabel("share of the variance, gradients")
    return figure


@styled
def checked(table: pd.DataFrame) -> Figure:
    """Gradients compared with differences with common random numbers."""
    kinds = list(table["kind"].unique())
    figure = blank(8.6, 3.4)
    grid = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, kind in zip(grid, kinds, strict=True):
        rows = table[table["kind"] == kind]
        y = np.arange(len(rows))
        for shift, key, colour, name in (
            (-0.13, "gradient", ACCENT, "gradient"),
            (0.13, "difference", SECOND, "difference"),
        ):
            axes.errorbar(
                rows[key], y + shift, xerr=1.96 * rows[f"{key}_se"], fmt="o", ms=3.5, lw=1.2, color=colour, label=name
            )
        axes.axvline(0, color=GREY, lw=0.8)
        axes.set_yticks(y, [label(str(n)) for n in rows["input"]], fontsize=7)
        axes.invert_yaxis()
        axes.set_title(kind, fontsize=8.5)
        thousands(axes, "x")
    grid[0].legend(loc="best")
    heading(figure, f"{table['output'].iloc[0]}: derivatives by gradient and by differences, 95 % intervals")
    return figure
