"""Families linear in their weights: random walk, Gaussian process, regression on covariates, effects of regions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from calib.composition._family import Function, Sd, Setting, Summable, Theta, scale_of, standard, times

Over = Literal["all", "each"]
"""Whether one path is shared by all regions or each has its own."""


@dataclass(frozen=True, eq=False)
class FromBasis(Summable, ABC):
    """`sd * basis @ weights` along the knots, weights N(0, 1).

    Attributes:
        kind: for names of parameters.
        sd: given, or its prior.
        over: "all": one path; "each": one for each region.
    """

    kind: str
    sd: Sd
    over: Over

    @abstractmethod
    def basis(self, setting: Setting) -> Tensor:
        """`[knot, weight]`."""

    def build(self, setting: Setting) -> Function:
        """See `Family`."""
        basis, name = self.basis(setting), f"{setting.name}_{self.kind}"
        parameters, sd = scale_of(name, self.sd)
        count = basis.shape[1]
        shape = (count,) if self.over == "all" else (setting.regions, count)

        def value(theta: Theta) -> Tensor:
            path = theta[name] @ basis.to(theta[name]).mT
            if self.over == "all":
                path = path[..., None, :].expand(*path.shape[:-1], setting.regions, setting.knots)
            return times(sd(theta), path)

        return Function((*parameters, standard(name, *shape)), value)


@dataclass(frozen=True, eq=False)
class RandomWalk(FromBasis):
    """See `random_walk`."""

    start: int = 0
    reversion: float = 0.0
    stop: int | None = None

    def basis(self, setting: Setting) -> Tensor:
        """`[knot, step]`: step s moves its own and all later knots, less and less where the walk reverts."""
        knot = torch.arange(setting.knots, dtype=torch.float64)
        step = torch.arange(self.start, min(self.stop or setting.knots, setting.knots), dtype=torch.float64)
        since = knot[:, None] - step
        return torch.where(since >= 0, math.exp(-self.reversion) ** since.clamp_min(0.0), 0.0)


@dataclass(frozen=True, eq=False)
class GaussianProcess(FromBasis):
    """See `gaussian_process`."""

    length: float = 4.0
    terms: int = 0
    boundary: float = 1.5

    def basis(self, setting: Setting) -> Tensor:
        """`[knot, term]`: eigenfunctions of the Laplacian times the root of the spectral density at their frequencies."""
        half = max((setting.knots - 1) / 2, 1.0)
        wall = self.boundary * max(half, 2 * self.length)
        terms = self.terms or min(setting.knots, math.ceil(4 * wall / self.length))
        x = torch.arange(setting.knots, dtype=torch.float64) - half
        frequency = torch.arange(1, terms + 1, dtype=torch.float64) * math.pi / (2 * wall)
        density = math.sqrt(2 * math.pi) * self.length * torch.exp(-0.5 * (self.length * frequency) ** 2)
        return torch.sin(frequency * (x[:, None] + wall)) / math.sqrt(wall) * density.sqrt()


@dataclass(frozen=True, eq=False)
class Linear(Summable):
    """See `linear`."""

    sd: Sd = 1.0

    def build(self, setting: Setting) -> Function:
        """See `Family`."""
        x, name = setting.inputs("linear"), f"{setting.name}_weights"
        parameters, sd = scale_of(name, self.sd)

        def value(theta: Theta) -> Tensor:
            return times(sd(theta), torch.einsum("rkc,...c->...rk", x.to(theta[name]), theta[name]))

        return Function((*parameters, standard(name, x.shape[2], sd=x.shape[2] ** -0.5)), value)


@dataclass(frozen=True, eq=False)
class RegionEffect(Summable):
    """See `region_effect`."""

    sd: Sd

    def build(self, setting: Setting) -> Function:
        """See `Family`."""
        name = f"{setting.name}_effect"
        parameters, sd = scale_of(name, self.sd)

        def value(theta: Theta) -> Tensor:
            flat = theta[name][..., None]
            return times(sd(theta), flat.expand(*flat.shape[:-1], setting.knots))

        return Function((*parameters, standard(name, setting.regions)), value)


def random_walk(
    sd: Sd, *, over: Over = "all", start: int = 0, stop: int | None = None, reversion: float = 0.0
) -> RandomWalk:
    """A random walk over the knots.

    Args:
        sd: of a step, or its prior.
        over: "all": one walk for all regions; "each": one for each.
        start: first knot that a step moves; 1 leaves the first knot at 0.
        stop: first knot after `start` that no step moves any more; None for the last.
        reversion: rate at which a step is forgotten, per knot: with more than 0 the walk returns to 0 (a first-order autoregression).

    Raises:
        ValueError: it stops where it has not started.

    Examples:
        >>> from calib.composition import Block, random_walk
        >>> block = Block("drift", (3, 8), random_walk(0.2))
        >>> [p.coordinates[0] for p in block.function.parameters]
        ['drift_steps[0]']
    """
    if stop is not None and stop <= start:
        raise ValueError(
            f"a random walk starts at knot {start} and stops at {stop}, expected a later one: correct them."
        )
    return RandomWalk("steps", sd, over, start, reversion, stop)


def gaussian_process(
    sd: Sd, *, length: float, over: Over = "all", terms: int = 0, boundary: float = 1.5
) -> GaussianProcess:
    """A Gaussian process over the knots with a squared-exponential kernel, in Hilbert-space form.

    With more terms and a wider boundary the covariance tends to that of the exact process.

    Args:
        sd: of the function at a knot, or its prior.
        length: length scale, in knots.
        over: as for `random_walk`.
        terms: eigenfunctions; 0 for as many as the length needs.
        boundary: half width of the domain over that of the knots, at least 1.

    Raises:
        ValueError: the length is not above 0 or the boundary below 1.

    References:
        Solin and Särkkä 2020, Stat Comput 30:419; Riutort-Mayol et al. 2023, Stat Comput 33:17.
    """
    if not length > 0 or boundary < 1:
        raise ValueError(
            f"a Gaussian process was given length {length} and boundary {boundary}, expected more than 0 and at least 1: correct them."
        )
    return GaussianProcess("terms", sd, over, length, terms, boundary)


def linear(sd: Sd = 1.0) -> Linear:
    """Linear regression on the block's covariates, weights N(0, 1 / number of covariates) times `sd`; no intercept."""
    return Linear(sd)


def region_effect(sd: Sd) -> RegionEffect:
    """An effect of each region, N(0, sd^2); with a prior for `sd` regions are partially pooled."""
    return RegionEffect(sd)
