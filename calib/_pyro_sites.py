"""The unobserved sites of a Pyro model as standard normal coordinates, one particle at a time.

A site whose prior has a map from N(0, 1) is that map of its coordinates, also where the prior depends on other
sites: a hierarchy is then in its non-centred form by itself. Every other site is the image of its coordinates
under `biject_to(support)`, and its density enters as a factor. The support may depend on other sites too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import SubsampleMessenger
from torch import Tensor
from torch.distributions import biject_to, constraints

from calib._maps import NormalMap, base_of, is_discrete, normal_map

How = Literal["prior", "conditional", "support"]
FIXED_SUPPORTS = (
    constraints.nonnegative_integer,
    constraints.boolean,
    constraints.positive,
    constraints.nonnegative,
    constraints.unit_interval,
    constraints.real,
    constraints.real_vector,
)
"""Supports that no parameter moves: data outside them are a mistake, not an impossible draw."""


@dataclass(frozen=True)
class Site:
    """One unobserved site.

    Attributes:
        name: of the site.
        shape: of its value for one particle.
        free_shape: of its coordinates.
        how: how coordinates become a value: by the map of its prior, of its prior given other sites, or of its
            support alone.
        map: of its prior, where `how` is `"prior"`.
        unit: in words.
        reason: where the prior comes from.
        labels: names of the entries of a vector.
        prior: always None; a `Parameter` has one.
    """

    name: str
    shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    how: How
    map: NormalMap | None = None
    unit: str = ""
    reason: str = ""
    labels: tuple[str, ...] = ()
    prior: None = None

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.free_shape)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates: `tau`, `theta[North]` or `theta[3]`."""
        if not self.free_shape:
            return (self.name,)
        if len(self.labels) == self.size:
            return tuple(f"{self.name}[{label}]" for label in self.labels)
        index = torch.cartesian_prod(*[torch.arange(n) for n in self.free_shape]).reshape(self.size, -1)
        return tuple(f"{self.name}[{','.join(str(i) for i in row)}]" for row in index.tolist())


def is_latent(msg: Any) -> bool:
    """Whether a site is unobserved and no choice of a subsample."""
    return msg["type"] == "sample" and not msg["is_observed"] and not poutine.util.site_is_subsample(msg)


def is_enumerated(msg: Any) -> bool:
    """Whether a discrete site is summed over."""
    return (msg["infer"] or {}).get("enumerate") == "parallel" and is_discrete(msg["fn"])


def is_data(msg: Any) -> bool:
    """Whether a site holds observations (and is neither a factor nor a deterministic value)."""
    infer = msg["infer"] or {}
    plain = not infer.get("_deterministic", False) and not poutine.util.site_is_factor(msg)
    return msg["type"] == "sample" and bool(msg["is_observed"]) and plain


def conditional_map(name: str, fn: Any) -> NormalMap | None:
    """The map of a prior from N(0, I) that can be differentiated in the prior's own parameters; None if there is none."""
    base = base_of(fn)
    if isinstance(base, torch.distributions.MultivariateNormal):
        loc, root = base.loc, base.scale_tril
        return NormalMap(
            "MultivariateNormal",
            lambda z: loc + (root @ z[..., None])[..., 0],
            lambda x: torch.linalg.solve_triangular(root, (x - loc)[..., None], upper=False)[..., 0],
        )
    try:
        found = normal_map(name, fn)
    except ValueError:
        return None
    return found if found.differentiable else None


