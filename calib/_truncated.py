"""A normal between bounds: torch and Pyro have none."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all


class TruncatedNormal(TorchDistribution):
    """Normal distribution restricted to an interval.

    Args:
        loc: mean of the normal before it is cut.
        scale: its standard deviation.
        low: lower bound; minus infinity for none.
        high: upper bound; plus infinity for none.
        validate_args: as for every torch distribution.

    Examples:
        >>> prior = TruncatedNormal(1.0, 0.5, low=0.0)
        >>> round(float(prior.log_prob(torch.tensor(1.0)).exp()), 4)
        0.8165
    """

    arg_constraints = {  # noqa: RUF012 (torch's interface)
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.dependent(is_discrete=False, event_dim=0),
        "high": constraints.dependent(is_discrete=False, event_dim=0),
    }
    has_rsample = True

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float = -math.inf,
        high: Tensor | float = math.inf,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._open = tuple(not isinstance(bound, Tensor) and math.isinf(bound) for bound in (low, high))
        self.loc, self.scale, self.low, self.high = broadcast_all(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The interval; a half line or the whole line where a bound was left out."""
        below, above = self._open
        if below and above:
            return constraints.real
        if above:
            return constraints.greater_than(self.low)
        return constraints.less_than(self.high) if below else constraints.interval(self.low, self.high)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TruncatedNormal:
        """The same distribution with another batch shape."""
        new = self._get_checked_instance(TruncatedNormal, _instance)
        new._open = self._open
        for name in ("loc", "scale", "low", "high"):
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(TruncatedNormal, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density; minus infinity outside the bounds."""
        if self._validate_args:
            self._validate_sample(value)
        _, a, b = _reflected(self.loc, self.scale, self.low, self.high)
        at = (value - self.loc) / self.scale
        value_in = -0.5 * at**2 - 0.5 * math.log(2 * math.pi) - self.scale.log() - (_cdf(b) - _cdf(a)).log()
        return torch.where((value >= self.low) & (value <= self.high), value_in, -math.inf)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (torch's interface)
        """Draws by the quantile function, differentiable in all four arguments."""
        shape = self._extended_shape(sample_shape)
        z = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return from_normal(z, self.loc, self.scale, self.low, self.high)


def from_normal(z: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The draw that has the same rank under the truncated normal as z under N(0, 1)."""
    s, a, b = _reflected(loc, scale, low, high)
    z = torch.sign(s) * z
    width = _cdf(b) - _cdf(a)
    share = torch.where(z < 0, _cdf(a) + _cdf(z) * width, _cdf(b) - _cdf(-z) * width)
    return torch.clamp(loc + s * torch.special.ndtri(share), low, high)


def to_normal(x: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Inverse of `from_normal`; infinite at the bounds and NaN outside."""
    s, a, b = _reflected(loc, scale, low, high)
    at, width = _cdf((x - loc) / s), _cdf(b) - _cdf(a)
    lower, upper = (at - _cdf(a)) / width, (_cdf(b) - at) / width
    return torch.sign(s) * torch.where(lower < 0.5, torch.special.ndtri(lower), -torch.special.ndtri(upper))


def _reflected(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signed scale and standardised bounds, turned round where the interval lies above the mean.

    Probabilities of its near end are then those of a lower tail, which are accurate.
    """
    a, b = (low - loc) / scale, (high - loc) / scale
    above = a > 0
    return torch.where(above, -scale, scale), torch.where(above, -b, a), torch.where(above, -a, b)


def _cdf(x: Tensor) -> Tensor:
    return 0.5 * torch.special.erfc(-x / math.sqrt(2.0))
