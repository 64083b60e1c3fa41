"""Plots of parameters and of predictions, drawn from saved draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import gaussian_kde

from calib._style import ACCENT, GREY, INK, LIGHT, SECOND, blank, heading, interval, months, styled, thousands


@styled
def plot_pairs(draws: ArrayLike, names: Sequence[str], prior: ArrayLike | None = None, title: str = "") -> Figure:
    """Joint posterior of a few parameters: pairs below the diagonal, each alone on it with its prior.

    Args:
        draws: `[draw, parameter]`.
        names: `[parameter]`, ready to print; up to about 7.
        prior: `[draw, parameter]`, drawn as a grey line on the diagonal.
        title: Title.
    """
    values = np.asarray(draws, dtype=float)
    count = values.shape[1]
    correlation = np.corrcoef(values, rowvar=False).reshape(count, count)
    figure = blank(8.6, 8.6 if count > 4 else 6.5)
    grid = figure.subplots(count, count, squeeze=False)
    ends = np.quantile(values, (0.002, 0.998), axis=0)
    thin = values[:: max(1, len(values) // 1500)]
    for row in range(count):
        for column in range(count):
            axes: Axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                axes.text(
                    0.5,
                    0.5,
                    f"{correlation[row, column]:+.2f}".replace("-", "−"),
                    transform=axes.transAxes,
                    ha="center",
                    va="center",
                    fontsize=8 + 5 * abs(correlation[row, column]),
                    color=INK if abs(correlation[row, column]) > 0.3 else GREY,
                )
                continue
            axes.set_xlim(*ends[:, column])
            if row == column:
                bins = np.linspace(
                    float(ends[0, column]), float(ends[1, column]), 1 + min(22, max(6, int(len(values) ** 0.5)))
                )
                axes.hist(values[:, column], bins=bins.tolist(), density=True, color=ACCENT, alpha=0.85)
                if prior is not None:
                    before = np.asarray(prior, dtype=float)[:, column]
                    # smoothed: a run keeps few draws of the prior
                    grid_points = np.linspace(bins[0], bins[-1], 80)
                    axes.plot(grid_points, gaussian_kde(before)(grid_points), color="#6b7177", linewidth=1.1)
                axes.set_yticks([])
                axes.spines["left"].set_visible(False)
            else:
                axes.plot(
                    thin[:, column],
                    thin[:, row],
                    ".",
                    markersize=3.2 if len(thin) > 200 else 6.0,
                    color=ACCENT,
                    alpha=0.4,
                    markeredgewidth=0,
                )
                axes.set_ylim(*ends[:, row])
            axes.locator_params(nbins=3)
            axes.tick_params(labelbottom=row == count - 1, labelleft=column == 0 and row > 0)
            if row == count - 1:
                axes.set_xlabel(_wrap(names[column]), fontsize=8)
            if column == 0 and row > 0:
                axes.set_ylabel(_wrap(names[row]), fontsize=8)
    heading(figure, title)
    return figure


def _wrap(text: str, width: int = 18) -> str:
    """Break a label into lines at spaces."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


