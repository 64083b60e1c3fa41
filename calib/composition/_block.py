"""A block of physical parameters that is a function of region, time and covariates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from calib.composition._covariates import read_covariates
from calib.composition._family import Family, Function, Setting, Theta


@dataclass(frozen=True, eq=False)
class Block:
    """Parameters of a simulator that come from a function with weights of its own.

    Attributes:
        name: of the simulator's parameter that the block gives.
        shape: `(region, knot)`, or `(knot,)` for a parameter without regions.
        family: `random_walk`, `gaussian_process`, `linear`, `region_effect`, `mlp`, `gru`, `neural_cde`, `module`, or a sum of them.
        covariates: `[region, knot, covariate]`, or `[knot, covariate]` if they are the same in all regions; None for none. They must be
            known at every knot: how they go on beyond the data is for the caller to say.
        covariate_names: for messages.

    Examples:
        >>> import torch
        >>> from calib.composition import Block, gaussian_process, gru
        >>> covariates = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(0))
        >>> block = Block("drift", (3, 8), gru(hidden=4) + gaussian_process(0.3, length=3.0), covariates)
        >>> block.size
        96
    """

    name: str
    shape: tuple[int, ...]
    family: Family
    covariates: object = None
    covariate_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 2) or min(self.shape) < 1:
            raise ValueError(
                f"block {self.name!r} has shape {self.shape}, expected (region, knot) or (knot,), each at least 1: correct it."
            )
        _ = self.function

    @cached_property
    def function(self) -> Function:
        """The family at the block's regions, knots and covariates."""
        regions, knots = self.shape if len(self.shape) == 2 else (1, *self.shape)
        known = None
        if self.covariates is not None:
            known = read_covariates(self.name, self.covariates, (regions, knots), self.covariate_names)
        return self.family.build(Setting(self.name, regions, knots, known))

    @property
    def size(self) -> int:
        """Number of weights and other parameters."""
        return self.function.size

    def value(self, theta: Theta) -> Tensor:
        """`[*batch, *shape]` at weights by name `[*batch, *event]`."""
        out = self.function.value(theta)
        return out if len(self.shape) == 2 else out[..., 0, :]
