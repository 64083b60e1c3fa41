"""Plots of a search over doses, from its saved data alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from calib.plotting import blank, save_figure, styled
from epi.outputs.former_names import region_axis
from epi.scenarios.allocation.policy_plots import NAMES, cost_figure


@styled
def share_figure(data: xr.Dataset, table: pd.DataFrame) -> Figure:
    """Share of those with two doses who get a third, by region and age, of each policy."""
    axis, order = region_axis(data), ["oldest first", "gradient", "greedy", "cobyla", "evolution"]
    shown = [p for p in order if p in data["policy"].values.astype(str)]
    figure = blank(1.9 + 1.75 * len(shown), 4.8)
    grid = figure.add_gridspec(1, len(shown) + 1, width_ratios=[24] * len(shown) + [1])
    ages = data["eligible"].sum(axis).values > 1000
    bands = data["age"].values.astype(str)[ages]
    for column, name in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        share = np.where(data["eligible"].values >= 1, data["share"].sel(policy=name).values, np.nan)[:, ages]
        image = axes.imshow(share, aspect="auto", cmap="Blues", vmin=0, vmax=float(data["share"].max()))
        axes.set_xticks(range(len(bands)), bands, rotation=90)
        axes.set_yticks(
            range(data.sizes[axis]),
            data[axis].values.astype(str) if column == 0 else [""] * data.sizes[axis],
        )
        averted = float(table[table.policy == name].averted.iloc[0])
        axes.set_title(f"{NAMES[name]}\n{averted:,.0f} averted", fontsize=9)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        if column == 0:
            axes.set_xlabel("age")
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[0, -1]))
    bar.set_label("share of those with two doses who get a third")
    return figure


def draw(folder: Path, data: xr.Dataset, table: pd.DataFrame) -> None:
    """Write `figures/doses.png` and `figures/doses_cost.png`."""
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    save_figure(share_figure(data, table), target / "doses.png")
    save_figure(cost_figure(data, table, ("equal shares", "as given", "oldest first")), target / "doses_cost.png")
