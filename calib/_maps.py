"""Maps between standard normal coordinates and one prior.

Each map is monotone and differentiable, and elementwise but for the Dirichlet; for z ~ N(0, I) its value is
distributed as the prior.
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

from calib._truncated import TruncatedNormal, from_normal, to_normal

_SQRT2 = math.sqrt(2.0)
_HALF_PI = 0.5 * math.pi
WRAPPERS = ("ExpandedDistribution", "MaskedDistribution")
SUPPORTED = (
    "Normal, LogNormal, LogitNormal (or any TransformedDistribution of a Normal by elementwise bijections), "
    "calib.TruncatedNormal, Uniform, HalfNormal, HalfCauchy, Cauchy, StudentT, Exponential, Weibull, Beta, Gamma, "
    "InverseGamma, Dirichlet"
)


@dataclass(frozen=True)
class NormalMap:
    """One prior as a function of z ~ N(0, 1), elementwise.

    Attributes:
        family: name of the prior, for tables.
        forward: z -> x; both of shape `[*batch, *event]` (a Dirichlet has one z fewer than shares).
        inverse: x -> z; same shapes. Not finite at and outside the bounds.
        differentiable: whether `forward` can be differentiated with respect to the prior's own parameters; a
            numerical quantile can be with respect to z alone.
    """

    family: str
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    differentiable: bool = True


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


def _tails(z: Tensor) -> tuple[Tensor, Tensor]:
    """Phi(z) for z < 0 and 1 - Phi(z) for z >= 0, each accurate in its own tail and a half on the other side."""
    return _cdf(z.clamp(max=0.0)), _cdf(-z.clamp(min=0.0))


def _half_cauchy(scale: Tensor) -> NormalMap:
    def forward(z: Tensor) -> Tensor:
        lower, upper = _tails(z)
        return _like(scale, z) * torch.where(z < 0, torch.tan(_HALF_PI * lower), 1 / torch.tan(_HALF_PI * upper))

    def inverse(x: Tensor) -> Tensor:
        y = x / _like(scale, x)
        lower, upper = torch.atan(y) / _HALF_PI, torch.atan(1 / y) / _HALF_PI
        return torch.where(lower < 0.5, torch.special.ndtri(lower), -torch.special.ndtri(upper))

    return NormalMap("HalfCauchy", forward, inverse)


def _cauchy(loc: Tensor, scale: Tensor) -> NormalMap:
    def forward(z: Tensor) -> Tensor:
        lower, upper = _tails(z)
        y = torch.where(z < 0, -1 / torch.tan(math.pi * lower), 1 / torch.tan(math.pi * upper))
        return _like(loc, z) + _like(scale, z) * y

    def inverse(x: Tensor) -> Tensor:
        y = (x - _like(loc, x)) / _like(scale, x)
        tail = torch.atan2(torch.ones_like(y), y.abs()) / math.pi
        return torch.sign(y) * -torch.special.ndtri(tail)

    return NormalMap("Cauchy", forward, inverse)


def _weibull(scale: Tensor, concentration: Tensor) -> NormalMap:
    unit = _exponential(torch.ones(()))
    return NormalMap(
        "Weibull",
        lambda z: _like(scale, z) * unit.forward(z) ** (1 / _like(concentration, z)),
        lambda x: unit.inverse((x / _like(scale, x)) ** _like(concentration, x)),
    )


def _truncated_normal(prior: TruncatedNormal) -> NormalMap:
    def own(x: Tensor) -> list[Tensor]:
        return [_like(value, x) for value in (prior.loc, prior.scale, prior.low, prior.high)]

    return NormalMap("TruncatedNormal", lambda z: from_normal(z, *own(z)), lambda x: to_normal(x, *own(x)))


def _dirichlet(concentration: Tensor) -> NormalMap:
    """Broken stick: each share of what is left is a Beta, so that K shares have K - 1 coordinates."""
    from scipy import stats

    after = concentration.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    stick = _numerical("Dirichlet", stats.beta(_array(concentration[..., :-1]), _array(after)))

    def forward(z: Tensor) -> Tensor:
        part = stick.forward(z)
        left = torch.cumprod(torch.cat([torch.ones_like(part[..., :1]), 1 - part], -1), -1)
        return torch.cat([part * left[..., :-1], left[..., -1:]], -1)

    def inverse(x: Tensor) -> Tensor:
        left = x.flip(-1).cumsum(-1).flip(-1)[..., :-1]
        return stick.inverse(x[..., :-1] / left)

    return NormalMap("Dirichlet", forward, inverse, differentiable=False)


def _student(df: Tensor, loc: Tensor, scale: Tensor) -> NormalMap:
    from scipy import stats

    unit, place = _numerical("StudentT", stats.t(_array(df))), _affine("", loc, scale)
    return NormalMap(
        "StudentT",
        lambda z: place.forward(unit.forward(z)),
        lambda x: unit.inverse(place.inverse(x)),
        differentiable=False,
    )


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

    return NormalMap(family, lambda z: _Quantile.apply(z, solve)[0], inverse, differentiable=False)


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
    base = base_of(prior)
    d = torch.distributions
    kind = type(base).__name__
    found: NormalMap | None = None
    if is_discrete(base):
        raise ValueError(
            f"the prior of {name!r} is a {kind}, which is discrete: only continuous parameters can be calibrated, so sum over it "
            "in the likelihood, or give it a continuous prior and round."
        )
    if isinstance(base, d.Normal):
        found = _affine("Normal", base.loc, base.scale)
    elif isinstance(base, d.Uniform):
        found = _uniform(base.low, base.high)
    elif isinstance(base, d.HalfNormal):  # a TransformedDistribution by a fold, so it is asked first
        found = _half_normal(base.scale)
    elif isinstance(base, d.HalfCauchy):
        found = _half_cauchy(base.scale)
    elif isinstance(base, d.Cauchy):
        found = _cauchy(base.loc, base.scale)
    elif isinstance(base, d.Exponential):
        found = _exponential(base.rate)
    elif isinstance(base, d.Weibull):  # also a TransformedDistribution
        found = _weibull(base.scale, base.concentration)
    elif isinstance(base, TruncatedNormal):
        found = _truncated_normal(base)
    elif isinstance(base, d.StudentT):
        found = _student(base.df, base.loc, base.scale)
    elif isinstance(base, d.Dirichlet):
        found = _dirichlet(base.concentration)
    elif isinstance(base, d.Beta):
        from scipy import stats

        found = _numerical("Beta", stats.beta(_array(base.concentration1), _array(base.concentration0)))
    elif isinstance(base, d.Gamma):
        from scipy import stats

        found = _numerical("Gamma", stats.gamma(_array(base.concentration), scale=1 / _array(base.rate)))
    elif kind == "InverseGamma":  # a class of torch and one of Pyro
        from scipy import stats

        found = _numerical("InverseGamma", stats.invgamma(_array(base.concentration), scale=_array(base.rate)))
    elif isinstance(base, d.TransformedDistribution):
        found = _transformed(kind, base)
    if found is None:
        raise ValueError(
            f"the prior of {name!r} is a {kind}, which has no map to a standard normal here: use one of {SUPPORTED}"
        )
    return found


def base_of(prior: torch.distributions.Distribution) -> Any:
    """The distribution inside `to_event`, `expand` and `mask`, its parameters of any shape that broadcasts."""
    base: Any = prior
    while isinstance(base, torch.distributions.Independent) or type(base).__name__ in WRAPPERS:
        base = base.base_dist
    return base


def is_discrete(prior: torch.distributions.Distribution) -> bool:
    """Whether draws are counts or categories."""
    try:
        return bool(prior.support.is_discrete)  # type: ignore[union-attr]
    except (NotImplementedError, AttributeError):
        return False


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().double().numpy()
