"""Classifier two-sample test: how well a small network tells draws of a posterior from the reference's.

The classifier and its settings are those of sbibm (Lueckmann et al. 2021, `metrics/c2st.py`), which takes scikit-learn's
`MLPClassifier`: two hidden layers of 10 D rectified units, Adam at 1e-3, batches of 200, weight decay 1e-4, stopping when the
training loss has not fallen by 1e-4 in ten epochs, five folds, inputs standardised by the first sample. Here the five folds
are trained side by side with the backward pass written out, which saves most of the time.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

FOLDS, BATCH, RATE, DECAY = 5, 200, 1e-3, 1e-4
FALL, PATIENCE, EPOCHS = 1e-4, 10, 1000
BETA_1, BETA_2, SMALL = 0.9, 0.999, 1e-8


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
        out = _forward([w[fold : fold + 1] for w in weights], points[part][None])[-1]
        scores.append(((out[0, :, 0] > 0).float() == labels[part]).float().mean())
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


def _forward(weights: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first = torch.baddbmm(weights[1], x, weights[0]).relu_()
    second = torch.baddbmm(weights[3], first, weights[2]).relu_()
    return first, second, torch.baddbmm(weights[5], second, weights[4])


@torch.no_grad()
def _train(x: Tensor, y: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Train all folds together, `x [fold, S, D]`, `y [fold, S]`; each fold keeps the weights at which it stopped."""
    folds, count, _ = x.shape
    weights = _start(x.shape[-1], generator)
    mean, square = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    kept = [w.clone() for w in weights]
    best, waited, running = (
        torch.full((folds,), math.inf, dtype=torch.float32),
        torch.zeros(folds),
        torch.ones(folds, dtype=torch.bool),
    )
    step = 0
    for _ in range(EPOCHS):
        order = torch.rand(folds, count, generator=generator).argsort(1)
        shuffled = x.gather(1, order[..., None].expand_as(x))
        answers = y.gather(1, order)
        total = torch.zeros(folds, dtype=torch.float32)
        for start in range(0, count, BATCH):
            part, answer = shuffled[:, start : start + BATCH], answers[:, start : start + BATCH, None]
            first, second, out = _forward(weights, part)
            size = part.shape[1]
            total += (torch.nn.functional.softplus(out) - answer * out).sum((1, 2))
            total += 0.5 * DECAY * sum((w**2).sum((1, 2)) for w in weights[::2])
            back = (out.sigmoid() - answer) / size
            slopes = [Tensor()] * 6
            slopes[4], slopes[5] = second.mT @ back, back.sum(1, keepdim=True)
            back = (back @ weights[4].mT) * (second > 0)
            slopes[2], slopes[3] = first.mT @ back, back.sum(1, keepdim=True)
            back = (back @ weights[2].mT) * (first > 0)
            slopes[0], slopes[1] = part.mT @ back, back.sum(1, keepdim=True)
            step += 1
            rate = RATE * math.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            for i in (0, 2, 4):
                slopes[i].add_(weights[i], alpha=DECAY / size)
            torch._foreach_mul_(mean, BETA_1)
            torch._foreach_add_(mean, slopes, alpha=1 - BETA_1)
            torch._foreach_mul_(square, BETA_2)
            torch._foreach_addcmul_(square, slopes, slopes, value=1 - BETA_2)
            under = torch._foreach_sqrt(square)
            torch._foreach_add_(under, SMALL)
            torch._foreach_addcdiv_(weights, mean, under, value=-rate)
        loss = total / count
        waited = torch.where(loss > best - FALL, waited + 1, 0.0)
        best = torch.minimum(best, loss)
        ended = running & (waited > PATIENCE)
        for old, new in zip(kept, weights, strict=True):
            old[running] = new[running]
        running &= ~ended
        if not running.any():
            break
    return kept
