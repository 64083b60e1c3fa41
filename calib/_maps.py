"""Maps between a standard normal coordinate and one univariate prior.

Each map is elementwise, monotone and differentiable; for z ~ N(0, 1) its value is distributed as the prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import transforms as tf

_SQRT2 = math.sqrt(2.0)
SUPPORTED = (
    "Normal, LogNormal, LogitNormal (or any TransformedDistribution of a Normal by elementwise bijections), "
    "Uniform, HalfNormal, Exponential, Beta, Gamma"
)


@dataclass(frozen=True)
class NormalMap:
    """One prior as a function of z ~ N(0, 1), elementwise.

    Attributes:
        family: name of the prior, for tables.
        forward: z -> x; both of shape `[*batch, *event]`.
        inverse: x -> z; same shapes.
    """

    family: str
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


def _like(value: Tensor | float, z: Tensor) -> Tensor:
    return torch.as_tensor(value).to(dtype=z.dtype, device=z.device)


def _cdf(z: Tensor) -> Tensor:
    """Phi(z), accurate in the lower tail, where torch.special.ndtr is 0 below about -8."""
    return 0.5 * torch.special.erfc(-z / _SQRT2)


def _affine(family: str, loc: Tensor, scale: Tensor) -> NormalMap:
    return NormalMap(
        family,
        lambda z: _like(loc, z) + _like(scale, z) * z,
        lambda x: (x - _like(loc, x)) / _like(scale, x),
    )


def _uniform(low: Tensor, high: Tensor) -> NormalMap:
    def forward(z: Tensor) -> Tensor:
        a, b = _like(low, z), _like(high, z)
        return a + (b - a) * _cdf(z)

    def inverse(x: Tensor) -> Tensor:
        a, b = _like(low, x), _like(high, x)
        return torch.special.ndtri((x - a) / (b - a))

    return NormalMap("Uniform", forward, inverse)


def _half_normal(scale: Tensor) -> NormalMap:
    # Two branches, each accurate in its own tail: erfinv near 0, ndtri of the upper tail far out.
    def forward(z: Tensor) -> Tensor:
        low = _SQRT2 * torch.special.erfinv(_cdf(z.clamp(max=0.0)))
        high = -torch.special.ndtri(0.5 * _cdf(-z.clamp(min=0.0)))
        return _like(scale, z) * torch.where(z < 0, low, high)

    def inverse(x: Tensor) -> Tensor:
        y = x / _like(scale, x)
        lower, upper = torch.special.erf(y / _SQRT2), torch.special.erfc(y / _SQRT2)
        return torch.where(lower < 0.5, torch.special.ndtri(lower), -torch.special.ndtri(upper))

    return NormalMap("HalfNormal", forward, inverse)


def _exponential(rate: Tensor) -> NormalMap:
    # Again a branch for each tail; log_ndtr would do for both, but has no batching rule for vmap.
    def forward(z: Tensor) -> Tensor:
        low = -torch.log1p(-_cdf(z.clamp(max=0.0)))
        high = -torch.log(_cdf(-z.clamp(min=0.0)))
        return torch.where(z < 0, low, high) / _like(rate, z)

    def inverse(x: Tensor) -> Tensor:
        y = x * _like(rate, x)
        lower, upper = -torch.expm1(-y), torch.exp(-y)
        return torch.where(lower < 0.5, torch.special.ndtri(lower), -torch.special.ndtri(upper))

    return NormalMap("Exponential", forward, inverse)


class _Quantile(torch.autograd.Function):
    """x = F^-1(Phi(z)) found numerically; dx/dz = phi(z) / pdf(x) by the implicit function theorem."""

    @staticmethod
    def forward(z: Tensor, solve: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        return solve(z)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        return grad * ctx.saved_tensors[0], None

    @staticmethod
    def jvp(ctx, tangent, _):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        return tangent * ctx.saved_tensors[0], None

    @staticmethod
    def vmap(info, in_dims, z, solve):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN205
        # Elementwise, with parameters on the trailing axes: a leading batch axis needs no treatment.
        return _Quantile.apply(z.movedim(in_dims[0], 0), solve), (0, 0)


def _numerical(family: str, frozen: Any) -> NormalMap:
    """A prior known by its quantile function only; `frozen` is a frozen scipy distribution."""

    def solve(z: Tensor) -> tuple[Tensor, Tensor]:
        v = z.detach().cpu().double().numpy()
        cdf, sf = _cdf(torch.from_numpy(v)), _cdf(-torch.from_numpy(v))
        x = np.where(v < 0, frozen.ppf(cdf.numpy()), frozen.isf(sf.numpy()))
        log_phi = -0.5 * v**2 - 0.5 * math.log(2 * math.pi)
        slope = np.exp(log_phi - frozen.logpdf(x))
        return torch.as_tensor(x).to(z), torch.as_tensor(slope).to(z)

    def inverse(x: Tensor) -> Tensor:
        v = x.detach().cpu().double().numpy()
        lower = torch.from_numpy(np.asarray(frozen.cdf(v)))
        upper = torch.from_numpy(np.asarray(frozen.sf(v)))
        return torch.where(lower < 0.5, torch.special.ndtri(lower), -torch.special.ndtri(upper)).to(x)

    return NormalMap(family, lambda z: _Quantile.apply(z, solve)[0], inverse)


def _moved(transform: tf.Transform, x: Tensor) -> tf.Transform:
    """The same elementwise transform with its tensors where x is."""
    if isinstance(transform, tf.ComposeTransform):
        return tf.ComposeTransform([_moved(part, x) for part in transform.parts])
    if isinstance(transform, tf.AffineTransform):
        return tf.AffineTransform(_like(transform.loc, x), _like(transform.scale, x))
    if isinstance(transform, tf.PowerTransform):
        return tf.PowerTransform(_like(transform.exponent, x))
    if isinstance(transform, tf._InverseTransform):
        return _moved(transform.inv, x).inv
    return transform


def _transformed(name: str, prior: torch.distributions.TransformedDistribution) -> NormalMap | None:
    base = prior.base_dist
    while isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    chain = tf.ComposeTransform(list(prior.transforms))
    elementwise = chain.domain.event_dim == 0 and chain.codomain.event_dim == 0
    if not (isinstance(base, torch.distributions.Normal) and chain.bijective and elementwise):
        return None
    core = _affine("Normal", base.loc, base.scale)
    kinds = [type(t) for t in prior.transforms if not isinstance(t, tf.AffineTransform)]
    known: dict[type, str] = {tf.ExpTransform: "LogNormal", tf.SigmoidTransform: "LogitNormal"}
    family = known.get(kinds[0], name) if len(kinds) == 1 else name
    if all(type(t) in known for t in prior.transforms):  # they hold no tensors that would have to move
        return NormalMap(family, lambda z: chain(core.forward(z)), lambda x: core.inverse(chain.inv(x)))
    return NormalMap(
        family, lambda z: _moved(chain, z)(core.forward(z)), lambda x: core.inverse(_moved(chain, x).inv(x))
    )


def normal_map(name: str, prior: torch.distributions.Distribution) -> NormalMap:
    """The map of a prior, whatever wraps it (`to_event`, `expand`).

    Args:
        name: name of the parameter, for the error text.
        prior: a torch or Pyro distribution with independent entries.

    Returns:
        The elementwise map between N(0, 1) and the prior.

    Raises:
        ValueError: if the family has no map here.
    """
    base: Any = prior
    while isinstance(base, torch.distributions.Independent) or type(base).__name__ == "ExpandedDistribution":
        base = base.base_dist
    d = torch.distributions
    found: NormalMap | None = None
    if isinstance(base, d.Normal):
        found = _affine("Normal", base.loc, base.scale)
    elif isinstance(base, d.Uniform):
        found = _uniform(base.low, base.high)
    elif isinstance(base, d.HalfNormal):  # a TransformedDistribution by a fold, so it is asked first
        found = _half_normal(base.scale)
    elif isinstance(base, d.Exponential):
        found = _exponential(base.rate)
    elif isinstance(base, d.Beta):
        from scipy import stats

        found = _numerical("Beta", stats.beta(_array(base.concentration1), _array(base.concentration0)))
    elif isinstance(base, d.Gamma):
        from scipy import stats

        found = _numerical("Gamma", stats.gamma(_array(base.concentration), scale=1 / _array(base.rate)))
    elif isinstance(base, d.TransformedDistribution):
        found = _transformed(type(base).__name__, base)
    if found is None:
        raise ValueError(
            f"the prior of {name!r} is a {type(base).__name__}, which has no map to a standard normal here: "
            f"use one of {SUPPORTED}"
        )
    return found


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().double().numpy()
