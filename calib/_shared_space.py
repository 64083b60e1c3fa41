"""The parameters of several calibrations that share a prior with a learnt standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.distributions import Distribution, HalfNormal, Normal

from calib._space import Parameter, ParameterSpace


def shared_space(
    spaces: Mapping[str, ParameterSpace],
    shared: Sequence[str],
    sd: Distribution | Mapping[str, Distribution] | None = None,
) -> ParameterSpace:
    """The parameters of a pool, from those of its regions: see `Pooled` for their names and `pool` for what is refused."""
    if len(spaces) < 2:
        raise ValueError(
            f"one region alone ({', '.join(spaces) or 'none'}) was given to pool, expected at least 2: calibrate it by itself, or add others."
        )
    if not shared:
        raise ValueError("no parameter is shared: name at least one, or calibrate the regions one by one.")
    for name in spaces:
        if ":" in name or "/" in name:
            raise ValueError(f"a region is called {name!r}: leave out ':' and '/', which part names in the pool.")
    first_name = next(iter(spaces))
    parameters: list[Parameter] = []
    for name in shared:
        known = {r: {p.name: p for p in space.parameters}.get(name) for r, space in spaces.items()}
        lacking = [r for r, p in known.items() if p is None]
        if lacking:
            raise ValueError(
                f"region {lacking[0]!r} has no parameter {name!r}, which is shared: add it, or do not share it."
            )
        p = known[first_name]
        assert p is not None
        for r, other in known.items():
            if other is None or other.shape != p.shape or not _alike(p, other):
                raise ValueError(
                    f"the prior of {name!r} in region {r!r} is not that in {first_name!r}: give shared parameters one prior."
                )
        width = sd.get(name) if isinstance(sd, Mapping) else sd
        width = HalfNormal(torch.tensor(1.0, dtype=torch.float64)) if width is None else width
        shape = (len(spaces), *p.free_shape)
        unit = Normal(torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64))
        parameters += [p, Parameter(f"{name}_sd", width, "prior sds"), Parameter(f"{name}_by_region", unit)]
    for r, space in spaces.items():
        parameters += [
            Parameter(f"{r}:{p.name}", p.prior, p.unit, p.reason, p.labels)
            for p in space.parameters
            if p.name not in shared
        ]
    return ParameterSpace(tuple(parameters))


def _alike(first: Parameter, other: Parameter) -> bool:
    """Whether two priors take the same values at a few points of the normal scale."""
    z = torch.tensor([-1.0, 0.0, 1.5], dtype=torch.float64)
    z = z.reshape(3, *[1] * len(first.free_shape)).expand(3, *first.free_shape)
    return bool(torch.allclose(first.map.forward(z), other.map.forward(z)))
