"""The likelihood of observations given their mean outputs by an emulator with a quadratic term, compiled.

Fits and chains ask for it tens of thousands of times, for dozens of points at once. `Emulator`, `SharedError` and `_densities` remain
the definition: tests hold this equal to them. Its threads do not survive a fork: a process that is to ask for it must be spawned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calib._slopes import with_back
from calib._thread_tuner import ThreadTuner
from calib.multifidelity._compiled_densities import HALF_LOG_TWO_PI
from calib.multifidelity._compiled_kernel import BLOCKS, Table, log_density
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._predictive_variance import CONSTANT, MIN_VARIANCE
from calib.multifidelity._quadratic import QuadraticTerm
from calib.multifidelity._shared_error import SharedError

POINTS_PER_CALL = 64
"""Points side by side: more of them, and their rows leave the fast memory."""


@dataclass(frozen=True, eq=False)
class CompiledLikelihood:
    """Log likelihood of observations seen, `[P]`, by an emulator with a quadratic term, shared errors, and distributions of counts and levels.

    Attributes:
        local: mean of the observations; a call takes z along its feature_map.
        table: coefficients. constant: of the observations alone. tuner: how many threads it takes.
    """

    local: Emulator
    table: Table = field(repr=False)
    constant: float
    tuner: ThreadTuner = field(default_factory=lambda: ThreadTuner(BLOCKS), repr=False)

    def __call__(self, z: Tensor, errors: Tensor, scatter: Tensor) -> Tensor:
        """Log likelihood, differentiable once in all three.

        Args:
            z: `[P, D]`.
            errors: `[P, L]`.
            scatter: `[P, 1 + R]`, size of outbreaks, then the parameters that observations scatter by.
        """
        value: Tensor = _Density.apply(z, errors, scatter, self)
        return value

    def value_and_gradients(self, z: Tensor, errors: Tensor, scatter: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log likelihood `[P]` at `z [P, D]`, `errors [P, L]` and `scatter [P, 1 + R]`, and its derivatives in each, without a graph."""
        eta, back = with_back(self.local.feature_map, z)
        x = eta - self.local.centre
        number = -(-len(x) // POINTS_PER_CALL)  # even parts: what is found of one holds for the others
        given = (np.array_split(_array(a), number) for a in (x, errors, scatter))
        parts = [self.tuner(partial(log_density, self.table, *some)) for some in zip(*given, strict=True)]
        value, to_x, to_errors, to_scatter = (
            torch.from_numpy(np.concatenate(part)).to(x) for part in zip(*parts, strict=True)
        )
        return value + self.constant, back(to_x), to_errors, to_scatter


def compile_likelihood(
    local: Emulator,
    errors: SharedError | None,
    observations: Tensor,
    counts: int,
    scatter: Tensor,
    clustered: Tensor,
    smallest: float,
) -> CompiledLikelihood:
    """Gather the coefficients.

    Args:
        local: mean of the observations, bent.
        errors: that they share, drawn along; None to take what is not known of the mean as independent noise of each figure.
        observations: `[M]`, counts first, then levels.
        counts: how many are counts.
        scatter: `[R, M]`, 1 where a figure scatters by a parameter, else 0; one for each figure.
        clustered: `[counts]`, which come in outbreaks.
        smallest: mean below which a figure is not told from zero.

    Raises:
        ValueError: the emulator has no quadratic term.
    """
    quadratic = local.quadratic
    if not isinstance(quadratic, QuadraticTerm):
        raise ValueError(
            "a likelihood is compiled for emulators with a quadratic term alone, and this one has none; fit it with one first."
        )
    if errors is None:
        none = torch.zeros_like(quadratic.noise)
        errors = SharedError(none[:, None][:, :0], quadratic.noise, none)
    predictive = quadratic.predictive
    points = predictive.points * predictive.scale
    count, level = observations.double().split([counts, len(observations) - counts])
    table = Table(
        intercept=_array(local.intercept + quadratic.constant),
        line=_array(local.slope + quadratic.rise.mT),
        pick=_array(quadratic.pick, np.uint64),
        curve=_array(quadratic.curve),
        points=_array(points),
        at_curved=_array(points[:, predictive.curved]),
        curved=_array(predictive.curved, np.int64),
        scale=_array(predictive.scale),
        inverse=_array(predictive.inverse),
        constant=CONSTANT,
        linear=float(predictive.linear),
        quadratic=float(predictive.quadratic),
        factor=float(predictive.factor),
        min_variance=MIN_VARIANCE,
        loading=_array(errors.loading),
        rest=_array(errors.rest),
        share=_array(errors.share),
        data=_array(torch.cat([count, level.log()])),
        counts=counts,
        smallest=smallest,
        by=_array(scatter.argmax(0), np.int64),
        clustered=_array(torch.cat([clustered.bool(), torch.zeros(len(level), dtype=torch.bool)]), np.bool_),
    )
    constant = -(count + 1).lgamma().sum() - (level.log() + HALF_LOG_TWO_PI).sum()
    return CompiledLikelihood(local, table, float(constant))


def _array(x: Tensor, kind: Any = np.float64) -> np.ndarray:
    return np.ascontiguousarray(x.detach().cpu().numpy(), dtype=kind)


class _Density(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, errors: Tensor, scatter: Tensor, likelihood: CompiledLikelihood) -> Tensor:
        value, *slopes = likelihood.value_and_gradients(z, errors, scatter)
        ctx.save_for_backward(*slopes)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        return *(by[:, None] * slope for slope in ctx.saved_tensors), None
