"""Log densities of overdispersed counts and of levels around their means, in few steps: they are asked for many thousands of times."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def log_counts(count: Tensor, mean: Tensor, cluster: Tensor, relative: Tensor) -> Tensor:
    """Log density of negative binomial counts with the variance `cluster * mean + relative * mean^2`, summed over the last axis.

    With odds w = cluster - 1 + relative * mean (variance over mean, less one) and size r = mean / w:
    `y log w - (r + y) log(1 + w) + lgamma(r + y) - lgamma(r) - lgamma(y + 1)`. The derivative is computed along with the value:
    through autograd each of a dozen steps would be kept and read again.

    Args:
        count: `[F]`, y.
        mean: `[P, F]`.
        cluster: `[P, F]`, at least 1.
        relative: `[P, F]`, positive.

    Returns:
        `[P]`, differentiable once in mean, cluster and relative.
    """
    value: Tensor = _LogCounts.apply(count, mean, cluster, relative)
    return value


def log_levels(level: Tensor, mean: Tensor, relative: Tensor) -> Tensor:
    """Log density of log-normal levels around `mean`, their logarithms with the variance `relative`, summed over the last axis.

    Args:
        level: `[F]`, positive.
        mean: `[P, F]`.
        relative: `[P, F]`.

    Returns:
        `[P]`.
    """
    log = level.log()
    value = (log - mean.log()) ** 2 / relative + relative.log()
    return -0.5 * value.sum(-1) - (log + 0.5 * math.log(2 * math.pi)).sum()


class _LogCounts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: Tensor, mean: Tensor, cluster: Tensor, relative: Tensor) -> Tensor:
        odds = torch.addcmul(cluster - 1, relative, mean)
        size = mean / odds
        total, tail = size + count, odds.log1p()
        value = count * odds.log() - total * tail + (total.lgamma() - size.lgamma())
        if any(ctx.needs_input_grad):
            by_size = total.digamma() - size.digamma() - tail
            by_odds = (count - size * by_size) / odds - total / (1 + odds)
            ctx.save_for_backward(torch.addcmul(by_size / odds, relative, by_odds), by_odds, mean)
        return value.sum(-1) - (count + 1).lgamma().sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_mean, by_odds, mean = ctx.saved_tensors
        by_odds = grad[:, None] * by_odds
        return None, grad[:, None] * by_mean, by_odds, mean * by_odds
