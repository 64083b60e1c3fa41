"""Coordinates in which simulators are smooth: z as it is, but parameters with uniform priors in their own units.

The map from z to a uniform parameter flattens towards its bounds, where simulators do nothing special. Polynomials fit
better to the parameter itself, here scaled to mean 0 and variance 1 under its prior.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Independent, Uniform

from calib._space import Parameter, ParameterSpace

_SQRT3 = math.sqrt(3.0)
_LOG_2PI = math.log(2 * math.pi)


def _is_uniform(p: Parameter) -> bool:
    base = p.prior
    while isinstance(base, Independent) or type(base).__name__ == "ExpandedDistribution":
        base = base.base_dist  # type: ignore[attr-defined]
    return isinstance(base, Uniform)


class Coordinates:
    """Coordinates x `[*batch, D]`: standard normal or uniform on [-sqrt 3, sqrt 3] under the prior.

    Args:
        space: the parameters.
        natural: whether uniform parameters stand in their own units; False for z throughout.

    Attributes:
        dim: D.
        flat: which coordinates are uniform, `[D]`.
    """

    def __init__(self, space: ParameterSpace, natural: bool = True) -> None:
        self.dim = space.dim
        self.flat = torch.cat([torch.full((p.size,), natural and _is_uniform(p)) for p in space.parameters])

    def to_z(self, x: Tensor) -> Tensor:
        """`x [*batch, D]` to z; minus or plus infinity at and beyond the bounds of a uniform prior."""
        if not self.flat.any():
            return x
        share = 0.5 + x / (2 * _SQRT3)
        return torch.where(self.flat, torch.special.ndtri(share.clamp(0.0, 1.0)), x)

    def to_x(self, z: Tensor) -> Tensor:
        """Inverse of `to_z`."""
        if not self.flat.any():
            return z
        return torch.where(self.flat, _SQRT3 * torch.special.erf(z / math.sqrt(2.0)), z)

    def log_prior(self, x: Tensor) -> Tensor:
        """Log density of the prior in x, `[*batch]`; minus infinity outside the bounds."""
        normal = -0.5 * x**2 - 0.5 * _LOG_2PI
        inside = torch.where(x.abs() < _SQRT3, -math.log(2 * _SQRT3), -math.inf)
        return torch.where(self.flat, inside, normal).sum(-1)

    def log_slope(self, x: Tensor) -> Tensor:
        """Log |dz/dx| summed over the coordinates, `[*batch]`: densities in x are those in z times its exponential."""
        if not self.flat.any():
            return x.new_zeros(x.shape[:-1])
        z = self.to_z(x)
        return torch.where(self.flat, -math.log(2 * _SQRT3) + 0.5 * z**2 + 0.5 * _LOG_2PI, 0.0).sum(-1)

    def sample_prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws `[S, D]` of the prior."""
        return self.to_x(torch.randn(count, self.dim, generator=generator, dtype=torch.float64))
