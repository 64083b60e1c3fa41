"""The gallery as one picture: errors of every run, coloured by what its verdict said."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.calibration_gallery._run import MEAN_OFF, SD_OFF

COLOURS = {"good": "#1b7837", "usable": "#5aae61", "unfinished": "#e08214", "poor": "#b2182b"}


def plot(rows: pd.DataFrame, file: Path) -> None:
    """Write the picture: one column a problem, points are runs of "auto"; the grey band holds right posteriors."""
    some = rows[(rows["method"] == "auto") & (rows["state"] != "error")]
    names = list(dict.fromkeys(some["problem"]))
    place = {name: i for i, name in enumerate(names)}
    figure, axes = plt.subplots(2, 1, figsize=(max(8, 0.3 * len(names)), 6.4), sharex=True, constrained_layout=True)
    for state, colour in COLOURS.items():
        of = some[some["state"] == state]
        x = of["problem"].map(place) + 0.12 * (of["seed"] - 2)
        axes[0].scatter(x, of["mean_error"].clip(0.005, 50), s=22, color=colour, label=f"{state} ({len(of)})", zorder=3)
        axes[1].scatter(x, of["sd_ratio"].clip(0.05, 20), s=22, color=colour, zorder=3)
    axes[0].axhspan(0.004, MEAN_OFF, color="#eeeeee", zorder=0)
    axes[1].axhspan(1 / SD_OFF, SD_OFF, color="#eeeeee", zorder=0)
    axes[0].set(yscale="log", ylim=(0.004, 60), ylabel="largest error of a mean\n(reference sds)")
    axes[1].set(yscale="log", ylim=(0.045, 22), ylabel="sd over reference sd\n(farthest from 1)")
    axes[1].set_xticks(np.arange(len(names)), [n.replace("_", " ") for n in names], rotation=60, ha="right", fontsize=8)
    axes[0].legend(title="verdict (runs)", ncols=4, fontsize=8, title_fontsize=8, loc="upper left")
    axes[0].set_title(
        'Known posteriors: errors of `calibrate(method="auto")`; the grey band holds right answers', fontsize=10
    )
    for a in axes:
        a.grid(axis="y", color="#dddddd", linewidth=0.5)
        a.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
    plt.close(figure)
