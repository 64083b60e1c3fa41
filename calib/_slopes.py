"""Values and their derivatives of functions that may know them without a tape.

A tape of a hundred operations on tensors of a few thousand numbers takes longer than the operations. What is asked for thousands of times has
its derivative in closed form, as a method beside its call; everything else goes through autograd.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def with_slope(f: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Value `[P]` and derivative `[P, D]` of a function of each row of `z [P, D]`, without a graph.

    A function that has a method `with_slope` is asked for it.
    """
    own = getattr(f, "with_slope", None)
    if own is not None:
        found: tuple[Tensor, Tensor] = own(z.detach())
        return found
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        value = f(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def with_back(f: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Value `[P, E]` of a map of each row of `z [P, D]`, and its reverse mode, `[P, E] -> [P, D]`, which can be asked once.

    A map that has a method `with_back` is asked for it.
    """
    own = getattr(f, "with_back", None)
    if own is not None:
        found: tuple[Tensor, Callable[[Tensor], Tensor]] = own(z.detach())
        return found
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        value = f(leaf)
    return value.detach(), lambda by: torch.autograd.grad(value, leaf, by)[0]
