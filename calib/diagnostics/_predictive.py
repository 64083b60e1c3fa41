"""Posterior predictive p-values: does the fitted model reproduce the data it was fitted to?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calib.diagnostics._verdict import P_THRESHOLD, Array, Verdict, array, percent, same, word_of


@dataclass(frozen=True, eq=False)
class PosteriorPredictive:
    """Data against draws of the posterior predictive.

    Attributes:
        p_values: `[M]` share of the draws below each figure, ties counted half (Gelman, Meng & Stern 1996).
        groups: names of the groups of observations.
        discrepancy: `[group]` share of draws whose chi-square discrepancy `sum ((y - mean) / sd)^2` is at least the data's. Near 0:
            the data lie farther from the mean than the model's own draws do. Near 1: the model is more scattered than the data.
        inside_90: `[group]` share of observations in their central 90 % interval.
        size: `[group]` number of observations.
        draws: number of draws S.
    """

    p_values: Array
    groups: tuple[str, ...]
    discrepancy: Array
    inside_90: Array
    size: Array
    draws: int


def compute_posterior_predictive(
    observed: ArrayLike, posterior_predictive: ArrayLike, groups: Sequence[str] | None = None
) -> PosteriorPredictive:
    """Compare data with data simulated from draws of the posterior, noise included.

    Args:
        observed: `[M]`.
        posterior_predictive: `[S, M]`.
        groups: name of the group of each figure (a stream, a place, a week), M of them; one group of all if None.

    Raises:
        ValueError: shapes differ, an entry is not finite, or fewer than 20 draws.
    """
    data, draws = array("observed", observed, "M"), array("posterior_predictive", posterior_predictive, "S, M")
    same(posterior_predictive=("M", draws.shape[1], data.size))
    labels = np.asarray(["all figures"] * data.size if groups is None else list(groups))
    same(groups=("M", labels.size, data.size))
    if len(draws) < 20:
        raise ValueError(f"posterior_predictive holds {len(draws)} draws; give at least 20, better several hundred.")
    p_values = (draws < data).mean(0) + 0.5 * (draws == data).mean(0)
    mean, sd = draws.mean(0), draws.std(0)
    sd = np.where(sd > 0, sd, np.inf)
    far, far_draws = ((data - mean) / sd) ** 2, ((draws - mean) / sd) ** 2
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    # a figure that every draw gives exactly is reproduced; one that no draw gives is not
    far = far + np.where(np.isinf(sd) & (data != mean), np.inf, 0.0)
    names = tuple(dict.fromkeys(labels.tolist()))
    members = [labels == name for name in names]
    return PosteriorPredictive(
        p_values,
        names,
        np.array([(far_draws[:, m].sum(1) >= far[m].sum()).mean() for m in members]),
        np.array([((low <= data) & (data <= high))[m].mean() for m in members]),
        np.array([m.sum() for m in members], dtype=float),
        len(draws),
    )


def judge_posterior_predictive(found: PosteriorPredictive) -> Verdict:
    """Judge by the smallest discrepancy p over the groups, times their number (Bonferroni).

    Posterior predictive p-values are conservative: the data were used to fit, so a small one means something, and one near 1 is
    what many fitted parameters bring about.
    """
    worst = int(found.discrepancy.argmin())
    p = min(1.0, float(found.discrepancy[worst]) * len(found.groups))
    inside = f"{percent(found.inside_90 @ found.size / found.size.sum())} of the observations lie in their central 90 % interval"
    where = f" ({found.groups[worst]})" if len(found.groups) > 1 else ""
    if word_of(p) == "pass":
        text = f"the data are no farther from the model's mean than its own draws; {inside}"
        return Verdict("posterior_predictive", "pass", p, P_THRESHOLD, text)
    share = float(found.discrepancy[worst])
    than = f"{percent(1 - share, 1)} of its own draws" if share else f"all {found.draws:,} of its own draws"
    text = f"the data{where} lie farther from the model's mean than {than}; {inside}"
    advice = (
        "look at the observations of that group against their intervals: a mechanism or a noise term is missing there"
    )
    return Verdict("posterior_predictive", word_of(p), p, P_THRESHOLD, text, advice)
