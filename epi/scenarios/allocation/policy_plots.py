"""Plots of a policy search, from its saved data alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from calib.plotting import ACCENT, GREY, INK, SECOND, blank, save_figure, styled, thousands
from epi.scenarios.plots import short_day

NAMES = {
    "nothing": "no policy",
    "equal shares": "equal shares",
    "as given": "by age as given later",
    "oldest first": "oldest first",
    "gradient": "projected gradient",
    "greedy": "greedy",
    "cobyla": "COBYLA",
    "evolution": "differential evolution",
}
COLOURS = {
    "nothing": GREY,
    "equal shares": INK,
    "as given": GREY,
    "oldest first": "#a3762b",
    "gradient": ACCENT,
    "greedy": SECOND,
    "cobyla": "#6a8f3a",
    "evolution": "#8a5a9e",
}


@styled
def stringency_figure(data: xr.Dataset) -> Figure:
    """Stringency by week and layer of each policy, and its admissions by week."""
    shown = [p for p in data["policy"].values.astype(str) if p not in ("nothing", "equal shares")]
    figure = blank(9.2, 1.0 + 0.95 * len(shown) + 2.4)
    grid = figure.add_gridspec(len(shown) + 1, 2, height_ratios=[1] * len(shown) + [2.6], width_ratios=(60, 1))
    highest = float(data["stringency"].max())
    for row, name in enumerate(shown):
        axes = figure.add_subplot(grid[row, 0])
        image = axes.imshow(
            data["stringency"].sel(policy=name).values.T, aspect="auto", cmap="Blues", vmin=0, vmax=highest
        )
        axes.set_yticks(range(data.sizes["layer"]), data["layer"].values.astype(str))
        mondays = data["monday"].values.astype(str)
        last = row == len(shown) - 1
        axes.set_xticks(range(len(mondays)), [short_day(m) for m in mondays] if last else [""] * len(mondays))
        axes.set_title(NAMES[name])
        if last:
            axes.set_xlabel("week from Monday")
        for side in axes.spines.values():
            side.set_visible(False)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[: len(shown), 1]))
    bar.set_label("share taken")
    axes = figure.add_subplot(grid[len(shown), 0])
    weeks = data["week"].values.astype(str)
    for name in ("nothing", "equal shares", "gradient"):
        mean = data["admissions"].sel(policy=name).mean("draw").values
        axes.plot(mean, color=COLOURS[name], lw=1.5, label=NAMES[name], ls="--" if name == "nothing" else "-")
    axes.set_xticks(range(0, len(weeks), 4), [short_day(w) for w in weeks[::4]])
    axes.set_ylim(bottom=0)
    axes.set_title("Expected admissions a week")
    axes.set_xlabel("week ending")
    axes.legend(loc="upper right")
    return figure


@styled
def cost_figure(data: xr.Dataset, table: pd.DataFrame, simple: Sequence[str] = ("equal shares",)) -> Figure:
    """Expected admissions of the best policy so far against simulations spent; policies without a search as lines."""
    figure = blank(7.2, 3.6)
    axes = figure.add_subplot()
    for name in data["policy"].values.astype(str):
        mine = data["curve_policy"].values.astype(str) == name
        if not mine.any():
            continue
        x, y = (data[f"curve_{key}"].values[mine] for key in ("simulations", "admissions"))
        order = np.argsort(x)
        axes.plot(x[order], y[order], "o-", color=COLOURS[name], ms=3.5, lw=1.4, label=NAMES[name])
    for name in simple:
        row = table[table.policy == name].iloc[0]
        axes.axhline(row.admissions, color=COLOURS[name], lw=0.9, ls=":", label=NAMES[name])
    axes.set_xlabel("simulations (one with its gradient counts as three)")
    axes.set_ylabel(f"expected {data.attrs.get('target', 'admissions')}")
    axes.set_title("What a search finds for what it costs, judged on unseen draws and seeds")
    thousands(axes, "x")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(loc="best")
    return figure


def draw(folder: Path, data: xr.Dataset, table: pd.DataFrame) -> None:
    """Write `figures/policy.png` and `figures/policy_cost.png`."""
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    save_figure(stringency_figure(data), target / "policy.png")
    save_figure(cost_figure(data, table), target / "policy_cost.png")
