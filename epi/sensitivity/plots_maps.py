"""Maps over time of what every input of the epidemic does."""

from __future__ import annotations

from itertools import cycle

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, SECOND, blank, heading, styled, thousands
from epi.outputs.former_names import region_axis

COLOURS = (SECOND, ACCENT, "#5a9a5a", "#8a6bb0", "#c08a3e", "#5a8ab0", "#b05a7a")
LESS = 0.1


def _dates(axes: Axes) -> None:
    axes.xaxis.set_major_locator(mdates.MonthLocator())
    axes.xaxis.set_minor_locator(mdates.WeekdayLocator(byweekday=0))
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%-d %b"))


@styled
def venues(data: xr.Dataset) -> Figure:
    """What 10 % less transmission in one venue and week would have changed, by output."""
    count = data.sizes["output"]
    figure = blank(8.6, 2.7 * count + 0.3)
    grid = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    week = pd.to_datetime(data["week"].values) + pd.Timedelta(days=3)
    full = np.arange(len(week)) < data.sizes["day"] // 7  # a week cut short by the end is no week
    for k, axes in enumerate(grid):
        for venue, colour in zip(data["venue"].values, cycle(COLOURS), strict=False):
            middle = -LESS * data["transmission_week"].sel(venue=venue).values[k]
            error = 1.96 * LESS * data["transmission_week_se"].sel(venue=venue).values[k]
            x, y, e = week[full], middle[full], error[full]
            axes.fill_between(x, y - e, y + e, color=colour, alpha=0.18, lw=0)
            axes.plot(x, y, color=colour, lw=1.6, label=venue)
        axes.axhline(0, color=INK, lw=0.7)
        axes.set_title(str(data["output"].values[k]))
        thousands(axes)
        _dates(axes)
    grid[0].legend(ncols=4, loc="upper left", bbox_to_anchor=(0.32, 1.17))
    figure.supylabel("change by 10 % less transmission in the week", fontsize=9)
    return figure


def _norm(values: np.ndarray) -> TwoSlopeNorm:
    # one noisy cell must not wash out the rest
    top = float(np.quantile(np.abs(values), 0.995)) or 1.0
    return TwoSlopeNorm(0.0, -top, top)


@styled
def arrivals(data: xr.Dataset) -> Figure:
    """What one more infection arriving in a region on a day leads to, by output."""
    count = data.sizes["output"]
    figure = blank(8.6, 3.6 * count + 0.3)
    grid = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    start = pd.to_datetime(data["week"].values)
    edges = mdates.date2num([*start, start[-1] + pd.Timedelta(days=7)])
    for k, axes in enumerate(grid):
        z, se = (data[name].values[k].T for name in ("arrival_week", "arrival_week_se"))
        scale = _norm(z[np.abs(z) > 1.96 * se]) if (np.abs(z) > 1.96 * se).any() else _norm(z)
        # cells that chance alone could have made are left blank
        mesh = axes.pcolormesh(
            edges,
            np.arange(len(z) + 1),
            np.where(np.abs(z) > 1.96 * se, z, np.nan),
            cmap="RdBu_r",
            norm=scale,
            rasterized=True,
        )
        axes.set_facecolor("#f4f5f6")
        axes.xaxis_date()
        axes.set_yticks(np.arange(len(z)) + 0.5, data[region_axis(data)].values, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(str(data["output"].values[k]))
        _dates(axes)
        bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=28)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7)
    heading(figure, "What one more infection arriving in a region leads to, by week of arrival")
    return figure


@styled
def kinds(data: xr.Dataset) -> Figure:
    """Elasticities by age: infectiousness by day since infection, susceptibility by doses, mixing of ages; first output."""
    figure = blank(8.6, 3.1)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.35, 0.75, 1.1))
    panels = (
        (left, "infectiousness_age", "since", "infectiousness, day since infection"),
        (middle, "susceptibility", "doses", "susceptibility, doses"),
        (right, "mixing_age", "from_age", "community contacts with age"),
    )
    total = float(np.abs(data["infectiousness_age"].values[0]).sum())
    for axes, name, across, title in panels:
        z = 100 * data[name].values[0] / total
        mesh = axes.imshow(z, cmap="RdBu_r", norm=_norm(z), aspect="auto")
        axes.set_yticks(range(len(z)), data["age"].values if axes is left else [])
        ticks = [str(v) for v in data[across].values]
        axes.set_xticks(range(len(ticks)), ticks, rotation=90 if across == "from_age" else 0, fontsize=7)
        axes.set_title(title, fontsize=8.5)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=22)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7)
    heading(figure, f"{data['output'].values[0]}: elasticities, per cent of the sum over all infectiousness")
    return figure


@styled
def regions(data: xr.Dataset) -> Figure:
    """Mixing of regions with themselves and with others, both outputs, with intervals."""
    count = data.sizes["output"]
    figure = blank(8.6, 4.3)
    grid = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    names = data[region_axis(data)].values
    rows = np.arange(len(names))
    for k, axes in enumerate(grid):
        m, se = data["mixing_region"].values[k], data["mixing_region_se"].values[k]
        own, others = m.diagonal(), m.sum(1) - m.diagonal()
        axes.errorbar(
            own, rows, xerr=1.96 * se.diagonal(), fmt="o", ms=4, color=ACCENT, lw=1.2, label="within the region"
        )
        rest = (se**2).sum(1) - se.diagonal() ** 2
        axes.errorbar(
            others, rows, xerr=1.96 * rest**0.5, fmt="D", ms=3, color=SECOND, lw=1.0, label="with other regions"
        )
        axes.axvline(0, color=GREY, lw=0.8)
        axes.set_title(str(data["output"].values[k]))
        axes.set_xlabel("change by a doubling (linearised)")
        thousands(axes, "x")
    grid[0].set_yticks(rows, names, fontsize=7.5)
    grid[0].invert_yaxis()
    grid[0].legend(loc="upper left", bbox_to_anchor=(0.0, 1.16), ncols=2)
    return figure
