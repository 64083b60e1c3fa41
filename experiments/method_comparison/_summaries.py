"""What a few hundred simulations can teach a network: which parameters, from which few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FOLDS = 10
RIDGES = (30.0, 100.0, 300.0, 1000.0, 3000.0)
RUNS_A_PARAMETER = 25
"""Simulations for each parameter that is learnt, at least: of 490, twenty parameters."""
LEAST = 0.02
"""Share of a parameter's variance that the observations must explain in simulations left out, for it to be learnt."""


@dataclass(frozen=True, eq=False)
class Summaries:
    """Linear posterior means of the parameters that the observations tell of (Fearnhead and Prangle 2012, J R Stat Soc B 74:419).

    Attributes:
        columns: `[n]` which parameters, those of which most is explained first.
        explained: `[n]` share of their variance explained in simulations that were left out of the regression.
        kept: `[N, n]` summaries of the simulations given, each from a regression without its tenth of them: a regression explains its
            own simulations better than any other, and a network would trust it too much.
    """

    columns: Tensor
    explained: Tensor
    kept: Tensor
    _middle: Tensor
    _weights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Summaries `[*batch, n]` of observations `[*batch, K]`."""
        return _design(x, self._middle) @ self._weights


def summaries(z: Tensor, x: Tensor) -> Summaries:
    """Ridge regression of parameters `z [N, D]` on observations `x [N, K]`, its penalty chosen on simulations left out."""
    most = max(1, len(z) // RUNS_A_PARAMETER)
    fold = torch.arange(len(x)) % FOLDS
    best: tuple[float, Tensor, float] | None = None
    for ridge in RIDGES:
        predicted = torch.empty_like(z)
        for k in range(FOLDS):
            out, here = fold == k, fold != k
            middle = x[here].mean(0)
            predicted[out] = _design(x[out], middle) @ _solve(x[here], z[here], middle, ridge)
        error = float((z - predicted).square().mean())
        if best is None or error < best[0]:
            best = error, predicted, ridge
    assert best is not None
    _, predicted, ridge = best
    explained = 1 - (z - predicted).square().mean(0) / z.var(0, unbiased=False)
    order = explained.argsort(descending=True)[:most]
    columns = order[explained[order] > LEAST] if bool((explained > LEAST).any()) else order[:1]
    middle = x.mean(0)
    return Summaries(
        columns, explained[columns], predicted[:, columns], middle, _solve(x, z, middle, ridge)[:, columns]
    )


def _design(x: Tensor, middle: Tensor) -> Tensor:
    return torch.nn.functional.pad(x - middle, (0, 1), value=1.0)


def _solve(x: Tensor, z: Tensor, middle: Tensor, ridge: float) -> Tensor:
    a = _design(x, middle)
    penalty = torch.full((a.shape[1],), ridge).to(a)
    penalty[-1] = 1e-6 * len(x)  # the mean is not shrunk
    return torch.linalg.solve(a.mT @ a + penalty.diag(), a.mT @ z)
