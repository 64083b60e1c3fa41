"""Classifier two-sample test: how well a small network tells draws of a posterior from the reference's."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

try:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier
except ImportError as error:
    raise ImportError(
        "The benchmark compares draws with scikit-learn, which is not installed; install the extra: pip install 'posterity[bench]'."
    ) from error

FOLDS = 5


def c2st(first: Tensor, second: Tensor, seed: int = 1) -> float:
    """Compute the mean accuracy over five folds: 0.5 if the samples cannot be told apart, 1 if they always can.

    Classifier, settings and standardisation are those of the published benchmark, so that values can be compared with it.

    Args:
        first: `[S, D]`, which also gives the standardisation (the reference).
        second: `[S, D]`.
        seed: Of folds, start and batches.

    Returns:
        The accuracy.

    Raises:
        ValueError: The shapes differ, an entry is not finite, or a column of the first sample is constant.

    References:
        Lueckmann et al. (2021), AISTATS; Lopez-Paz and Oquab (2017), ICLR.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"samples of shapes {tuple(first.shape)} and {tuple(second.shape)} were given, expected two [S, D] alike."
        )
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise ValueError("a sample holds entries that are not finite; leave out the draws that failed and say so.")
    centre, scale = first.mean(0), first.std(0)
    if not (scale > 0).all():
        raise ValueError("a column of the first sample is constant; leave it out, or give more draws.")
    points = torch.cat([(first - centre) / scale, (second - centre) / scale]).float().cpu().numpy()
    labels = np.repeat([0, 1], len(first))
    width = 10 * first.shape[1]
    classifier = MLPClassifier((width, width), max_iter=1000, random_state=seed)
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a training stopped after 1,000 epochs is judged by its accuracy as any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(classifier, points, labels, cv=folds, scoring="accuracy").mean())
