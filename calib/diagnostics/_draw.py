"""Plots of the diagnostics, from what was computed alone."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib._importance import Importance
from calib._style import ACCENT, GREY, INK, LIGHT, SECOND, blank, styled
from calib.diagnostics._coverage import Coverage
from calib.diagnostics._local import LocalC2ST
from calib.diagnostics._misspecification import Misspecification, PriorPredictive
from calib.diagnostics._predictive import PosteriorPredictive
from calib.diagnostics._sbc import SBC, AveragedPosterior
from calib.diagnostics._uniform import ecdf, ecdf_band
from calib.diagnostics._verdict import Array, holm, said

TWENTY, FORTY = ([i / n for i in range(n + 1)] for n in (20, 40))
WORST = 3
"""Curves that are drawn in colour and named."""


def _against_null(axes: Axes, null: Array, value: float, label: str, data: str = "the data") -> None:
    """Histogram of a null distribution with the value to be judged."""
    axes.hist(null, bins=min(40, max(10, len(null) // 8)), color=GREY)
    axes.axvline(value, color=SECOND, linewidth=1.8)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the label above the bars
    left, right = axes.get_xlim()
    side = "right" if value > 0.5 * (left + right) else "left"
    axes.annotate(
        data, (value, 0.97), xycoords=("data", "axes fraction"), xytext=(-5 if side == "right" else 5, 0),
        textcoords="offset points", ha=side, va="top", color=SECOND, fontsize=8,
    )  # fmt: skip
    axes.set_xlabel(label)


@styled
def draw_misspecification(found: Misspecification) -> Figure:
    """Distances of the simulations (grey) and of the data (line), a panel a statistic."""
    figure = blank(8.6, 2.5)
    panels = figure.subplots(1, len(found.distances), squeeze=False)[0]
    titles = {
        "mahalanobis": "Mahalanobis distance",
        "nearest": "distance to nearest",
        "mmd": "kernel discrepancy (MMD²)",
    }
    for axes, (name, values) in zip(panels, found.distances.items(), strict=True):
        _against_null(axes, values[:-1], float(values[-1]), titles.get(name, name))
        axes.set_title(said(found.p_values[name]))
    panels[0].set_ylabel("simulations")
    return figure


@styled
def draw_prior_predictive(found: PriorPredictive) -> Figure:
    """Where the observations lie in the prior predictive: flat if the priors' predictions are as wide as the data ask for."""
    figure = blank(8.6, 2.5)
    axes = figure.add_subplot()
    axes.hist(found.tail, TWENTY, color=GREY)
    beyond = found.tail[found.outside > 0]
    if beyond.size:
        axes.hist(beyond, TWENTY, color=SECOND, label=f"{beyond.size} beyond all simulations")
        axes.legend()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of simulations below the figure")
    axes.set_ylabel("figures")
    return figure


@styled
def draw_posterior_predictive(found: PosteriorPredictive) -> Figure:
    """Left: posterior predictive p-values of all observations; right: the discrepancy p of each group."""
    rows = len(found.groups)
    figure = blank(8.6, max(2.5, 0.2 * rows + 1.0))
    left, right = figure.subplots(1, 2)
    left.hist(found.p_values, TWENTY, color=GREY)
    left.set_xlim(0, 1)
    left.set_xlabel("share of posterior predictions below the figure")
    left.set_ylabel("figures")
    at = np.arange(rows)[::-1]
    right.axvspan(0, 0.05, color=LIGHT)
    right.plot(found.discrepancy, at, "o", color=ACCENT, markersize=4)
    bad = found.discrepancy < 0.05
    right.plot(found.discrepancy[bad], at[bad], "o", color=SECOND, markersize=4)
    right.set_xlim(-0.03, 1.03)
    right.set_ylim(-0.7, rows - 0.3)
    right.set_yticks(at, found.groups)
    right.set_xlabel("share of predictions at least as far from the mean")
    return figure


@styled
def draw_weights(found: Importance) -> Figure:
    """Share of the total weight that the largest weights hold: a diagonal if all draws count alike."""
    weights = np.sort(np.exp(found.log_weights))[::-1]
    figure = blank(4.6, 3.0)
    axes = figure.add_subplot()
    share = np.linspace(0, 1, weights.size + 1)
    axes.plot(share, share, color=GREY, linewidth=1)
    axes.plot(share, np.concatenate([[0.0], np.cumsum(weights)]), color=ACCENT, linewidth=1.6)
    axes.set_xlabel("share of the draws, heaviest first")
    axes.set_ylabel("share of the total weight")
    axes.set_title(f"k-hat {found.k_hat:.2f}, {found.effective:,.0f} of {found.draws:,} draws effective")
    return figure


