"""Learning a quadratic: a regression for each output on the values of runs and on their derivatives.

A run tells one number an output, its Jacobian one in each coordinate: derivatives join as observations of the same quadratic (Solak
et al. 2003, NIPS 15). What a product of two coordinates may amount to is judged in units of what the two do to that very output, so
that in an output of one place the coordinates of another are next to nothing, and the few dozen that are left can be told apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from calib.multifidelity._predictive_variance import fit_predictive_variance
from calib.multifidelity._quadratic import QuadraticTerm

KEPT = 24
"""Coordinates that quadratic an output: 300 products."""
LINEAR = (0.03, 0.1, 0.3, 1.0)
"""Prior standard deviations of what the lines are off, relative to their slopes."""
CURVATURE = (1e-3, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 2.0)
"""The same of the products, in units of what they multiply, log scale."""
START = (0.3, 0.35)
OUTPUTS_FOR_SEARCH = 32
"""About as many outputs, evenly taken, judge these two."""
MIN_MOVEMENT = 1e-6
"""Residuals of a smaller variance are those of an output that never moves: there is nothing to quadratic, and its noise of next to none
would outweigh all others."""
MIN_NOISE = 1e-9
"""Smallest variance of noise: what is exact must not be divided by."""
MIN_SLOPE_SHARE = 0.1
"""Slopes count as at least this share of what is typical over outputs: one that vanishes at the centre need not elsewhere."""
LEVEL = 1e-4
"""Prior precision of the constant: the level is learnt from the runs alone."""
START_ROUGHNESS, POOLED = 0.04, 5.0
"""Variance of a relative derivative to begin with, and how many observations of the output's own mean each coordinate's is pooled with."""
PASSES = 3
"""In turn noise from what is left and terms from the noise."""
BATCH = 16
"""Outputs solved side by side."""


def fit_quadratic(
    x: Tensor,
    residual: Tensor,
    line: Tensor,
    slopes: tuple[Tensor, Tensor] | None = None,
    wanted: Tensor | None = None,
) -> QuadraticTerm:
    """Regress what a linear model leaves.

    How large the terms are is chosen for all outputs together by the predictive density of each run's outputs from everything else
    (leave-one-out, Sundararajan & Keerthi 2001, Neural Computation 13:1103); the noise of values, and of derivatives in each coordinate,
    for each output by itself from what is left. Where nothing tells of a curvature, next to none is chosen. Derivatives that were taken where a
    run was made stay when that run is left out: their chance is another.

    Args:
        x: `[V, E]` where the runs were made, measured from the centre.
        residual: `[V, M]` their log outputs minus the linear model's, of mean 0 over the runs.
        line: `[M, E]` slopes of the linear model.
        slopes: `[N, E]` where derivatives are known, and `[N, M, E]` what they are less the linear model's.
        wanted: `[M]` mask of the outputs for which a curvature is looked for; None for all. The others keep their lines.

    Returns:
        The correction.

    Raises:
        ValueError: fewer than two runs.
    """
    if len(x) < 2:
        raise ValueError(f"{len(x)} run was given to learn a curvature from; at least 2 are needed.")
    runs, outputs = residual.shape
    moved = residual.var(0) > MIN_MOVEMENT
    whole = (moved if wanted is None else moved & wanted).nonzero()[:, 0]
    if not len(whole):
        return _lines(x, residual, line)
    at, off = slopes if slopes is not None else (x[:0], residual.new_zeros(0, outputs, x.shape[1]))
    steep = line.square() if not len(at) else (off + line).square().mean(0)
    steep = (steep + MIN_SLOPE_SHARE**2 * steep[whole].mean(0)).sqrt()
    pick = (steep * x.std(0)).topk(min(KEPT, x.shape[1]), dim=1).indices.sort(1).values
    data = _Data(x, residual, at, off, pick, steep.gather(1, pick).clamp_min(1e-12))

    few = whole[:: max(1, len(whole) // OUTPUTS_FOR_SEARCH)]
    scales = _search(lambda at: _solve(data, few, at).density)
    size = pick.shape[1]
    constant, rise = residual.new_zeros(outputs), residual.new_zeros(x.shape[1], outputs)
    curve, left = residual.new_zeros(outputs, size, size), residual.new_zeros(outputs)
    free = runs / (runs - 1)  # of lines alone, whose residuals have mean 0
    loo, standardised = residual * free, residual * free**0.5
    for part in whole.split(BATCH):
        found, scale = _solve(data, part, scales), data.scale[part]
        constant[part] = found.terms[:, 0]
        rise[pick[part].mT, part] = (found.terms[:, 1 : 1 + size] * scale).mT
        curve[part] = found.curve * scale[:, :, None] * scale[:, None, :]
        loo[:, part], standardised[:, part] = (found.rest / found.free).mT, (found.rest / found.free.sqrt()).mT
        left[part] = (1 / found.free - 1).mean(1)
    predictive = fit_predictive_variance(
        x, residual[:, whole], line[whole].square().mean(0).sqrt(), float(left[whole].mean())
    )
    return QuadraticTerm(
        pick, curve, constant, rise, predictive, standardised.square().mean(0), loo, standardised, scales[1]
    )


def _lines(x: Tensor, residual: Tensor, line: Tensor) -> QuadraticTerm:
    """A quadratic that bends nothing."""
    runs, outputs = residual.shape
    free = runs / (runs - 1)
    none = residual.new_zeros(outputs)
    predictive = fit_predictive_variance(x, residual, line.square().mean(0).sqrt())
    pick = torch.zeros(outputs, 1, dtype=torch.long, device=x.device)
    standardised = residual * free**0.5
    curve, rise = none[:, None, None], residual.new_zeros(x.shape[1], outputs)
    return QuadraticTerm(
        pick, curve, none, rise, predictive, standardised.square().mean(0), residual * free, standardised, 0.0
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """Values `[V, M]` at `x [V, E]`, derivatives `[N, M, E]` at `at [N, E]`, own coordinates `pick [M, K]` and their units `[M, K]`."""

    x: Tensor
    values: Tensor
    at: Tensor
    derivatives: Tensor
    pick: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class _Solution:
    """Of B outputs.

    Attributes:
        terms: `[B, 1 + K + K (K + 1) / 2]` constant, slopes, products. curve: `[B, K, K]` the products as a symmetric form.
        rest: `[B, V]` what is left of the values. free: `[B, V]` 1 less the leverage of each.
        density: log predictive density of every run given all else, noise at its best, up to a constant.
    """

    terms: Tensor
    curve: Tensor
    rest: Tensor
    free: Tensor
    density: float


def _search(density: Callable[[tuple[float, float]], float]) -> tuple[float, float]:
    """The two scales, one after the other, until neither gains by a step."""
    best, heights, moved = START, {START: density(START)}, True
    while moved:
        moved = False
        for axis, steps in enumerate((LINEAR, CURVATURE)):
            for way in (1, -1):
                while 0 <= (place := steps.index(best[axis]) + way) < len(steps):
                    trial = (steps[place], best[1]) if axis == 0 else (best[0], steps[place])
                    if trial not in heights:
                        heights[trial] = density(trial)
                    if heights[trial] <= heights[best]:
                        break
                    best, moved = trial, True
    return best


def _solve(data: _Data, which: Tensor, scales: tuple[float, float]) -> _Solution:
    """Terms of some outputs, with the noise that they leave."""
    pick, scale, values = data.pick[which], data.scale[which], data.values[:, which].mT
    (batch, size), runs, count = pick.shape, values.shape[1], len(data.at)
    first, second = torch.triu_indices(size, size, device=pick.device)
    own = data.x.mT[pick] * scale[:, :, None]  # [B, K, V]
    features = torch.cat([torch.ones_like(own[:, :1]), own, own[:, first] * own[:, second]], 1).mT  # [B, V, F]
    gram, drawn = features.mT @ features, (features.mT @ values[..., None])[..., 0]
    there = data.at.mT[pick] * scale[:, :, None]  # [B, K, N]
    derivative = data.derivatives[:, which].gather(2, pick.expand(count, -1, -1)).permute(1, 2, 0) / scale[:, :, None]
    rows = _Rows(there, derivative)
    precision = torch.cat(
        [own.new_tensor([LEVEL]), own.new_full((size,), scales[0] ** -2), own.new_full((len(first),), scales[1] ** -2)]
    )
    noise, rough = 0.3 * values.var(1).clamp_min(MIN_NOISE), own.new_full((batch, size), START_ROUGHNESS)
    for step in range(PASSES):
        whole = gram / noise[:, None, None] + rows.gram(1 / rough)
        whole.diagonal(dim1=1, dim2=2).add_(precision)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(whole))
        terms = (inverse @ (drawn / noise[:, None] + rows.drawn(1 / rough))[..., None])[..., 0]
        rest = values - (features @ terms[..., None])[..., 0]
        free = (1 - ((features @ inverse) * features).sum(-1) / noise[:, None]).clamp_min(1e-6)
        curve = own.new_zeros(batch, size, size)
        curve[:, first, second] = 0.5 * terms[:, 1 + size :]
        curve = curve + curve.mT
        if step < PASSES - 1:
            noise = (rest.square() / free).mean(1).clamp_min(MIN_NOISE)
            if count:
                wrong = (derivative - terms[:, 1 : 1 + size, None] - 2 * curve @ there).square().sum(-1)
                spent = rows.spent(inverse, 1 / rough)
                together = wrong.sum(1) / (count * size - spent.sum(1)).clamp_min(1.0)
                left = (count - spent).clamp_min(0.2 * count) + POOLED
                rough = ((wrong + POOLED * together[:, None]) / left).clamp_min(MIN_NOISE)
    best = (rest.square() / free).mean(1).clamp_min(MIN_NOISE)
    density = 0.5 * free.log().sum() - 0.5 * runs * best.log().sum()
    return _Solution(terms, curve, rest, free, float(density))


class _Rows:
    """Derivatives as observations: that in coordinate i is the slope in i and every product with i, times the other.

    Args:
        there: `[B, K, N]` own coordinates where derivatives are known. derivative: `[B, K, N]` the derivatives.
    """

    def __init__(self, there: Tensor, derivative: Tensor) -> None:
        batch, size, _ = there.shape
        self.batch, self.size = batch, size
        self.products = size * (size + 1) // 2
        number = torch.zeros(size, size, dtype=torch.long, device=there.device)
        first, second = torch.triu_indices(size, size, device=there.device)
        number[first, second] = number[second, first] = 1 + size + torch.arange(self.products, device=there.device)
        along = torch.arange(size, device=there.device)
        self.at = torch.cat([1 + along[:, None], number], 1)  # [K, 1 + K] terms that i appears in
        # [B, K of i, 1 + K, N] what each of these is multiplied with: the square of i twice
        factor = torch.cat([torch.ones_like(there[:, :1]), there], 1)[:, None].repeat(1, size, 1, 1)
        factor[:, along, 1 + along] *= 2
        self.block = factor @ factor.mT  # [B, K, 1 + K, 1 + K]
        self.sum = (factor @ derivative[..., None])[..., 0]

    def gram(self, weight: Tensor) -> Tensor:
        """`[B, F, F]` with precisions `weight [B, K]`."""
        terms = 1 + self.size + self.products
        out = weight.new_zeros(self.batch, terms * terms)
        where = (self.at[:, :, None] * terms + self.at[:, None, :]).flatten()
        return out.index_add(1, where, (weight[..., None, None] * self.block).flatten(1)).unflatten(1, (terms, terms))

    def drawn(self, weight: Tensor) -> Tensor:
        """`[B, F]` what the derivatives draw the terms to."""
        out = weight.new_zeros(self.batch, 1 + self.size + self.products)
        return out.index_add(1, self.at.flatten(), (weight[..., None] * self.sum).flatten(1))

    def spent(self, inverse: Tensor, weight: Tensor) -> Tensor:
        """`[B, K]` degrees of freedom that the derivatives in each coordinate have spent."""
        held = inverse[:, self.at[:, :, None], self.at[:, None, :]]
        return weight * (held * self.block).sum((-1, -2))
