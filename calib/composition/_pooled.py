"""Several regions, waves or diseases under one prior: shared parameters differ by a standard deviation that is learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._calibrate import calibrate
from calib._calibration import Calibration
from calib._observed import Evaluate, Likelihood, as_data
from calib._rows import as_rows
from calib._shared_space import shared_space
from calib._short_repr import short_repr
from calib._space import Parameter, ParameterSpace


@dataclass(frozen=True, eq=False)
class Region:
    """One of several calibrations that share a prior.

    Attributes:
        model: `(theta {name: [P, *event]}, seed) -> outputs [P, M]`.
        prior: of its parameters.
        data: observed; NaN where missing.
        likelihood: distribution of the data given outputs.
    """

    __repr__ = short_repr

    model: Callable[..., Any]
    prior: ParameterSpace | Mapping[str, Distribution]
    data: Any
    likelihood: Likelihood

    @property
    def space(self) -> ParameterSpace:
        """Its parameters."""
        if isinstance(self.prior, ParameterSpace):
            return self.prior
        return ParameterSpace(tuple(Parameter(name, given) for name, given in self.prior.items()))


@dataclass(frozen=True, eq=False)
class Pooled:
    """One problem made of several.

    A shared parameter p has in region r the standard normal coordinate `m + sd * u_r`. The mean over regions is the parameter `<p>`, with the
    prior's own distribution and coordinate `m`. `<p>_sd` is in units of the prior's standard deviation, on the prior's normal scale. The rows
    of `<p>_by_region` are the `u_r`, N(0, 1). For a normal prior N(a, b^2) this is the normal hierarchical model: theta_r ~ N(mu, (b sd)^2),
    mu ~ N(a, b^2). Parameters that are not shared are `<region>:<name>`.

    Attributes:
        regions: by name.
        shared: names of the parameters under one prior.
        space: all parameters.
    """

    regions: Mapping[str, Region]
    shared: tuple[str, ...]
    space: ParameterSpace
    _values: Mapping[str, Evaluate] = field(repr=False)

    def theta_of(self, region: str, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of one region by its own names, `[*batch, *event]`, at parameters of the pool.

        Raises:
            ValueError: there is no such region.
        """
        names = list(self.regions)
        if region not in names:
            raise ValueError(f"there is no region {region!r} in the pool: choose among {', '.join(names)}.")
        own: dict[str, Tensor] = {}
        for p in self.regions[region].space.parameters:
            if p.name not in self.shared:
                own[p.name] = theta[f"{region}:{p.name}"]
                continue
            centre, sd = p.map.inverse(theta[p.name]), theta[f"{p.name}_sd"]
            offset = theta[f"{p.name}_by_region"]
            offset = offset.select(offset.ndim - 1 - len(p.free_shape), names.index(region))
            own[p.name] = p.map.forward(centre + sd.reshape(*sd.shape, *[1] * len(p.free_shape)) * offset)
        return own

    def __call__(self, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        """Log likelihood of all regions `[P, 1]`: the pool as a simulator whose output is the log likelihood."""
        total: Tensor | None = None
        for name, region in self.regions.items():
            own = self.theta_of(name, theta)
            count = len(next(iter(own.values())))
            value = self._values[name](as_rows(region.model(own, seed), count))
            total = value if total is None else total + value
        assert total is not None
        return total[:, None]

    def outputs(self, region: str, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        """Outputs `[P, M]` of one region's simulator at parameters of the pool: its forecast."""
        own = self.theta_of(region, theta)
        with torch.no_grad():
            return as_rows(self.regions[region].model(own, seed), len(next(iter(own.values()))))


def pool(
    regions: Mapping[str, Region], *, shared: Sequence[str], sd: Distribution | Mapping[str, Distribution] | None = None
) -> Pooled:
    """Put several calibrations under one prior.

    Args:
        regions: by name, at least two. One with few data is told of by the others; one without data at all has no place.
        shared: parameters that all regions have, with the same prior in each.
        sd: prior of the standard deviation over regions, in units of the prior's own; one for all or one for each shared parameter.
            HalfNormal(1) if None.

    Raises:
        ValueError: there is one region alone, nothing is shared, or a shared parameter is missing in a region or has another prior or shape
            there.
    """
    space = shared_space({name: region.space for name, region in regions.items()}, shared, sd)
    values = {name: Evaluate(region.likelihood, as_data(region.data)) for name, region in regions.items()}
    return Pooled(dict(regions), tuple(shared), space, values)


def pooled(
    regions: Mapping[str, Region],
    *,
    shared: Sequence[str],
    sd: Distribution | Mapping[str, Distribution] | None = None,
    **options: Any,
) -> tuple[Pooled, Calibration]:
    """Calibrate several regions, waves or diseases at once, under one prior with a learnt standard deviation.

    Args:
        regions: by name, at least two.
        shared: parameters under one prior.
        sd: see `pool`.
        **options: of `calibrate`; Hamiltonian chains by default, which need simulators that torch differentiates. For others give
            `method=` and `gradient="score"`.

    Returns:
        The pool, which gives each region's parameters and forecast at draws, and the calibration.

    Raises:
        ValueError: see `pool` and `calibrate`.

    Examples:
        Three means, the third with one observation, told by the others:

        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from calib import Region, pooled
        >>> def level(n):
        ...     return lambda theta, seed: theta["level"][:, None].expand(-1, n)
        >>> likelihood = lambda out: Independent(Normal(out, 1.0), 1)
        >>> data = {"a": [2.0, 2.2, 1.9, 2.1], "b": [2.1, 1.8, 2.0, 2.2], "c": [3.5]}
        >>> regions = {r: Region(level(len(y)), {"level": Normal(0.0, 5.0)}, y, likelihood) for r, y in data.items()}
        >>> pool, found = pooled(regions, shared=("level",), budget=3_000, seed=1)
        >>> c = pool.theta_of("c", found.sample(2000))["level"].mean()
        >>> bool(2.0 < c < 3.5)
        True
    """
    problem = pool(regions, shared=shared, sd=sd)
    settings: dict[str, Any] = {"method": "hmc", "gradient": "reverse", "budget": 40_000} | options
    return problem, calibrate(problem, problem.space, **settings)
