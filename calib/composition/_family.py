"""What a family of functions is: parameters with priors, and a value at every region and knot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal

from calib._space import Parameter
from calib.composition._covariates import Covariates

Theta = Mapping[str, Tensor]
Sd = float | Distribution
"""A standard deviation that is given, or the prior of one that is learnt."""


@dataclass(frozen=True, eq=False)
class Function:
    """A family at given regions, knots and covariates.

    Attributes:
        parameters: with their priors; they and no others are read by `value`.
        value: `theta {name: [*batch, *event]} -> [*batch, region, knot]`.
        drawn: parameters of which a fit starts at a draw of the prior: at its centre a network has no derivative.
    """

    parameters: tuple[Parameter, ...]
    value: Callable[[Theta], Tensor]
    drawn: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of weights and other parameters."""
        return sum(p.size for p in self.parameters)


@dataclass(frozen=True, eq=False)
class Setting:
    """Where a family is asked for.

    Attributes:
        name: stem of the names of its parameters.
        regions, knots: shape of the function.
        covariates: of the block, or None.
    """

    name: str
    regions: int
    knots: int
    covariates: Covariates | None

    def inputs(self, family: str) -> Tensor:
        """`[region, knot, covariate]`.

        Raises:
            ValueError: the block has no covariates.
        """
        if self.covariates is None:
            raise ValueError(
                f"the family {family} of block {self.name!r} is a function of covariates, and the block has none: pass covariates=."
            )
        return self.covariates.values


class Family(Protocol):
    """A kind of function; sums of two are written with `+`."""

    def build(self, setting: Setting) -> Function:
        """The function at the regions, knots and covariates of a block."""
        ...

    def __add__(self, other: Family) -> Sum:
        """The sum of two families."""
        ...


class Summable:
    """Families can be added."""

    def __add__(self, other: Family) -> Sum:
        """The sum of two families, each with its own parameters."""
        left = self.parts if isinstance(self, Sum) else (self,)
        right = other.parts if isinstance(other, Sum) else (other,)
        return Sum((*left, *right))


@dataclass(frozen=True)
class Sum(Summable):
    """The sum of families, parameters numbered by their place: `<block>_0_steps`, `<block>_1_weights`, ..."""

    parts: tuple[Family, ...]

    def build(self, setting: Setting) -> Function:
        """See `Family`."""
        built = [
            part.build(Setting(f"{setting.name}_{i}", setting.regions, setting.knots, setting.covariates))
            for i, part in enumerate(self.parts)
        ]

        def value(theta: Theta) -> Tensor:
            return torch.stack([function.value(theta) for function in built]).sum(0)

        drawn = tuple(name for function in built for name in function.drawn)
        return Function(tuple(p for function in built for p in function.parameters), value, drawn)


def scale_of(name: str, sd: Sd) -> tuple[tuple[Parameter, ...], Callable[[Theta], Tensor | float]]:
    """A standard deviation as parameters, none if it is given, and its value.

    Raises:
        ValueError: it is given and not above 0.
    """
    if isinstance(sd, Distribution):
        return (Parameter(f"{name}_sd", sd),), lambda theta: theta[f"{name}_sd"]
    if not sd > 0:
        raise ValueError(
            f"the standard deviation of {name!r} is {sd}, expected more than 0: correct it, or give a prior."
        )
    return (), lambda theta: float(sd)


def standard(name: str, *shape: int, sd: Tensor | float = 1.0) -> Parameter:
    """Independent N(0, sd^2)."""
    scale = torch.as_tensor(sd, dtype=torch.float64).expand(shape)
    return Parameter(name, Normal(torch.zeros(shape, dtype=torch.float64), scale.clone()))


def times(scale: Tensor | float, values: Tensor) -> Tensor:
    """`scale [*batch]` times `values [*batch, region, knot]`."""
    return values * (scale[..., None, None] if isinstance(scale, Tensor) else scale)


def learnt_sd(median: float, width: float = 0.7) -> LogNormal:
    """A usual prior of a standard deviation that is learnt: log-normal."""
    return LogNormal(torch.tensor(median, dtype=torch.float64).log(), torch.tensor(width, dtype=torch.float64))
