"""Plots of the answers, from the tables alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, LIGHT, SECOND, blank, heading, save_figure, styled, thousands
from epi.scenarios.summary import levels_of

MEASURES = {"infections": "infections", "admissions": "admissions", "deaths": "deaths"}
COLOURS = {"infections": ACCENT, "admissions": SECOND, "deaths": INK}


def short_day(week: str) -> str:
    """`2022-03-06` as `6 Mar`."""
    day = date.fromisoformat(week)
    return f"{day.day} {day:%b}"


@styled
def curve_figure(table: pd.DataFrame, labels: tuple[str, str], place: str, *, country: bool = True) -> Figure:
    """Weekly infections, admissions and deaths of a question's two worlds, medians with 50 and 95 % bands.

    Args:
        table: rows of `_summary.curves` of one question.
        labels: of the reference and of the question's world.
        place: whose curve.
        country: whether the place is all regions together.
    """
    figure = blank(10.2, 2.9)
    for axes, (measure, title) in zip(np.ravel(figure.subplots(1, len(MEASURES))), MEASURES.items(), strict=True):
        for role, colour, label in zip(("reference", "question"), (GREY, ACCENT), labels, strict=True):
            rows = table[(table.world == role) & (table.measure == measure) & (table.place == place)]
            x = np.arange(len(rows))
            axes.fill_between(x, rows.low_95, rows.high_95, color=colour, alpha=0.18, lw=0)
            axes.fill_between(x, rows.low_50, rows.high_50, color=colour, alpha=0.35, lw=0)
            axes.plot(x, rows["median"], color=INK if role == "reference" else colour, lw=1.3, ls="--" if role == "reference" else "-",
                      label=label)  # fmt: skip
        weeks = rows.week.tolist()
        axes.set_xticks(range(0, len(weeks), 4), [short_day(w) for w in weeks[::4]])
        axes.set_ylim(bottom=0)
        thousands(axes)
        axes.set_title(f"{title[0].upper()}{title[1:]} a week" + ("" if country else f", {place}"))
        axes.set_xlabel("week ending")
        if measure == "infections":
            axes.legend(loc="upper right", handlelength=1.8, fontsize=8)
    return figure


@styled
def place_figure(table: pd.DataFrame) -> Figure:
    """Share averted by age and by region, medians with 50 and 95 % intervals.

    Args:
        table: rows of `_summary.averted` of one question.
    """
    figure = blank(10.2, 6.4)
    grid = figure.add_gridspec(2, len(MEASURES), height_ratios=(8, 20))
    for row, level in enumerate(levels_of(table)):
        for column, measure in enumerate(MEASURES):
            axes = figure.add_subplot(grid[row, column])
            rows = table[(table.level == level) & (table.measure == measure)]
            forest(axes, rows, rows.place.tolist(), COLOURS[measure])
            if level != "age":
                _without_one(axes, rows)
            if row == 0:
                axes.set_title(f"{MEASURES[measure][0].upper()}{MEASURES[measure][1:]} averted")
            else:
                axes.set_xlabel("share of the reference's number")
            if column:
                axes.tick_params(labelleft=False)
            elif level == "age":
                axes.set_ylabel("age")
    return figure


@styled
def overview_figure(table: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Share averted in the country by question.

    Args:
        table: rows of `_summary.averted`.
        titles: printed name of each question.
    """
    figure = blank(10.2, 0.9 + 0.42 * len(titles))
    for axes, measure in zip(np.ravel(figure.subplots(1, len(MEASURES), sharey=True)), MEASURES, strict=True):
        rows = table[(table.level == "all") & (table.measure == measure)]
        forest(axes, rows, [titles[q] for q in rows.question], COLOURS[measure])
        axes.set_xlabel(f"{MEASURES[measure]} averted")
        _cut_outliers(axes, rows)
    heading(figure, "What each would have averted (left of zero: caused)")
    return figure


def _cut_outliers(axes: Axes, rows: pd.DataFrame) -> None:
    """End the axis where the answers of the other questions end; what lies further left is printed at the edge."""
    edge = -max(0.25, 1.2 * float(rows.share_high_95.max()))
    for y, row in zip(np.arange(len(rows))[::-1], rows.itertuples(), strict=True):
        if row.share_low_95 < edge:
            text = f"◂ {100 * row.share_median:.0f} % ({100 * row.share_low_95:.0f} to {100 * row.share_high_95:.0f})".replace(
                "-", "−"
            )
            axes.annotate(text, (edge, y), (2, 5), textcoords="offset points", fontsize=7.5, color=INK)
    if rows.share_low_95.min() < edge:
        axes.set_xlim(edge, max(0.05, 1.15 * float(rows.share_high_95.max())))


def _without_one(axes: Axes, rows: pd.DataFrame) -> None:
    """Leave one region's interval cut where it alone would stretch the axis; an arrow says that it goes on."""
    for column, sign, name in (("share_low_95", -1, "left"), ("share_high_95", 1, "right")):
        reach = np.sort(sign * rows[column].to_numpy())
        if len(reach) > 1 and reach[-1] > 1.6 * max(reach[-2], 0.0):
            edge = sign * 1.15 * max(reach[-2], 0.05)
            axes.set_xlim(**{name: edge})
            y = len(rows) - 1 - int(np.argmax(sign * rows[column].to_numpy()))
            axes.annotate(
                "▸" if sign > 0 else "◂",
                (edge, y),
                ha="center",
                va="center",
                fontsize=7,
                color=GREY,
                annotation_clip=False,
            )


def forest(axes: Axes, rows: pd.DataFrame, labels: list[str], colour: str) -> None:
    """A row a place: median, 50 % interval thick, 95 % thin."""
    y = np.arange(len(rows))[::-1]
    axes.axvline(0, color=GREY, lw=0.8)
    axes.hlines(y, rows.share_low_95, rows.share_high_95, color=colour, lw=1.0, alpha=0.7)
    axes.hlines(y, rows.share_low_50, rows.share_high_50, color=colour, lw=3.2, alpha=0.75)
    axes.plot(rows.share_median, y, "o", color=colour, ms=4, mec="white", mew=0.6)
    axes.set_yticks(y, labels)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6) + 0.0:g} %".replace("-", "−"))
    axes.grid(axis="x", color=LIGHT, lw=0.7)


def draw(
    folder: Path,
    averted: pd.DataFrame,
    curves: pd.DataFrame,
    titles: dict[str, str],
    against: dict[str, tuple[str, str]],
) -> dict[str, Path]:
    """Write every figure into `folder/figures/`.

    Args:
        folder: of the answers.
        averted: `_summary.averted`.
        curves: `_summary.curves`.
        titles: printed name of each question.
        against: labels of a question's two worlds.

    Returns:
        Files by name.
    """
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    plots = {"overview": overview_figure(averted, titles)} if len(titles) > 1 else {}
    for name in titles:
        mine = curves[curves.question == name]
        for i, place in enumerate(dict.fromkeys(mine.place)):  # the country first
            key = f"{name}-curves" if not i else f"{name}-curves-{place.lower().replace(' ', '-')}"
            plots[key] = curve_figure(mine, against[name], place, country=not i)
        plots[f"{name}-places"] = place_figure(averted[averted.question == name])
    for key, figure in plots.items():
        save_figure(figure, target / f"{key}.png")
    return {key: target / f"{key}.png" for key in plots}
