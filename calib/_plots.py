"""Plots of a fit, its scores and its sensitivities, drawn from saved numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from calib._style import ACCENT, GREY, INK, LIGHT, SECOND, blank, heading, styled, thousands


def _rows(count: int, least: float = 1.8) -> float:
    """Height of a figure with one line of text a row, inches."""
    return max(least, 0.26 * count + 0.9)


@styled
def plot_elbo(
    step: ArrayLike, elbo: ArrayLike, smoothed: ArrayLike, stop: int | None = None, reason: str = ""
) -> Figure:
    """History of the evidence lower bound.

    Args:
        step: `[step]`.
        elbo: `[step]`, one noisy value a step; NaN where a step was skipped.
        smoothed: `[step]`, the running mean that the stopping rule watches.
        stop: Step at which the fit stopped.
        reason: Why it stopped, a few words.
    """
    x, raw, smooth = (np.asarray(values, dtype=float) for values in (step, elbo, smoothed))
    figure = blank(8.6, 3.2)
    axes = figure.add_subplot()
    axes.plot(x, raw, ".", color=GREY, markersize=2, alpha=0.7, rasterized=True)
    axes.plot(x, smooth, color=ACCENT, linewidth=1.6)
    # the first steps fall off a cliff that would hide the rest: show from the first fifth on
    later = smooth[len(smooth) // 5 :]
    later = later[np.isfinite(later)]
    if later.size:
        low, high = later.min(), later.max()
        noise = np.nanquantile(raw[len(raw) // 5 :], (0.02, 0.98))
        pad = 0.06 * (max(high, noise[1]) - min(low, noise[0]) or 1.0)
        axes.set_ylim(min(low, noise[0]) - pad, max(high, noise[1]) + pad)
    if stop is not None:
        axes.axvline(stop, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        text = f"stopped at step {stop:,}" + (f": {reason}" if reason else "")
        axes.annotate(
            text,
            (stop, 0.06),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    axes.set_xlabel("step of the fit")
    axes.set_ylabel("ELBO (nats)")
    thousands(axes)
    axes.set_title("Evidence lower bound: each step (grey) and its running mean")
    return figure


@styled
def plot_ranking(
    names: Sequence[str],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    top_five: ArrayLike | None = None,
    label: str = "share",
    title: str = "",
) -> Figure:
    """Bars of an index with 95 % intervals, in the order given, the first on top.

    Args:
        names: `[parameter]`, ready to print.
        value: `[parameter]`.
        low: `[parameter]`, lower ends of the intervals.
        high: `[parameter]`, upper ends.
        top_five: `[parameter]`, bootstrap probability of being among the five largest, printed at the right.
        label: Text of the axis.
        title: Title.
    """
    centre, lower, upper = (np.asarray(values, dtype=float) for values in (value, low, high))
    figure = blank(8.6, _rows(len(names)))
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    axes.barh(rows, centre, height=0.62, color=ACCENT, alpha=0.85)
    axes.hlines(rows, lower, upper, color=INK, linewidth=1.1)
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(min(0.0, float(lower.min())), float(upper.max()) * 1.03)
    axes.grid(axis="x", color=LIGHT, linewidth=0.8)
    axes.set_xlabel(label)
    heading(figure, title)
    if top_five is not None:
        for row, probability in zip(rows, np.asarray(top_five), strict=True):
            axes.annotate(
                f"{100 * probability:.0f} %",
                (1.075, row),
                xycoords=("axes fraction", "data"),
                va="center",
                ha="right",
                fontsize=8,
            )
        axes.annotate(
            "in the\ntop five", (1.075, -0.75), xycoords=("axes fraction", "data"), va="bottom", ha="right", fontsize=8
        )
    return figure


@styled
def plot_tornado(
    names: Sequence[str],
    prior: ArrayLike,
    prior_low: ArrayLike,
    prior_high: ArrayLike,
    posterior: ArrayLike,
    unit: str,
    title: str = "",
) -> Figure:
    """Swings of an output in its own unit when a parameter moves from its 5 % to its 95 % point.

    Args:
        names: `[parameter]`, largest first.
        prior: `[parameter]`, swing over the prior's central 90 %.
        prior_low: `[parameter]`, lower ends of its 95 % intervals.
        prior_high: `[parameter]`, upper ends.
        posterior: `[parameter]`, swing over the posterior's central 90 %.
        unit: Unit of the output.
        title: Title.
    """
    wide, lower, upper, narrow = (np.asarray(v, dtype=float) for v in (prior, prior_low, prior_high, posterior))
    figure = blank(8.6, _rows(len(names)) + 0.25)
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    axes.barh(rows, wide, height=0.68, color=LIGHT, edgecolor=GREY, linewidth=0.6, label="over the prior's 90 % range")
    axes.hlines(rows, lower, upper, color=INK, linewidth=1.0, label="95 % interval of that estimate")
    axes.barh(rows, narrow, height=0.34, color=ACCENT, label="over the posterior's 90 % range")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color=LIGHT, linewidth=0.8)
    axes.set_xlabel(f"change of the output, {unit}")
    thousands(axes, "x")
    heading(figure, title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def plot_shares_over_time(
    values: ArrayLike, names: Sequence[str], weeks: Sequence[str], forecast_from: str | None = None, title: str = ""
) -> Figure:
    """Heat map of shares: parameters down, weeks across.

    Args:
        values: `[parameter, week]`, shares of 1; grey where they are NaN.
        names: `[parameter]`.
        weeks: `[week]`, ISO dates.
        forecast_from: First forecast week; a line is drawn before it.
        title: Title.
    """
    shares = np.asarray(values, dtype=float)
    figure = blank(8.6, _rows(len(names), 2.4) + 0.2)
    axes = figure.add_subplot()
    shading = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9cc3dc", ACCENT, "#0b2f47"])
    shading.set_bad("#e4e7ea")
    top = max(float(np.nanmax(shares)), 1e-6)
    image = axes.imshow(shares, aspect="auto", cmap=shading, vmin=0, vmax=top, interpolation="nearest")
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.1:
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if share > 0.5 * top else INK,
            )
    axes.set_yticks(range(len(names)), names)
    labels = [f"{int(week[8:])} {_MONTHS[int(week[5:7]) - 1]}" for week in weeks]
    axes.set_xticks(range(len(weeks)), labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if forecast_from is not None and forecast_from in weeks:
        axes.axvline(list(weeks).index(forecast_from) - 0.5, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01, format=lambda v, _: f"{100 * v:.0f} %")
    bar.outline.set_visible(False)
    heading(figure, title)
    axes.set_xlabel("week ending")
    return figure


@styled
def plot_matrix(values: ArrayLike, rows: Sequence[str], columns: Sequence[str], title: str = "") -> Figure:
    """Heat map of factors above 1, printed as percentages: rows down, columns across.

    Args:
        values: `[row, column]`, at least 1; NaN for nothing to say.
        rows: Names.
        columns: Names.
        title: Title.
    """
    more = np.asarray(values, dtype=float) - 1.0
    figure = blank(8.6, _rows(len(rows), 1.6))
    axes = figure.add_subplot()
    shading = LinearSegmentedColormap.from_list("more", ["#ffffff", "#9cc3dc", ACCENT, "#0b2f47"])
    depth = np.log1p(np.nan_to_num(more.clip(0)))
    top = max(float(depth.max()), 1e-6)
    axes.imshow(depth, aspect="auto", cmap=shading, vmin=0, vmax=top, interpolation="nearest")
    for (row, column), extra in np.ndenumerate(more):
        text = "–" if not np.isfinite(extra) else "0" if extra < 0.005 else f"+{100 * extra:,.0f} %"
        colour = "white" if depth[row, column] > 0.5 * top else INK if extra >= 0.005 else GREY
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    heading(figure, title)
    return figure


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _apart(one: Sequence[float], other: Sequence[float], nearest: float = 0.1) -> tuple[float, float]:
    """Shifts, in points, of labels at the ends of two lines that would lie on one another."""
    gap, height = one[-1] - other[-1], np.nanmax([*one, *other])
    if not abs(gap) < nearest * height:
        return 0.0, 0.0
    shift = 5.0 * (1 - abs(gap) / (nearest * height))
    return (shift, -shift) if gap > 0 else (-shift, shift)


@styled
def plot_scores(scores: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> Figure:
    """For every target: WIS by horizon compared with the baseline's, and coverage of the central 50 % and 95 % intervals.

    Args:
        scores: The content of `scores.json`.
        titles: Printed name of each target, in order.
    """
    targets = [target for target in titles if target in scores]
    figure = blank(8.6, 2.25 * len(targets) + 0.2)
    grid = figure.subplots(len(targets), 2, squeeze=False, width_ratios=(1.25, 1.0))
    for row, target in enumerate(targets):
        table = scores[target]["by_horizon"]
        horizon = [entry["horizon"] for entry in table]

        def column(key: str, table: Sequence[Mapping[str, Any]] = table) -> list[float]:
            return [np.nan if entry[key] is None else entry[key] for entry in table]

        left, right = grid[row]
        lines = (("baseline_wis", GREY, "baseline"), ("wis", ACCENT, "this model"))
        for (key, colour, name), shift in zip(lines, _apart(column("baseline_wis"), column("wis")), strict=True):
            left.plot(horizon, column(key), color=colour, marker="o", markersize=3, linewidth=1.5)
            left.annotate(
                name,
                (horizon[-1], column(key)[-1]),
                xytext=(5, shift),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color="#6b7177" if colour == GREY else colour,
            )
        left.set_ylim(bottom=0)
        left.margins(x=0.02)
        left.set_xlim(right=horizon[-1] + 0.2 * len(horizon))
        left.set_title(f"{titles[target]}: WIS (lower is better)")
        thousands(left)
        for key, nominal, colour in (("coverage_95", 0.95, ACCENT), ("coverage_50", 0.5, SECOND)):
            right.hlines(nominal, horizon[0], horizon[-1], color=colour, linewidth=0.8, linestyle=(0, (4, 3)))
            right.plot(horizon, column(key), color=colour, marker="o", markersize=3, linewidth=1.5)
            right.annotate(
                f"{100 * nominal:.0f} % intervals",
                (horizon[-1], nominal),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=colour,
            )
        right.set_ylim(0, 1.06)
        right.set_xlim(right=horizon[-1] + 0.34 * len(horizon))
        right.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        right.set_title("Share of observations inside the intervals")
        for axes in (left, right):
            axes.grid(axis="y", color=LIGHT, linewidth=0.8)
            axes.set_xticks(horizon)
            if row == len(targets) - 1:
                axes.set_xlabel("weeks ahead")
    return figure


@styled
def plot_rank_path(draws: Sequence[int], ranks: ArrayLike, names: Sequence[str], title: str = "") -> Figure:
    """Ranks of the leading parameters against the number of draws used.

    Args:
        draws: `[step]`.
        ranks: `[step, parameter]`.
        names: `[parameter]`.
        title: Title.
    """
    path = np.asarray(ranks)
    figure = blank(8.6, _rows(len(names), 2.4))
    axes = figure.add_subplot()
    for column, name in enumerate(names):
        axes.plot(draws, path[:, column], color=ACCENT, alpha=0.8, linewidth=1.3, marker="o", markersize=3)
        axes.annotate(
            name, (draws[-1], path[-1, column]), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.invert_yaxis()
    axes.set_xlim(right=draws[-1] * 1.45)
    axes.set_xticks(draws)
    axes.set_xlabel("draws with a Jacobian")
    axes.set_ylabel("rank")
    axes.set_title(title)
    return figure
