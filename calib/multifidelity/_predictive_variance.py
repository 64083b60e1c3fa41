"""How far the mean that runs have shown may be off, and how that grows away from them.

The variance of a Gaussian process whose kernel is a polynomial of second degree, over that of the noise: one number for all
outputs at a point, cheap enough to be asked for in every step of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LINEAR = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
QUADRATIC = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Variances over that of the noise, in units in which a typical run lies 1 from the centre."""
CONSTANT = 100.0
"""Prior variance of the constant over that of the noise: the level is learnt from the runs alone."""
MIN_VARIANCE = 1e-9
"""Smallest variance of the mean over that of the noise: rounding must not make it negative."""
CURVED = 48
"""Coordinates among which the outputs may quadratic, those that move them most."""


@dataclass(frozen=True, eq=False)
class PredictiveVariance:
    """Variance of the mean over that of the noise, from the kernel `k(x, x') = constant + linear a + quadratic b^2`.

    a is the inner product of `x scale` and `x' scale`, b that of their curved coordinates alone.

    Attributes:
        points: `[V, E]` scaled coordinates of the runs. scale: `[E]`. curved: `[K]` which coordinates quadratic.
        linear, quadratic: prior variance of the terms over that of the noise, at a typical run.
        inverse: `[V, V]` of the runs' covariance over the variance of the noise.
        factor: factor on the variance, for what is known beside the values of the runs.
    """

    points: Tensor
    scale: Tensor
    curved: Tensor
    linear: float
    quadratic: float
    inverse: Tensor
    factor: float = 1.0

    @cached_property
    def _root(self) -> Tensor | None:
        """`[Q, Q]` root of the covariance of the kernel's Q features given the runs; None where there are fewer runs than features."""
        if len(self.points) <= 1 + self.points.shape[1] + len(self.curved) * (len(self.curved) + 1) // 2:
            return None
        features = self._features(self.points)
        eye = torch.eye(features.shape[1]).to(features)
        precision = torch.linalg.cholesky(eye + features.mT @ features)
        return torch.linalg.solve_triangular(precision, eye, upper=False).mT

    def _features(self, y: Tensor) -> Tensor:
        """`[*batch, Q]` whose inner products are the kernel."""
        first, second = torch.triu_indices(len(self.curved), len(self.curved))
        own = y[..., self.curved]
        twice = torch.where(first == second, 1.0, 2.0).to(y).sqrt()
        products = own[..., first] * own[..., second] * twice
        constant = torch.full_like(y[..., :1], CONSTANT**0.5)
        return torch.cat([constant, self.linear**0.5 * y, self.quadratic**0.5 * products], -1)

    def __call__(self, x: Tensor) -> Tensor:
        """`[*batch]` at `x [*batch, E]`, measured from the centre."""
        y = x * self.scale
        if self._root is not None:
            return (self.factor * (self._features(y) @ self._root).square().sum(-1)).clamp_min(MIN_VARIANCE)
        own = y[..., self.curved]
        near = _kernel(y @ self.points.mT, own @ self.points[:, self.curved].mT, self.linear, self.quadratic)
        here = _kernel((y**2).sum(-1), (own**2).sum(-1), self.linear, self.quadratic)
        return (self.factor * (here - ((near @ self.inverse) * near).sum(-1))).clamp_min(MIN_VARIANCE)

    def least_known(self, x: Tensor, count: int) -> Tensor:
        """Which of the points `x [N, E]` to run next, `[count]`: each where the mean is least known given the runs and those before.

        Greedy, which for such a variance is near the best (active learning MacKay: MacKay 1992, Neural Computation 4:590; as
        a pivoted Cholesky factorisation of the covariance of the points given the runs).
        """
        y = x * self.scale
        own, runs = y[:, self.curved], self.points[:, self.curved]
        near = _kernel(y @ self.points.mT, own @ runs.mT, self.linear, self.quadratic)
        told = near @ self.inverse
        left = _kernel((y**2).sum(1), (own**2).sum(1), self.linear, self.quadratic) - (told * near).sum(1)
        chosen, columns = list[int](), list[Tensor]()
        for _ in range(min(count, len(x))):
            at = int(left.argmax())
            gain = _kernel(y @ y[at], own @ own[at], self.linear, self.quadratic) - told @ near[at]
            column = (gain - sum((c * c[at] for c in columns), torch.zeros_like(gain))) / (left[at] + 1).clamp_min(
                1e-12
            ).sqrt()
            chosen.append(at)
            columns.append(column)
            left = left - column**2
            left[at] = -torch.inf
        return torch.tensor(chosen)

    @property
    def typical(self) -> float:
        """Mean over the runs, each predicted by the others."""
        return self.factor * _left(self.inverse)


def _kernel(inner: Tensor, own: Tensor, linear: float, quadratic: float) -> Tensor:
    return CONSTANT + linear * inner + quadratic * own * own


def _left(inverse: Tensor) -> float:
    return float((1 / inverse.diagonal() - 1).clamp_min(0.0).mean())


def fit_predictive_variance(
    x: Tensor, residual: Tensor, effect: Tensor, left: float | None = None
) -> PredictiveVariance:
    """Choose the kernel by the predictive density of each run from the others, values alone.

    The variances of linear and quadratic terms over that of the noise are chosen for all outputs together (leave-one-out, Sundararajan &
    Keerthi 2001, Neural Computation 13:1103), the noise for each output by itself.

    Args:
        x: `[V, E]` where the runs were made, measured from the centre.
        residual: `[V, M]` their log outputs minus a linear model's.
        effect: `[E]` how much a scaled_residual of each coordinate moves the outputs; terms in coordinates that move little are shrunk more.
        left: variance that leaving runs out one by one finds with all that is known, over that of the noise; None for what it finds
            with this kernel.
    """
    typical = ((x * effect) ** 2).sum(1).mean().sqrt().clamp_min(1e-12)
    scale = effect / typical
    points = x * scale
    curved = (points**2).mean(0).argsort(descending=True)[:CURVED].sort().values
    own = points[:, curved]
    inner, square, eye = points @ points.mT, own @ own.mT, torch.eye(len(x)).to(x)

    def inverse_at(linear: float, quadratic: float) -> Tensor:
        return torch.cholesky_inverse(torch.linalg.cholesky(_kernel(inner, square, linear, quadratic) + eye))

    def density(linear: float, quadratic: float) -> float:
        inverse = inverse_at(linear, quadratic)
        kept = inverse.diagonal()
        noise = ((inverse @ residual) ** 2 / kept[:, None]).mean(0).clamp_min(1e-12)
        return float(0.5 * residual.shape[1] * kept.log().sum() - 0.5 * len(x) * noise.log().sum())

    grid = ((linear, quadratic) for linear in LINEAR for quadratic in QUADRATIC)
    linear, quadratic = max(grid, key=lambda at: density(*at))
    inverse = inverse_at(linear, quadratic)
    factor = 1.0 if left is None else left / max(_left(inverse), 1e-12)
    return PredictiveVariance(points, scale, curved, linear, quadratic, inverse, factor)
