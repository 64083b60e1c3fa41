"""Local C2ST: is the posterior right at the observed data?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calib.diagnostics._classifier import leave_one_out, standardise
from calib.diagnostics._sbc import MOST_ROWS, pair
from calib.diagnostics._verdict import P_THRESHOLD, Array, Verdict, array, said, same, word_of


@dataclass(frozen=True, eq=False)
class LocalC2ST:
    """A classifier's departure from one half at the observed data.

    Attributes:
        statistic: mean squared departure of the predicted probability from 1/2 over draws of q at the data.
        null: `[null]` the same for classifiers whose pairs were exchanged at random.
        p_value: share of statistics at least as large.
        predicted: `[S]` predicted probability of "truth" at the draws: where it is far from 1/2, q is wrong.
        pairs: number of pairs N.
    """

    statistic: float
    null: Array
    p_value: float
    predicted: Array
    pairs: int


def compute_local_c2st(
    thetas: ArrayLike,
    xs: ArrayLike,
    samples: ArrayLike,
    observed: ArrayLike,
    posterior: ArrayLike,
    *,
    null: int = 100,
    seed: int = 0,
) -> LocalC2ST:
    """Learn to tell `(theta_i, x_i)` from `(draw of q at x_i, x_i)`, then ask at the observed data (Linhart et al. 2023, NeurIPS).

    The classifier is kernel ridge regression, in closed form for all exchanges at once; it learns from the first 2,000 pairs.

    Args:
        thetas: `[N, D]` draws of the prior.
        xs: `[N, M]` data or summaries simulated from them.
        samples: `[N, S, D]` draws of q at each; the first is used.
        observed: `[M]`.
        posterior: `[S, D]` draws of q at the observed data.
        null: classifiers trained on pairs exchanged at random, exact under the hypothesis that q is right.
        seed: of the exchanges.
    """
    truth, draws = pair(thetas, samples)
    data, at, local = array("xs", xs, "N, M"), array("observed", observed, "M"), array("posterior", posterior, "S, D")
    same(
        xs=("N", len(data), len(truth)),
        observed=("M", at.size, data.shape[1]),
        posterior=("D", local.shape[1], truth.shape[1]),
    )
    count = min(len(truth), 2 * MOST_ROWS)
    rows = np.vstack([np.hstack([t[:count], data[:count]]) for t in (truth, draws[:, 0])])
    mean, sd = standardise(rows)
    ask = (np.hstack([local, np.tile(at, (len(local), 1))]) - mean) / sd
    first = np.where(np.random.default_rng([seed, 5]).random((1 + null, count)) < 0.5, 1.0, -1.0)
    first[0] = 1.0
    _, asked = leave_one_out((rows - mean) / sd, np.hstack([first, -first]), ask)
    predicted = np.clip(0.5 + 0.5 * asked, 0, 1)
    statistics = ((predicted - 0.5) ** 2).mean(1)
    return LocalC2ST(
        float(statistics[0]),
        statistics[1:],
        float((1 + (statistics[1:] >= statistics[0]).sum()) / (1 + null)),
        predicted[0],
        count,
    )


def judge_local_c2st(found: LocalC2ST) -> Verdict:
    """Judge by the permutation p-value."""
    word = word_of(found.p_value)
    text = (
        f"at the data a classifier departs from 1/2 by {found.statistic**0.5:.3f} on average, against {np.median(found.null) ** 0.5:.3f} "
        f"by chance ({said(found.p_value)}, {found.pairs:,} pairs)"
    )
    few = "; fewer than 1,000 pairs show only large defects" if found.pairs < 1000 else ""
    advice = "q is wrong at these data: simulate near them, and see sbc and coverage for how"
    return Verdict("local_c2st", word, found.p_value, P_THRESHOLD, text + few, "" if word == "pass" else advice)
