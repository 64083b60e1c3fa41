"""Maps of a number by region: outlines where the study has them, else tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from calib.plotting import GREY, INK, blank, heading, number, styled
from epi.data.geometry import Outlines, tile_grid

__all__ = ["MapPanel", "plot_maps"]


@dataclass(frozen=True, eq=False)
class MapPanel:
    """One map.

    Attributes:
        title: above it.
        value: `[R]`; NaN is drawn grey.
        low: `[R]` lower end of an interval, printed; None for none.
        high: `[R]` upper end.
    """

    title: str
    value: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


@styled
def plot_maps(
    panels: Sequence[MapPanel],
    names: Sequence[str],
    places: NDArray[np.float64],
    outlines: Outlines | None,
    unit: str,
    title: str,
    *,
    centre: float | None = None,
) -> Figure:
    """Small multiples of maps in one scale of colour.

    Args:
        panels: the maps.
        names: of the R regions.
        places: `[R, 2]` latitude and longitude.
        outlines: of the regions, or None for tiles.
        unit: of the values.
        title: of the figure.
        centre: value in white of a scale of two colours; None for a scale of one.
    """
    grid = tile_grid(places)
    rows, columns = (int(grid[:, i].max()) + 1 for i in (0, 1))
    across = min(len(panels), 4)
    down = -(-len(panels) // across)
    wide = 6.2 if across == 1 else 8.8 / across
    figure = blank(8.8 if across > 1 else 6.8, down * wide * min(max(rows / columns, 0.5), 1.6) + 0.8)
    values = np.concatenate([p.value for p in panels])
    scale, colours = _scale(values[np.isfinite(values)], centre)
    size = 8.5 if across == 1 else 5.6
    every = figure.subplots(down, across, squeeze=False).ravel()
    for axes, panel in zip(every, panels, strict=False):
        axes.set_axis_off()
        axes.set_aspect("equal" if outlines is None else 1 / np.cos(np.radians(float(places[:, 0].mean()))))
        axes.set_title(panel.title, fontsize=8.5)
        fill = [colours(scale(v)) if np.isfinite(v) else GREY for v in panel.value]
        text = [_label(n, panel, i, short=across > 1) for i, n in enumerate(names)]
        if outlines is None:
            _tiles(axes, grid, fill, text, size)
        else:
            _areas(axes, outlines, names, fill, text, size)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    drawn = list(every[: len(panels)])
    bar = figure.colorbar(mpl.cm.ScalarMappable(scale, colours), ax=drawn, shrink=0.7, pad=0.02, aspect=30)
    bar.set_label(unit)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if abs(v) >= 1000 else f"{v:g}"))
    bar.outline.set_visible(False)
    heading(figure, title)
    return figure


def _scale(values: NDArray[np.float64], centre: float | None) -> tuple[Normalize, Colormap]:
    """Colours from 0 for a number, or around a centre."""
    top = float(values.max()) if len(values) else 1.0
    if centre is None:
        return Normalize(0.0, top or 1.0), mpl.colormaps["YlGnBu"]
    least = float(values.min()) if len(values) else 0.0
    low, high = min(least, 0.0 if centre > 0 else centre - 0.1), max(top, centre + 0.1)
    return TwoSlopeNorm(centre, low, high), mpl.colormaps["RdBu_r"]


def _label(name: str, panel: MapPanel, i: int, *, short: bool) -> str:
    """Name, value and interval; names of several words on several lines."""
    value = "–" if not np.isfinite(panel.value[i]) else number(float(panel.value[i]))
    text = f"{name.replace(' ', chr(10))}\n{value}"
    if short or panel.low is None or panel.high is None:
        return text
    return f"{text}\n({number(float(panel.low[i]))}–{number(float(panel.high[i]))})"


def _ink(colour: object) -> str:
    """Dark text on light colours and the other way round."""
    red, green, blue = mpl.colors.to_rgb(cast(Any, colour))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _tiles(axes: Axes, grid: NDArray[np.int64], fill: Sequence[object], text: Sequence[str], size: float) -> None:
    for (row, column), colour, label in zip(grid, fill, text, strict=True):
        corner = (column + 0.04, -row - 0.96)
        box = FancyBboxPatch(
            corner, 0.92, 0.92, "round,pad=0,rounding_size=0.06", facecolor=colour, edgecolor="#8a9096", lw=0.6
        )
        axes.add_patch(box)
        axes.text(column + 0.5, -row - 0.5, label, ha="center", va="center", fontsize=size, color=_ink(colour))
    axes.set_xlim(0, int(grid[:, 1].max()) + 1)
    axes.set_ylim(-int(grid[:, 0].max()) - 1, 0)


def _areas(
    axes: Axes, outlines: Outlines, names: Sequence[str], fill: Sequence[object], text: Sequence[str], size: float
) -> None:
    for name, colour, label in zip(names, fill, text, strict=True):
        rings = outlines[name]
        whole = Outline.make_compound_path(*(Outline(ring, closed=True) for ring in rings))
        axes.add_patch(PathPatch(whole, facecolor=colour, edgecolor="white", lw=0.7))
        largest = max(rings, key=_area)
        x, y = ((largest.max(0) + largest.min(0)) / 2).tolist()
        axes.text(x, y, label, ha="center", va="center", fontsize=size, color=_ink(colour))
    axes.autoscale_view()


def _area(ring: NDArray[np.float64]) -> float:
    """Area of a ring by the shoelace formula, square degrees.

    Examples:
        >>> _area(np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]]))
        2.0
    """
    x, y = ring.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
