"""A draw of one of K kinds whose gradient is zero in expectation, as some libraries of differentiable agents define it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.gradient_audit.exact import epidemic
from experiments.gradient_audit.worlds import World

__all__ = ["draw_index", "incidence"]


class _Index(torch.autograd.Function):
    """The index of the kind drawn, with the gradient `g / (2 p_k)` for the kind drawn and `g / (2 (1 - p_k))` for each other."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, u: Tensor) -> Tensor:
        index = (u[..., None] > p.cumsum(-1)[..., :-1]).sum(-1)
        ctx.save_for_backward(index, p)
        return index.to(p.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        index, p = ctx.saved_tensors
        drawn = torch.nn.functional.one_hot(index, p.shape[-1]) > 0
        weight = torch.where(drawn, 1 / p, 1 / (1 - p)) / 2
        return gradients[0][..., None] * torch.where(torch.isfinite(weight), weight, 0.0), None


def draw_index(p: Tensor, u: Tensor) -> Tensor:
    """Draw the index of one of K kinds, with a gradient in the manner of AgentTorch's `Categorical`.

    The mean of the gradient in each `p_k` is `g (p_k / (2 p_k) + (1 - p_k) / (2 (1 - p_k))) = g`, the same for every k, where g is the slope of
    the loss in the index. Probabilities sum to one, by a softmax or otherwise, so their changes sum to zero: **a loss that is linear
    in the index has an expected gradient of zero**, whatever its true one. With two kinds every single gradient is zero.

    Args:
        p: `[..., K]` probabilities.
        u: `[...]` uniform numbers in [0, 1).

    Returns:
        `[...]` the index, 0 to K - 1, of the type of p.

    References:
        Chopra et al. (2024). AgentTorch, `agent_torch/core/distributions`: described from its source, written anew.
    """
    index: Tensor = _Index.apply(p, u)
    return index


def incidence(world: World, theta: Tensor, seed: int, stream: int) -> Tensor:
    """`[P, T, G]` new infections, where each agent and day is a draw of one of two kinds: not infected, infected."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + stream)

    def infect(day: int, hazard: Tensor) -> Tensor:
        p = torch.stack([torch.exp(-hazard), -torch.expm1(-hazard)], -1)
        u = torch.rand(hazard.shape, generator=generator, dtype=hazard.dtype)
        return draw_index(p, u)

    return epidemic(world.people, world.rates(theta), len(theta), infect)
