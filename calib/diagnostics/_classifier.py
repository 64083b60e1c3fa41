"""Kernel ridge classifiers in closed form: one factorisation serves the labels asked about and all their exchanges."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist, pdist

from calib.diagnostics._verdict import Array

BANDWIDTHS = (0.5, 1.0, 2.0)
RIDGES = (0.5, 5.0)
"""Kernel widths relative to the median distance, and ridges; chosen by leave-one-out error for every set of labels alike."""


def standardise(rows: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the columns, 1 where a column is constant."""
    sd = rows.std(0)
    return rows.mean(0), np.where(sd > 0, sd, 1.0)


def leave_one_out(rows: Array, labels: Array, ask: Array | None = None) -> tuple[Array, Array]:
    """Kernel ridge regression of labels -1 and 1.

    Args:
        rows: `[n, F]`, standardised.
        labels: `[B, n]`.
        ask: `[m, F]` further points.

    Returns:
        Predicted labels of each row by the others, `[B, n]`, and of the further points by all, `[B, m]`.
    """
    apart = cdist(rows, rows, "sqeuclidean")
    scale = float(np.median(pdist(rows, "sqeuclidean"))) or 1.0
    beyond = np.zeros((0, len(rows))) if ask is None else cdist(ask, rows, "sqeuclidean")
    best = np.full(len(labels), np.inf)
    held, asked = np.zeros(labels.shape), np.zeros((len(labels), len(beyond)))
    for width in BANDWIDTHS:
        kernel = np.exp(-apart / (2 * width**2 * scale))
        for ridge in RIDGES:
            inverse = np.linalg.inv(kernel + ridge * np.eye(len(rows)))
            weights = labels @ inverse
            # leave-one-out in closed form (Hastie, Tibshirani & Friedman 2009, eq. 7.64)
            out = labels - weights / inverse.diagonal()
            error = ((labels - out) ** 2).mean(1)
            better = error < best
            best = np.where(better, error, best)
            held[better] = out[better]
            if beyond.size:
                asked[better] = (weights @ np.exp(-beyond / (2 * width**2 * scale)).T)[better]
    return held, asked


def accuracy(first: Array, second: Array, rng: np.random.Generator, null: int) -> tuple[float, Array]:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017): how often left-out rows are told apart.

    Args:
        first: `[row, F]`.
        second: `[row, F]`, as many rows.
        rng: of the exchanges.
        null: so many times with labels exchanged at random.

    Returns:
        Share of left-out rows classified rightly, about 0.5 if alike, and `[null]` the same with labels exchanged.
    """
    rows = np.vstack([first, second])
    mean, sd = standardise(rows)
    truth = np.repeat([-1.0, 1.0], [len(first), len(second)])
    labels = np.stack([truth, *(rng.permutation(truth) for _ in range(null))])
    held, _ = leave_one_out((rows - mean) / sd, labels)
    right = (held * labels > 0).mean(1)
    return float(right[0]), right[1:]
