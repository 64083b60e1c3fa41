"""What straight lines miss: a quadratic with a Gaussian prior, learnt from runs and from their derivatives.

Log outputs are nearly linear in a good chart, but a posterior of many parameters is wide in directions that the data tie
together, and there second-order terms add up. With runs at draws of the posterior they are regressed by a Gaussian process whose
kernel is a polynomial of second degree, so that curvature is looked for first in the coordinates that move the outputs. A run tells
one number an output, its Jacobian one in each coordinate: derivatives join as observations of the same process (Solak et al. 2003,
NIPS 15). The mean of such a process is a quadratic, and is kept as one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

LINEAR = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
QUADRATIC = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
ROUGH = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Variances of the noise of derivatives over that of values, in units in which a typical run lies 1 from the centre."""
START = (1.0, 0.1, 0.3)
"""Linear, quadratic and rough, from where they are searched one after the other if derivatives were given."""
ENOUGH = 60
"""Outputs, evenly taken, by which these are judged then: each costs a system of thousands of equations."""
CONSTANT = 100.0
"""Prior variance of the constant over that of the noise: the level is learnt from the runs alone."""
SUREST = 1e-9
"""Smallest variance of the mean over that of the noise: rounding must not make it negative."""
CURVED = 48
"""Coordinates among which curvature is looked for, those that move the outputs most: 1,176 products at most."""


@dataclass(frozen=True, eq=False)
class Bend:
    """`bend(x) = constant + slope y + sum_ij curve_ij y_i y_j`, `y = x scale`.

    It is the mean of a process with the kernel `k(x, x') = constant + linear a + quadratic b^2`, a the inner product of y and y' and b
    that of their curved coordinates alone. Its error follows from the same kernel and the runs without their derivatives (in full,
    derivatives would cost thousands of products a point), drawn down to the size that leaving runs out one by one finds with them.

    Attributes:
        points: `[V, E]` scaled coordinates of the runs. scale: `[E]`. curved: `[K]` which coordinates bend.
        constant: `[M]`. rise: `[E, M]`. curve: `[K (K + 1) / 2, M]`, of the products `y_i y_j`, i <= j.
        linear, quadratic: prior variance of the terms over that of the noise, at a typical run.
        inverse: `[V, V]` of the runs' covariance over the variance of the noise. sure: factor on the variance that derivatives leave.
        noise: `[M]` variance of the noise, log scale. stray: `[V, M]` each run's log output minus what the other runs predict there.
        unit: `[V, M]` the same with the variance of the noise.
    """

    points: Tensor
    scale: Tensor
    curved: Tensor
    constant: Tensor
    rise: Tensor
    curve: Tensor
    linear: float
    quadratic: float
    inverse: Tensor
    sure: float
    noise: Tensor
    stray: Tensor
    unit: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Correction of the log outputs `[*batch, M]` at `x [*batch, E]`, measured from the centre."""
        y = x * self.scale
        first, second = self.pairs
        bent = y[..., self.curved]
        return self.constant + y @ self.rise + (bent[..., first] * bent[..., second]) @ self.curve

    def slope(self, x: Tensor) -> Tensor:
        """Its derivatives, `[*batch, M, E]`."""
        y, size = (x * self.scale)[..., self.curved], len(self.curved)
        first, second = self.pairs
        square = self.curve.new_zeros(size, size, self.curve.shape[1])
        square[first, second] = self.curve
        square = square + square.transpose(0, 1)
        rise = self.rise.mT.expand(*x.shape[:-1], -1, -1).clone()
        rise[..., self.curved] += torch.einsum("...i,ijm->...mj", y, square)
        return rise * self.scale

    def error(self, x: Tensor) -> Tensor:
        """Standard deviation of the log mean at `x [*batch, E]` given the runs, `[*batch, M]`: grows away from them."""
        y = x * self.scale
        bent = y[..., self.curved]
        near = self.kernel(y @ self.points.mT, bent @ self.points[:, self.curved].mT)
        here = self.kernel((y**2).sum(-1), (bent**2).sum(-1))
        unsure = self.sure * (here - ((near @ self.inverse) * near).sum(-1))
        return (unsure.clamp_min(SUREST)[..., None] * self.noise).sqrt()

    def kernel(self, inner: Tensor, bent: Tensor) -> Tensor:
        """Covariance over the variance of the noise, from inner products of all and of the curved coordinates."""
        return _kernel(inner, bent, self.linear, self.quadratic)

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Which two curved coordinates each row of `curve` multiplies."""
        first, second = torch.triu_indices(len(self.curved), len(self.curved)).to(self.curved.device)
        return first, second

    def of(self, which: Tensor) -> Bend:
        """The same for some outputs, a mask or an index into M."""
        by_output = ("constant", "rise", "curve", "noise", "stray", "unit")
        return replace(self, **{name: getattr(self, name)[..., which] for name in by_output})

    @property
    def typical_error(self) -> Tensor:
        """`[M]` the same at the points of the runs, each predicted by the others."""
        return (self.noise * self.sure * _left(self.inverse.diagonal())).sqrt()