class Fill(Messenger):
    """Gives every unobserved site its value at coordinates z, or its coordinates at given values.

    Must be the outermost handler of the model, so that it sees masks, scales and plates. Afterwards the trace
    holds, of the prior, only the densities of sites that are mapped by their support.

    Args:
        sites: the sites by name, in the order of z.
        z: `[D]`; or None if theta is given.
        theta: values by name; or None.
        slopes: whether `log_slope` is filled.
        draw: whether sites that are mapped by their support are drawn instead.

    Attributes:
        values: by site.
        parts: coordinates by site.
        log_slope: log |d value / d z| by site.
        correction: log density, less that of N(0, I), of what is mapped by its support; the factor of the prior apart.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        z: Tensor | None = None,
        theta: Mapping[str, Tensor] | None = None,
        *,
        slopes: bool = False,
        draw: bool = False,
    ) -> None:
        super().__init__()
        self.sites, self.theta, self.slopes, self.draw = sites, theta, slopes, draw
        self.given: dict[str, Tensor] = {}
        if z is not None:
            start = 0
            for site in sites.values():
                self.given[site.name] = z[start : start + site.size].reshape(site.free_shape)
                start += site.size
        self.values: dict[str, Tensor] = {}
        self.parts: dict[str, Tensor] = {}
        self.log_slope: dict[str, Tensor] = {}
        self.correction: Tensor | float = 0.0

    def _pyro_sample(self, msg: Any) -> None:
        if not is_latent(msg) or is_enumerated(msg):
            return
        site, fn = self.sites.get(msg["name"]), msg["fn"]
        if site is None:
            raise ValueError(
                f"the model drew {msg['name']!r}, which it did not draw when it was read: every run must have the same sites."
            )
        if site.how == "support":
            self._by_support(site, fn, msg)
        else:
            self._by_prior(site, fn, msg)
        msg["value"] = self.values[site.name]
        msg["is_observed"] = True
        msg["done"] = True

    def _by_prior(self, site: Site, fn: Any, msg: Any) -> None:
        where = site.map if site.map is not None else conditional_map(site.name, fn)
        assert where is not None
        if self.theta is not None:
            value = self.theta[site.name]
            part = where.inverse(value)
        else:
            part = self.given[site.name]
            value = where.forward(part)
        self.values[site.name], self.parts[site.name] = value, part
        if self.slopes:
            self.log_slope[site.name] = log_normal(part) - base_log_prob(fn, value)
        msg["fn"] = Delta(value, event_dim=fn.event_dim).mask(False)  # its density is that of the coordinates

    def _by_support(self, site: Site, fn: Any, msg: Any) -> None:
        transform = biject_to(fn.support)
        if self.draw:
            self.values[site.name] = fn.sample()
            self.parts[site.name] = transform.inv(self.values[site.name])
            return
        if self.theta is not None:
            value = self.theta[site.name]
            part = transform.inv(value)
        else:
            part = self.given[site.name]
            value = transform(part)
        slope = transform.log_abs_det_jacobian(part, value).sum()
        self.values[site.name], self.parts[site.name] = value, part
        self.log_slope[site.name] = slope
        self.correction = self.correction + slope - log_normal(part)


def log_normal(z: Tensor) -> Tensor:
    """Log density of N(0, I), summed over all axes."""
    return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum()


def base_log_prob(fn: Any, value: Tensor) -> Tensor:
    """Log density summed over all axes, masks left out: a masked unobserved site keeps its prior."""
    while type(fn).__name__ == "MaskedDistribution":
        fn = fn.base_dist
    total: Tensor = fn.log_prob(value).sum()
    return total


class Missing(Messenger):
    """Puts an observed value in the place of masked ones that are not finite, so that derivatives stay finite.

    Must be inside of what gives unobserved sites their values: `Missing()(model)`.

    Args:
        names: sites that are known to have such values; every site is looked at, and data are checked, if None.

    Attributes:
        found: names of the sites that had some.

    Raises (when the model runs):
        ValueError: observations that are not masked are not finite, or not in a support that no parameter moves.
    """

    def __init__(self, names: frozenset[str] | None = None) -> None:
        super().__init__()
        self.names, self.found = names, set[str]()

    def _pyro_sample(self, msg: Any) -> None:
        if not is_data(msg) or not isinstance(msg["value"], Tensor):
            return
        if self.names is not None and msg["name"] not in self.names:
            return  # an observed value may be computed from sites (obs=f(theta)), and is then no plain tensor under vmap
        value, fn, mask = msg["value"], msg["fn"], msg["mask"]
        axes = tuple(range(-fn.event_dim, 0))
        finite = torch.isfinite(value) if value.is_floating_point() else torch.ones_like(value, dtype=torch.bool)
        fine = finite.all(axes) if axes else finite
        if not bool(fine.all()):
            used = torch.as_tensor(True if mask is None else mask).expand_as(fine)
            if bool((used & ~fine).any()):
                raise ValueError(
                    f"site {msg['name']!r} has {int((used & ~fine).sum())} observations that are not finite: leave missing ones "
                    "out by pyro.poutine.mask(mask=...)."
                )
            good = value[fine]
            instead = good[0] if len(good) else torch.ones_like(value[(0,) * fine.ndim])
            value = torch.where(fine.reshape(*fine.shape, *(1,) * fn.event_dim), value, instead)
            msg["value"] = value
            self.found.add(msg["name"])
        if self.names is None and any(getattr(base_of(fn), "support", None) is each for each in FIXED_SUPPORTS):
            good = base_of(fn).support.check(value)
            good = good.all(axes) if axes and good.shape == value.shape else good
            if mask is not None and not bool(good.all()):
                good = good | ~torch.as_tensor(mask)
            if not bool(good.all()):
                raise ValueError(
                    f"site {msg['name']!r} was given {int((~good).sum())} observations that a {type(base_of(fn)).__name__} cannot "
                    "give: check the data and the distribution."
                )


@contextmanager
def whole_plates() -> Iterator[None]:
    """Every plate that draws a subsample takes all of its data in here: a likelihood must not change from call to call."""
    kept: Callable[..., Any] = SubsampleMessenger._subsample

    def whole(
        name: str, size: Any = None, subsample_size: Any = None, subsample: Any = None, *rest: Any, **more: Any
    ) -> Any:
        return kept(name, size, subsample_size if subsample is not None else None, subsample, *rest, **more)

    SubsampleMessenger._subsample = staticmethod(whole)  # type: ignore[method-assign]
    try:
        yield
    finally:
        SubsampleMessenger._subsample = staticmethod(kept)  # type: ignore[method-assign]
