"""What a compiled likelihood gives."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Compiled(Protocol):
    """Log likelihood of observations by an emulator, with derivatives in closed form."""

    def __call__(self, z: Tensor, drawn: Tensor) -> Tensor:
        """`[P]` at `z [P, D]` and shared errors `drawn [P, K]` (K = 0 without any), differentiable once."""
        ...

    def value_and_gradients(self, z: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[P]` and its derivatives `[P, D]` and `[P, K]`, without a graph."""
        ...