@styled
def plot_forest(
    posterior: ArrayLike,
    prior: ArrayLike,
    names: Sequence[str],
    units: Sequence[str] | None = None,
    title: str = "",
    truth: ArrayLike | None = None,
) -> Figure:
    """Posterior compared with prior intervals, one parameter a row, each on the scale of its own prior.

    The grey bar is the prior's central 90 %, drawn from 0 to 1; the blue line is the posterior's central 90 % (thin)
    and 50 % (thick) on the same linear scale (an arrow where
    they leave it), with its median and 90 % interval in numbers at the right.

    Args:
        posterior: `[draw, parameter]`.
        prior: `[3, parameter]`, the prior's 5 %, 50 % and 95 % points.
        names: `[parameter]`, ready to print.
        units: `[parameter]`.
        title: Title.
        truth: `[parameter]`, the values that simulated data were made with; NaN where unknown.
    """
    after = np.asarray(posterior, dtype=float)
    low, centre, high = np.asarray(prior, dtype=float)
    width = np.where(high > low, high - low, 1.0)
    q = np.quantile(after, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    scaled = (q - low) / width
    rows = np.arange(len(names))
    figure = blank(8.6, 0.265 * len(names) + 1.15)
    axes = figure.add_subplot()
    axes.barh(rows, 1.0, height=0.72, color=LIGHT)
    middle = (centre - low) / width
    axes.vlines(middle, rows - 0.36, rows + 0.36, color="white", linewidth=1.4)
    axes.hlines(rows, scaled[0], scaled[4], color=ACCENT, linewidth=1.3)
    axes.hlines(rows, scaled[1], scaled[3], color=ACCENT, linewidth=4.5)
    axes.plot(scaled[2], rows, "o", color="white", markeredgecolor=ACCENT, markersize=4.5)
    if truth is not None:
        known = (np.asarray(truth, dtype=float) - low) / width
        axes.plot(np.clip(known, -0.34, 1.34), rows, "D", color=SECOND, markersize=4.5)
    for beyond, at, marker in ((scaled[2] > 1.34, 1.32, ">"), (scaled[2] < -0.34, -0.32, "<")):
        axes.plot(np.full(beyond.sum(), at), rows[beyond], marker, color=ACCENT, markersize=7)
    axes.set_xlim(-0.35, 1.35)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(rows, names)
    axes.set_xticks([0, 1], ["prior 5 %", "prior 95 %"])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for row in range(len(names)):
        unit = f" {units[row]}" if units is not None and units[row] else ""
        text = interval(q[2, row], q[0, row], q[4, row]) + unit
        axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.annotate(
        "posterior median (90 %)",
        (1.02, -0.75),
        xycoords=("axes fraction", "data"),
        va="bottom",
        fontsize=8,
        color="#6b7177",
    )
    heading(figure, title)
    return figure


@styled
def plot_shrinkage(groups: Sequence[tuple[str, ArrayLike]], title: str = "") -> Figure:
    """How much narrower each parameter became: 1 - (posterior interquartile range / prior's).

    Args:
        groups: `(name, [element])` for each parameter; vectors give one dot an element on one row.
        title: Title.
    """
    figure = blank(8.6, 0.265 * len(groups) + 1.0)
    axes = figure.add_subplot()
    axes.axvline(0, color=INK, linewidth=0.8)
    for row, (_, values) in enumerate(groups):
        dots = np.atleast_1d(np.asarray(values, dtype=float))
        axes.plot([0, float(np.median(dots))], [row, row], color=LIGHT, linewidth=5, solid_capstyle="butt", zorder=1)
        axes.plot(np.maximum(dots, -0.3), np.full(dots.size, row), "o", color=ACCENT, markersize=4, alpha=0.65)
    axes.set_yticks(range(len(groups)), [name for name, _ in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    lowest = min(0.0, *(float(np.min(values)) for _, values in groups))
    axes.set_xlim(max(-0.3, lowest) - 0.03, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["as wide as\nthe prior", "25 %", "50 %", "75 %", "known\nexactly"])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LIGHT, linewidth=0.8)
    heading(figure, title)
    return figure


@dataclass(frozen=True)
class Panel:
    """One curve of a grid of fans.

    Attributes:
        title: Name of the place, age band, ...
        draws: `[draw, week]`, predictive draws.
        observed: `[week]`, NaN where there is no figure; None for a quantity nobody counted.
        in_likelihood: `[week]`, weeks that the fit saw, where they are not those of the whole figure.
    """

    title: str
    draws: ArrayLike
    observed: ArrayLike | None = field(default=None)
    in_likelihood: ArrayLike | None = field(default=None)


def _fan(axes: Axes, weeks: NDArray[Any], panel: Panel, fitted: NDArray[np.bool_], masked: NDArray[np.bool_]) -> None:
    q = np.quantile(np.asarray(panel.draws, dtype=float), (0.025, 0.25, 0.5, 0.75, 0.975), axis=0)
    axes.fill_between(weeks, q[0], q[4], color=ACCENT, alpha=0.18, linewidth=0)
    axes.fill_between(weeks, q[1], q[3], color=ACCENT, alpha=0.38, linewidth=0)
    axes.plot(weeks, q[2], color=ACCENT, linewidth=1.3)
    top = float(q[4].max())
    if panel.observed is not None:
        y = np.asarray(panel.observed, dtype=float)
        shown = fitted & ~masked
        axes.plot(weeks[shown], y[shown], "o", color=INK, markersize=3.2)
        later = ~fitted & ~masked
        axes.plot(
            weeks[later],
            y[later],
            "o",
            markerfacecolor="white",
            markeredgecolor=INK,
            markersize=3.4,
            markeredgewidth=0.9,
        )
        axes.plot(weeks[masked], y[masked], "x", color=SECOND, markersize=4.5, markeredgewidth=1.2)
        known = y[np.isfinite(y)]
        highest = float(known.max()) if known.size else 0.0
        # one very wide interval must not flatten the data: bands may leave the panel
        top = min(top, max(3.0 * highest, float(q[3].max()) * 1.1)) if known.size else top
        top = max(top, highest)
    axes.set_ylim(0, top * 1.08 if top > 0 else 1.0)


@styled
def plot_fans(
    weeks: Sequence[str],
    panels: Sequence[Panel],
    fitted: ArrayLike,
    masked: ArrayLike,
    columns: int = 4,
    title: str = "",
    height: float = 1.75,
) -> Figure:
    """Small multiples: median, 50 % and 95 % bands, the observations, the forecast date, the week that was masked.

    Args:
        weeks: `[week]`, ISO dates on which weeks end.
        panels: One a place.
        fitted: `[week]`, true for weeks that the fit saw.
        masked: `[week]`, true for weeks inside the fit's span whose observations it did not use.
        columns: Panels a row.
        title: Title.
        height: Inches a row.
    """
    dates = np.asarray([np.datetime64(week) for week in weeks])
    in_likelihood, hidden = np.asarray(fitted, dtype=bool), np.asarray(masked, dtype=bool)
    rows = -(-len(panels) // columns)
    figure = blank(8.6, height * rows + 0.75)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    last = (
        dates[in_likelihood].max() + np.timedelta64(84, "h")
        if in_likelihood.any() and not in_likelihood.all()
        else None
    )
    for index, axes in enumerate(grid.ravel()):
        if index >= len(panels):
            axes.set_axis_off()
            continue
        own = panels[index].in_likelihood
        if own is None:
            _fan(axes, dates, panels[index], in_likelihood & ~hidden, hidden)
        else:
            _fan(axes, dates, panels[index], np.asarray(own, dtype=bool), np.zeros_like(hidden))
        if last is not None:
            axes.axvline(last, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.set_title(panels[index].title, fontsize=8.5)
        axes.locator_params(axis="y", nbins=4)
        thousands(axes)
        months(axes)
        axes.tick_params(axis="x", labelbottom=index + columns >= len(panels))
    marker: dict[str, Any] = {"color": "none", "marker": "o", "linestyle": "none"}
    handles: list[Any] = [
        Line2D([], [], **marker, markerfacecolor=INK, markeredgecolor=INK, markersize=4, label="reported, used"),
        Line2D([], [], **marker, markerfacecolor="white", markeredgecolor=INK, markersize=4, label="reported later"),
    ]
    if all(panel.observed is None for panel in panels):
        handles = []
    elif hidden.any():
        handles.append(
            Line2D([], [], color=SECOND, marker="x", linestyle="none", markersize=5, label="reported, excluded")
        )
    handles += [
        Line2D([], [], color=ACCENT, label="median"),
        Patch(color=ACCENT, alpha=0.5, label="50 %"),
        Patch(color=ACCENT, alpha=0.18, label="95 %"),
    ]
    if last is not None:
        handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label="forecast starts"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2)
    heading(figure, title)
    return figure