@styled
def draw_sbc(found: SBC) -> Figure:
    """ECDF of each quantity's ranks minus the uniform one, with the simultaneous 95 % band."""
    share, low, high = ecdf_band(len(found.ranks), found.draws)
    figure = blank(8.6, 3.4)
    axes = figure.add_subplot()
    axes.fill_between(share, low - share, high - share, color=LIGHT, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    adjusted = holm(found.ecdf)
    named = [int(i) for i in np.argsort(adjusted, kind="stable")[:WORST] if adjusted[i] < 0.05]
    for i, ranks in enumerate(found.ranks.T):
        if i not in named:
            axes.plot(share, ecdf(ranks, found.draws) - share, color=ACCENT, linewidth=0.7, alpha=0.55)
    for i, style in zip(named, ("-", "--", ":"), strict=False):
        label = f"{found.names[i]}, adjusted {said(float(adjusted[i]))}"
        axes.plot(share, ecdf(found.ranks[:, i], found.draws) - share, style, color=SECOND, linewidth=1.6, label=label)
    if named:
        axes.legend()
    axes.set_xlim(0, 1)
    axes.set_xlabel("rank of the truth among the draws, as a share")
    axes.set_ylabel("ECDF minus uniform")
    inside = (
        "all curves inside the band" if not named else f"{int((adjusted < 0.05).sum())} of {len(found.names)} leave it"
    )
    axes.set_title(f"Ranks of {len(found.names)} quantities over {len(found.ranks)} data sets: {inside}")
    return figure


@styled
def draw_averaged_posterior(found: AveragedPosterior) -> Figure:
    """Left: the classifier's accuracy against exchanged labels; right: shift and width of each parameter."""
    figure = blank(8.6, 2.8)
    left, right = figure.subplots(1, 2)
    _against_null(left, found.null, found.c2st, "share that a classifier separates", "posterior against prior")
    left.set_title(said(found.p_value))
    right.axhline(1, color=GREY, linewidth=0.8)
    right.axvline(0, color=GREY, linewidth=0.8)
    right.plot(found.shift, found.ratio, "o", color=ACCENT, markersize=4)
    far = int((np.abs(found.shift) + np.abs(np.log(np.maximum(found.ratio, 1e-9)))).argmax())
    near = 0.5 * (max(found.shift.max(), 0) + min(found.shift.min(), 0)) < found.shift[far]
    right.annotate(
        found.names[far], (found.shift[far], found.ratio[far]), xytext=(-5 if near else 5, 5), textcoords="offset points",
        fontsize=8, ha="right" if near else "left",
    )  # fmt: skip
    right.margins(0.15)
    right.set_xlabel("shift of the mean, prior standard deviations")
    right.set_ylabel("width relative to the prior")
    return figure


@styled
def draw_coverage(found: Coverage) -> Figure:
    """Covered share against level, with the simultaneous 95 % band of an honest posterior."""
    figure = blank(4.6, 4.0)
    axes = figure.add_subplot()
    axes.fill_between(found.level, found.low, found.high, color=LIGHT, linewidth=0)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    bad = bool(((found.covered < found.low) | (found.covered > found.high)).any())
    axes.plot(found.level, found.covered, color=SECOND if bad else ACCENT, linewidth=1.6)
    axes.set_aspect("equal")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("level of the region")
    axes.set_ylabel("share of data sets whose truth it holds")
    if found.kind == "coverage":
        axes.text(0.97, 0.04, "over-confident", ha="right", color=INK, fontsize=8, transform=axes.transAxes)
        axes.text(0.03, 0.93, "too wide", color=INK, fontsize=8, transform=axes.transAxes)
    title = "Highest-density regions" if found.kind == "coverage" else "Balls around random points (TARP)"
    axes.set_title(f"{title}, {said(found.p_value)}")
    return figure


@styled
def draw_local_c2st(found: LocalC2ST) -> Figure:
    """Left: departure from 1/2 against exchanged pairs; right: what the classifier says of the draws at the data."""
    figure = blank(8.6, 2.8)
    left, right = figure.subplots(1, 2)
    _against_null(left, found.null, found.statistic, "mean squared departure from 1/2", "at the data")
    left.set_title(said(found.p_value))
    right.hist(found.predicted, FORTY, color=GREY)
    right.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    right.set_xlim(0, 1)
    right.set_xlabel("predicted probability of being the truth")
    right.set_ylabel("draws of the posterior")
    return figure
