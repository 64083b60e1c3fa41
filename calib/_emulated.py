"""The likelihood of figures given their mean outputs by a bent local mean (an emulator), compiled and shared among threads.

Fits and chains ask for it tens of thousands of times, for dozens of points at once. `LocalMean`, `CommonError` and `_laws` remain
the definition: tests hold this equal to them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from calib._bend import Bend
from calib._common_error import CommonError
from calib._compiled_emulated import HALF_LOG_TWO_PI, Parts, Spread, Table, density, gather, spread
from calib._local_mean import LocalMean
from calib._unsure import CONSTANT, SUREST

BLOCKS = 8
"""Of figures, and most threads that share them."""


@dataclass(frozen=True, eq=False)
class EmulatedLikelihood:
    """Log likelihood of figures seen, `[P]`, by a bent local mean, errors that they share, and laws of counts and levels.

    Attributes:
        local: mean of the figures; a call takes z along its chart.
        table: coefficients. constant: of the figures alone.
    """

    local: LocalMean
    table: Table = field(repr=False)
    constant: float

    def __call__(self, z: Tensor, errors: Tensor, scatter: Tensor) -> Tensor:
        """Log likelihood, differentiable once in all three.

        Args:
            z: `[P, D]`.
            errors: `[P, L]`.
            scatter: `[P, 1 + R]`, size of outbreaks, then the parameters that figures scatter by.
        """
        x = self.local.chart(z) - self.local.centre
        value: Tensor = _Density.apply(x, errors, scatter, self.table)
        return value + self.constant


def emulated_likelihood(
    local: LocalMean,
    errors: CommonError | None,
    figures: Tensor,
    counts: int,
    scatter: Tensor,
    clustered: Tensor,
    smallest: float,
) -> EmulatedLikelihood:
    """Gather the coefficients.

    Args:
        local: mean of the figures, bent.
        errors: that they share, drawn along; None to take what is not known of the mean as independent noise of each figure.
        figures: `[M]`, counts first, then levels.
        counts: how many are counts.
        scatter: `[R, M]`, 1 where a figure scatters by a parameter, else 0; one for each figure.
        clustered: `[counts]`, which come in outbreaks.
        smallest: mean below which a figure is not told from zero.

    Raises:
        ValueError: the local mean is not bent.
    """
    bend = local.bend
    if not isinstance(bend, Bend):
        raise ValueError(
            "a likelihood is compiled for bent local means alone, and this one is not bent; bend it first."
        )
    if errors is None:
        none = torch.zeros_like(bend.noise)
        errors = CommonError(none[:, None][:, :0], bend.noise, none)
    unsure = bend.unsure
    points = unsure.points * unsure.scale
    count, level = figures.double().split([counts, len(figures) - counts])
    table = Table(
        log_mean=_array(local.log_mean + bend.constant),
        line=_array(local.slope + bend.rise.mT),
        pick=_array(bend.pick, np.int64),
        curve=_array(bend.curve),
        points=_array(points),
        at_curved=_array(points[:, unsure.curved]),
        curved=_array(unsure.curved, np.int64),
        scale=_array(unsure.scale),
        inverse=_array(unsure.inverse),
        constant=CONSTANT,
        linear=float(unsure.linear),
        quadratic=float(unsure.quadratic),
        sure=float(unsure.sure),
        surest=SUREST,
        loading=_array(errors.loading),
        rest=_array(errors.rest),
        share=_array(errors.share),
        figure=_array(torch.cat([count, level.log()])),
        counts=counts,
        smallest=smallest,
        by=_array(scatter.argmax(0), np.int64),
        clustered=_array(torch.cat([clustered.bool(), torch.zeros(len(level), dtype=torch.bool)]), np.bool_),
    )
    constant = -(count + 1).lgamma().sum() - (level.log() + HALF_LOG_TWO_PI).sum()
    return EmulatedLikelihood(local, table, float(constant))


def _array(x: Tensor, kind: Any = np.float64) -> np.ndarray:
    return np.ascontiguousarray(x.detach().cpu().numpy(), dtype=kind)


class _Density(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, errors: Tensor, scatter: Tensor, table: Table) -> Tensor:
        x_, errors_, scatter_ = (
            np.ascontiguousarray(a.detach().cpu().numpy(), dtype=np.float64) for a in (x, errors, scatter)
        )
        count, runs = len(x), len(table.inverse)
        known = Spread(np.empty(count), np.empty((count, runs)), np.empty((count, runs)))
        shapes = ((count,), x_.shape, errors_.shape, scatter_.shape, (count,))
        parts = Parts(*(np.zeros((BLOCKS, *shape)) for shape in shapes))
        _shared(lambda first, last: spread(table, x_, known, first, last), count)
        _shared(lambda first, last: density(table, x_, errors_, scatter_, known.unsure, parts, first, last), BLOCKS)
        _shared(lambda first, last: gather(table, x_, known, parts, first, last), count)
        value, slopes = parts.value[0], (parts.to_x[0], parts.to_errors[0], parts.to_scatter[0])
        ctx.save_for_backward(*(torch.from_numpy(a).to(x) for a in slopes))
        return torch.from_numpy(value).to(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        return *(by[:, None] * slope for slope in ctx.saved_tensors), None


def _shared(work: Callable[[int, int], None], count: int) -> None:
    """Do `work(first, last)` for all of `count`, split among threads."""
    threads = min(numba.get_num_threads(), BLOCKS, count)
    if threads == 1:
        work(0, count)
        return
    ends = [count * i // threads for i in range(threads + 1)]
    waiting = [_pool(os.getpid()).submit(work, *some) for some in pairwise(ends[:-1])]
    work(*ends[-2:])  # the caller's own share
    for one in waiting:
        one.result()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Kept from call to call; a forked process has none of its parent's threads and starts its own."""
    return ThreadPoolExecutor(BLOCKS - 1)
