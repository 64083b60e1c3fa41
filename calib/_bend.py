"""What straight lines miss: a quadratic with a Gaussian prior, learnt from runs.

Log outputs are nearly linear in a good chart, but a posterior of many parameters is wide in directions that the data tie
together, and there second-order terms add up. With runs at draws of the posterior they are regressed by a Gaussian process whose
kernel is a polynomial of second degree, so that curvature is looked for first in the coordinates that move the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

LINEAR = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
QUADRATIC = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
CONSTANT = 100.0
"""Prior variance of the constant over that of the noise: the level is learnt from the runs alone."""
SUREST = 1e-9
"""Smallest variance of the mean over that of the noise: rounding must not make it negative."""


@dataclass(frozen=True, eq=False)
class Bend:
    """`bend(x) = sum_v k(x, x_v) weight_v`, `k(x, y) = constant + linear a + quadratic a^2`, `a = (x scale).(y scale)`.

    Attributes:
        points: `[V, E]` scaled coordinates of the runs. scale: `[E]`. weight: `[V, M]`.
        linear, quadratic: prior variance of the terms over that of the noise, at a typical run.
        inverse: `[V, V]` of the runs' covariance over the variance of the noise. noise: `[M]` variance of the noise, log scale.
        stray: `[V, M]` each run's log output minus what the other runs predict there.
    """

    points: Tensor
    scale: Tensor
    weight: Tensor
    linear: float
    quadratic: float
    inverse: Tensor
    noise: Tensor
    stray: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Correction of the log outputs `[*batch, M]` at `x [*batch, E]`, measured from the centre."""
        inner = (x * self.scale) @ self.points.mT
        return _kernel(inner, self.linear, self.quadratic) @ self.weight

    def slope(self, x: Tensor) -> Tensor:
        """Its derivatives, `[*batch, M, E]`."""
        inner = (x * self.scale) @ self.points.mT
        rise = self.linear + 2 * self.quadratic * inner  # [*batch, V]
        return torch.einsum("...v,vm,ve->...me", rise, self.weight, self.points * self.scale)

    def error(self, x: Tensor) -> Tensor:
        """Standard deviation of the log mean at `x [*batch, E]` given the runs, `[*batch, M]`: grows away from them."""
        at = x * self.scale
        near = _kernel(at @ self.points.mT, self.linear, self.quadratic)
        here = _kernel((at**2).sum(-1), self.linear, self.quadratic)
        unsure = here - ((near @ self.inverse) * near).sum(-1)
        return (unsure.clamp_min(SUREST)[..., None] * self.noise).sqrt()

    def of(self, which: Tensor) -> Bend:
        """The same for some outputs, a mask or an index into M."""
        return replace(self, weight=self.weight[:, which], noise=self.noise[which], stray=self.stray[:, which])

    @property
    def typical_error(self) -> Tensor:
        """`[M]` the same at the points of the runs, each predicted by the others."""
        return (self.noise * (1 / self.inverse.diagonal() - 1).clamp_min(0.0).mean()).sqrt()


def _kernel(inner: Tensor, linear: float, quadratic: float) -> Tensor:
    return CONSTANT + inner * (linear + quadratic * inner)


def learn_bend(x: Tensor, residual: Tensor, effect: Tensor) -> Bend:
    """Regress what a linear model leaves.

    The variances of linear and quadratic terms, over that of the noise, are chosen for all outputs together by the predictive density
    of each run from the others (leave-one-out, Sundararajan & Keerthi 2001, Neural Computation 13:1103), the noise for each output
    by itself. Where runs say nothing of a curvature, none is chosen.

    Args:
        x: `[V, E]` where the runs were made, measured from the centre.
        residual: `[V, M]` their log outputs minus the linear model's.
        effect: `[E]` how much a unit of each coordinate moves the outputs; terms in coordinates that move little are shrunk more.

    Returns:
        The correction.

    Raises:
        ValueError: fewer than two runs.
    """
    if len(x) < 2:
        raise ValueError(f"{len(x)} run was given to learn a curvature from; at least 2 are needed.")
    typical = ((x * effect) ** 2).sum(1).mean().sqrt().clamp_min(1e-12)
    scale = effect / typical
    points = x * scale
    inner = points @ points.mT
    best: tuple[float, float, float] | None = None
    for linear in LINEAR:
        for quadratic in QUADRATIC:
            height = _predictive(inner, residual, linear, quadratic)
            if best is None or height > best[0]:
                best = (height, linear, quadratic)
    assert best is not None
    _, linear, quadratic = best
    inverse = _inverse(inner, linear, quadratic)
    weight, kept = inverse @ residual, inverse.diagonal()
    stray = weight / kept[:, None]
    noise = (weight**2 / kept[:, None]).mean(0)  # variance of the noise: mean of stray^2 over its relative variance
    return Bend(points, scale, weight, linear, quadratic, inverse, noise, stray)


def _inverse(inner: Tensor, linear: float, quadratic: float) -> Tensor:
    eye = torch.eye(len(inner)).to(inner)
    return torch.cholesky_inverse(torch.linalg.cholesky(_kernel(inner, linear, quadratic) + eye))


def _predictive(inner: Tensor, residual: Tensor, linear: float, quadratic: float) -> float:
    """Log density of every run given the others, noise variances at their best, up to a constant."""
    inverse = _inverse(inner, linear, quadratic)
    kept = inverse.diagonal()
    noise = ((inverse @ residual) ** 2 / kept[:, None]).mean(0).clamp_min(1e-12)
    return float(0.5 * residual.shape[1] * kept.log().sum() - 0.5 * len(inner) * noise.log().sum())
