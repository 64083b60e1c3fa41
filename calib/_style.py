"""One look for every figure: quiet axes, one accent, grey for what was known before, black for data."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib as mpl
import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from calib._atomic import atomic_path

ACCENT = "#1c6391"
SECOND = "#c8642a"
GREY = "#a3a8ad"
LIGHT = "#e4e6e8"
INK = "#22262a"

_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a9096",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the common style without touching the global one."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_RC):
            figure = draw(*args, **kwargs)
            FigureCanvasAgg(figure)
            return figure

    return wrapper


def blank(width: float, height: float) -> Figure:
    """An empty figure, inches, outside pyplot's global list."""
    return Figure(figsize=(width, height), layout="constrained")


def heading(figure: Figure, title: str) -> None:
    """A title from the figure's left edge, for axes whose own left edge lies far in, behind long row labels."""
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 140) -> None:
    """Write a figure as PNG, atomically; the same figure gives the same bytes."""
    with mpl.rc_context(_RC), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", metadata={"Software": None})


def number(value: float) -> str:
    """Three significant digits, thousands separated by a comma, no exponent for what people count."""
    if value == 0 or value != value:
        return "0" if value == 0 else "–"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 1e-3:
        decimals = 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.01 else 4
        return f"{value:.{decimals}f}"
    return f"{value:.1e}"


def interval(middle: float, low: float, high: float) -> str:
    """`0.14 (0.07 to 0.21)`: as many decimals as two digits of the interval's width need."""
    width = abs(high - low)
    if not 1e-6 < width < float("inf"):
        return f"{number(middle)} ({number(low)} to {number(high)})"
    decimals = max(0, 1 - math.floor(math.log10(width)))
    a, b, c = (f"{round(v, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for v in (middle, low, high))
    return f"{a} ({b} to {c})"


def months(axes: Axes) -> None:
    """Ticks at the first days of months, the year under the first tick and under each January."""
    axes.xaxis.set_major_locator(mdates.MonthLocator())

    def label(value: float, position: int | None = None) -> str:
        day = mdates.num2date(value)
        return f"{day:%b}\n{day.year}" if position == 0 or day.month == 1 else f"{day:%b}"

    axes.xaxis.set_major_formatter(FuncFormatter(label))


def watermark(figure: Figure, text: str) -> None:
    """Write a text across a figure, as on a plot that must not be used as a result."""
    figure.text(
        0.5,
        0.5,
        text,
        rotation=25,
        ha="center",
        va="center",
        fontsize=30,
        color="#a3161a",
        alpha=0.22,
        zorder=100,
        fontweight="bold",
    )


def thousands(axes: Axes, axis: str = "y") -> None:
    """Tick labels as 2M, 12k, 1.5k, 300."""

    def label(value: float, position: int | None = None) -> str:
        del position
        size = abs(value)
        return f"{value / 1e6:g}M" if size >= 1e6 else f"{value / 1e3:g}k" if size >= 1e3 else f"{value:g}"

    getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(label))
