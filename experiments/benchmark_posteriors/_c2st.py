"""Classifier two-sample test: how well a small network tells draws of a posterior from the reference's.

The classifier and its settings are those of sbibm (Lueckmann et al. 2021, `metrics/c2st.py`), which takes scikit-learn's
`MLPClassifier`: two hidden layers of 10 D rectified units, Adam at 1e-3, batches of 200, weight decay 1e-4, stopping when the
training loss has not fallen by 1e-4 in ten epochs, five folds, inputs standardised by the first sample. Here the training is a
compiled loop (`_classifier.py`), which saves most of the time.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from experiments.benchmark_posteriors._classifier import BATCH, epoch

FOLDS = 5
FALL, PATIENCE, EPOCHS = 1e-4, 10, 1000


def c2st(first: Tensor, second: Tensor, seed: int = 1) -> float:
    """Mean accuracy over five folds: 0.5 if the samples cannot be told apart, 1 if they always can.

    Args:
        first: `[S, D]`, which also gives the standardisation (the reference).
        second: `[S, D]`.
        seed: of folds, start and batches.

    Returns:
        The accuracy.

    Raises:
        ValueError: the shapes differ, or an entry is not finite.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"samples of shapes {tuple(first.shape)} and {tuple(second.shape)} were given, expected two [S, D] alike."
        )
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise ValueError("a sample holds entries that are not finite; leave out the draws that failed and say so.")
    centre, scale = first.mean(0), first.std(0)
    points = torch.cat([(first - centre) / scale, (second - centre) / scale]).float()
    labels = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).float()
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randperm(len(points), generator=generator).chunk(FOLDS)
    size = min(len(points) - len(part) for part in parts)
    train = torch.stack([torch.cat([p for j, p in enumerate(parts) if j != i])[:size] for i in range(FOLDS)])
    weights = _train(points[train], labels[train], generator)
    scores = []
    for fold, part in enumerate(parts):
        scores.append(((_forward(weights[fold], points[part]) > 0).float() == labels[part]).float().mean())
    return float(torch.stack(scores).mean())


def _start(dim: int, generator: torch.Generator) -> list[Tensor]:
    """Weights and biases `[fold, in, out]`, `[fold, 1, out]`, uniform as in Glorot & Bengio (2010)."""
    sizes = (dim, 10 * dim, 10 * dim, 1)
    weights: list[Tensor] = []
    for into, out in pairwise(sizes):
        # scikit-learn bounds the output layer of a logistic classifier by sqrt(2 / ...), as its activation is logistic
        bound = math.sqrt((2.0 if out == 1 else 6.0) / (into + out))
        for shape in ((FOLDS, into, out), (FOLDS, 1, out)):
            weights.append((2 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1) * bound)
    return weights


def _forward(weights: list[Tensor], x: Tensor) -> Tensor:
    first = torch.addmm(weights[1], x, weights[0]).relu_()
    second = torch.addmm(weights[3], first, weights[2]).relu_()
    return torch.addmm(weights[5], second, weights[4])[:, 0]


def _train(x: Tensor, y: Tensor, generator: torch.Generator) -> list[list[Tensor]]:
    """Train every fold until its loss stops falling, `x [fold, S, D]`, `y [fold, S]`; weights by fold."""
    folds, count, dim = x.shape
    start = _start(dim, generator)
    flat = [torch.cat([w[fold].flatten() for w in start]).numpy() for fold in range(folds)]
    mean, square = [np.zeros_like(w) for w in flat], [np.zeros_like(w) for w in flat]
    best, waited, running = [math.inf] * folds, [0] * folds, set(range(folds))
    for turn in range(EPOCHS):
        order = torch.rand(folds, count, generator=generator).argsort(1).numpy()
        for fold in sorted(running):
            step = turn * math.ceil(count / BATCH)
            loss = epoch(
                x[fold].numpy(), y[fold].numpy(), order[fold], flat[fold], mean[fold], square[fold], 10 * dim, step
            )
            waited[fold] = waited[fold] + 1 if loss > best[fold] - FALL else 0
            best[fold] = min(best[fold], loss)
            if waited[fold] > PATIENCE:
                running.remove(fold)
        if not running:
            break
    sizes = [w[0].numel() for w in start]
    return [
        [w.view(s.shape[1:]) for w, s in zip(torch.from_numpy(vector).split(sizes), start, strict=True)]
        for vector in flat
    ]