def _kernel(inner: Tensor, bent: Tensor, linear: float, quadratic: float) -> Tensor:
    return CONSTANT + linear * inner + quadratic * bent * bent


def _left(kept: Tensor) -> float:
    """Mean variance of the prediction of a run from the others, over that of the noise, by the diagonal of the inverse covariance."""
    return float((1 / kept - 1).clamp_min(0.0).mean())


def learn_bend(x: Tensor, residual: Tensor, effect: Tensor, slopes: tuple[Tensor, Tensor] | None = None) -> Bend:
    """Regress what a linear model leaves.

    The variances of linear and quadratic terms and of the noise of derivatives, over that of the noise, are chosen for all outputs
    together by the predictive density of each run's outputs from everything else (leave-one-out, Sundararajan & Keerthi 2001, Neural
    Computation 13:1103), the noise for each output by itself. Where runs say nothing of a curvature, none is
    chosen; with derivatives, next to none.

    Args:
        x: `[V, E]` where the runs were made, measured from the centre.
        residual: `[V, M]` their log outputs minus the linear model's.
        effect: `[E]` how much a unit of each coordinate moves the outputs; terms in coordinates that move little are shrunk more.
        slopes: `[N, E]` where derivatives are known, and `[N, M, E]` what they are less the linear model's.

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
    curved = (points**2).mean(0).argsort(descending=True)[:CURVED].sort().values
    at, rises = points[:0], residual.new_zeros(0, len(curved), residual.shape[1])
    if slopes is not None:
        at, known = slopes[0] * scale, scale[curved].clamp_min(1e-6 * scale.max())
        rises = (slopes[1][..., curved] / known).mT.contiguous()
    system = _System(points, at, curved, residual, rises)
    linear, quadratic, rough = system.search()
    kept, weight, by_slope = system.solve(linear, quadratic, rough)
    stray, unit = weight / kept[:, None], weight / kept.sqrt()[:, None]
    rise = linear * (points.mT @ weight)
    rise[curved] += linear * by_slope.sum(0)
    inverse = _inverse(system.covariance(linear, quadratic))
    return Bend(
        points,
        scale,
        curved,
        CONSTANT * weight.sum(0),
        rise,
        quadratic * system.curve(weight, by_slope),
        linear,
        quadratic,
        inverse,
        _left(kept) / max(_left(inverse.diagonal()), 1e-12) if len(at) else 1.0,
        unit.square().mean(0),
        stray,
        unit,
    )


@dataclass(frozen=True, eq=False)
class _System:
    """Observations of one process: values at `points [V, E]`, derivatives in the curved coordinates at `at [N, E]`."""

    points: Tensor
    at: Tensor
    curved: Tensor
    values: Tensor
    rises: Tensor  # [N, K, M]

    def search(self) -> tuple[float, float, float]:
        """The variances of the highest predictive density: on the whole grid without derivatives, else one after the other."""
        if not len(self.at):
            grid = [(linear, quadratic, 1.0) for linear in LINEAR for quadratic in QUADRATIC]
            return max(grid, key=lambda point: self.predictive(*point))
        few = slice(None, None, max(1, self.values.shape[1] // ENOUGH))
        system = replace(self, values=self.values[:, few], rises=self.rises[..., few])
        best, heights = START, {START: system.predictive(*START)}
        axes = (LINEAR[3:], QUADRATIC[1:], ROUGH)
        moved = True
        while moved:
            moved = False
            for axis, steps in enumerate(axes):
                for way in (1, -1):
                    while True:
                        place = steps.index(best[axis]) + way
                        if not 0 <= place < len(steps):
                            break
                        at = list(best)
                        at[axis] = steps[place]
                        trial = (at[0], at[1], at[2])
                        if trial not in heights:
                            heights[trial] = system.predictive(*trial)
                        if heights[trial] <= heights[best]:
                            break
                        best, moved = trial, True
        return best

    def predictive(self, linear: float, quadratic: float, rough: float) -> float:
        """Log density of every run given all else, noise variances at their best, up to a constant."""
        kept, weight, _ = self.solve(linear, quadratic, rough)
        noise = (weight**2 / kept[:, None]).mean(0).clamp_min(1e-12)
        return float(0.5 * self.values.shape[1] * kept.log().sum() - 0.5 * len(self.values) * noise.log().sum())

    def covariance(self, linear: float, quadratic: float) -> Tensor:
        """`[V, V]` of the values over the variance of the noise, noise included."""
        bent = self.points[:, self.curved]
        eye = torch.eye(len(bent)).to(bent)
        return _kernel(self.points @ self.points.mT, bent @ bent.mT, linear, quadratic) + eye

    def solve(self, linear: float, quadratic: float, rough: float) -> tuple[Tensor, Tensor, Tensor]:
        """Diagonal `[V]` of the inverse covariance, and weights of values `[V, M]` and of derivatives `[N, K, M]`."""
        own = self.covariance(linear, quadratic)
        if not len(self.at):
            inverse = _inverse(own)
            return inverse.diagonal(), inverse @ self.values, self.rises
        count, size, outputs = self.rises.shape
        bent, there = self.points[:, self.curved], self.at[:, self.curved]
        eye = torch.eye(size).to(there)
        # of derivatives in i at q and in j at r: (linear + 2 quadratic q.r) [i = j] + 2 quadratic r_i q_j
        among = torch.einsum("nm,ij->nimj", linear + 2 * quadratic * there @ there.mT, eye)
        among += 2 * quadratic * torch.einsum("mi,nj->nimj", there, there)
        among = among.reshape(count * size, -1)
        among.diagonal().add_(rough)
        across = (linear + 2 * quadratic * bent @ there.mT)[:, :, None] * bent[:, None, :]
        across = across.reshape(len(bent), -1)
        root = torch.linalg.cholesky(among)
        both = torch.cholesky_solve(torch.cat([self.rises.reshape(-1, outputs), across.mT], 1), root)
        by_slope, carried = both.split([outputs, len(bent)], 1)
        inverse = _inverse(own - across @ carried)
        weight = inverse @ (self.values - across @ by_slope)
        return inverse.diagonal(), weight, (by_slope - carried @ weight).reshape(count, size, outputs)

    def curve(self, weight: Tensor, by_slope: Tensor) -> Tensor:
        """`[K (K + 1) / 2, M]` coefficients of the products of curved coordinates, over `quadratic`."""
        bent, there = self.points[:, self.curved], self.at[:, self.curved]
        first, second = torch.triu_indices(len(self.curved), len(self.curved))
        twice = torch.where(first == second, 1.0, 2.0).to(bent)[:, None]
        out = (bent[:, first] * bent[:, second]).mT @ weight
        for row, rise in zip(there, by_slope, strict=True):
            out += row[first, None] * rise[second] + row[second, None] * rise[first]
        return out * twice


def _inverse(covariance: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(covariance))
