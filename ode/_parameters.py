"""The calibratable numbers of the within-host model and their priors, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WithinHostParameters:
    """One value of each within-host parameter per particle.

    All seven tensors have the shape `[*batch]` (a scalar when `batch` is empty), one floating type and one device.
    Units and sources are those of `PRIORS`; the equations are in `docs/within_host.md`.

    Attributes:
        viral_growth: exponential growth rate of virus in a host without antibody, 1/day.
        immune_clearance: loss rate of productively infected cells before antibody acts, at age 35, 1/day.
        antibody_per_dose: rise of the neutralising titre by one dose, log10.
        waning_rate: decay rate of that titre after the last dose, 1/day.
        protection_midpoint: titre at which half of the exposures that would infect do not, log10.
        protection_slope: slope of the log-odds of protection, per log10 titre.
        age_effect: slowing of `immune_clearance` per decade of age above 35, log scale.

    Raises:
        ValueError: if shapes, types or devices differ or the type is not floating.
    """

    viral_growth: Tensor
    immune_clearance: Tensor
    antibody_per_dose: Tensor
    waning_rate: Tensor
    protection_midpoint: Tensor
    protection_slope: Tensor
    age_effect: Tensor

    def __post_init__(self) -> None:
        first = self.viral_growth
        if not first.is_floating_point():
            raise ValueError(
                f"WithinHostParameters.viral_growth has type {first.dtype}, but a floating type was expected; "
                "convert the parameters with .double() or .float()."
            )
        for field in fields(self):
            value: Tensor = getattr(self, field.name)
            found = (tuple(value.shape), value.dtype, value.device)
            expected = (tuple(first.shape), first.dtype, first.device)
            if found != expected:
                raise ValueError(
                    f"WithinHostParameters.{field.name} has (shape, type, device) {found}, but viral_growth has "
                    f"{expected}; give every parameter the same one value per particle."
                )

    @property
    def batch_shape(self) -> torch.Size:
        """The shape `[*batch]` shared by all parameters."""
        return self.viral_growth.shape

    @property
    def usable(self) -> Tensor:
        """`[*batch]` bool: every parameter is a number."""
        everything = torch.stack([getattr(self, field.name).detach() for field in fields(self)])
        return (everything.abs() < math.inf).all(0)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Tensor]) -> WithinHostParameters:
        """Take the parameters by name out of a mapping, broadcast to one shape; other names are ignored.

        Raises:
            ValueError: if a parameter is missing.
        """
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise ValueError(
                f"The mapping of within-host parameters has no {', '.join(missing)}; give each name of ode.PRIORS a value."
            )
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, torch.broadcast_tensors(*(values[n] for n in names)), strict=True)))


@dataclass(frozen=True)
class Prior:
    """A prior as plain data: `family` of the parameter with `location` and `scale` on the unbounded scale.

    `lognormal`: log x ~ N(location, scale). `normal`: x ~ N(location, scale). `logitnormal`: logit x ~ N(location, scale).
    """

    name: str
    family: Literal["lognormal", "normal", "logitnormal"]
    location: float
    scale: float
    unit: str
    reason: str

    def quantile(self, z: Tensor) -> Tensor:
        """The parameter at standard normal score `z` (any shape); increasing in `z`."""
        x = self.location + self.scale * z
        if self.family == "lognormal":
            return x.exp()
        return x.sigmoid() if self.family == "logitnormal" else x


PRIORS: tuple[Prior, ...] = (
    Prior(
        "viral_growth",
        "lognormal",
        math.log(4.2),
        0.12,
        "1/day",
        "Virus grows by about four to five log10 in the first days (proliferation phase; Kissler et al. 2021, NEJM 385:2489; "
        "Ke et al. 2022, Nat Microbiol 7:640); median 4.2/day chosen so that load peaks on day 3-4 after infection.",
    ),
    Prior(
        "immune_clearance",
        "lognormal",
        math.log(1.5),
        0.2,
        "1/day",
        "Infected-cell loss of order 1-2/day in target-cell models of SARS-CoV-2 (Ke et al. 2022, Nat Microbiol 7:640); "
        "median 1.5/day and width chosen.",
    ),
    Prior(
        "antibody_per_dose",
        "lognormal",
        math.log(0.5),
        0.2,
        "log10 titre",
        "Chosen, with protection_midpoint, so that protection against Omicron is near 65 % three weeks "
        "after a booster and near 10 % six months after two doses of BNT162b2 (Andrews et al. 2022, NEJM 386:1532).",
    ),
    Prior(
        "waning_rate",
        "lognormal",
        math.log(math.log(2.0) / 75.0),
        0.3,
        "1/day",
        "Half-life 108 days of neutralising titre over the first 8 months (Khoury et al. 2021, Nat Med "
        "27:1205); median half-life 75 days chosen, since protection against Omicron was lost faster (Andrews et al. 2022).",
    ),
    Prior(
        "protection_midpoint",
        "normal",
        1.2,
        0.15,
        "log10 titre",
        "Titre above the unvaccinated level; chosen together with antibody_per_dose (Andrews et al. 2022).",
    ),
    Prior(
        "protection_slope",
        "lognormal",
        math.log(3.0),
        0.2,
        "1/log10 titre",
        "Logistic slope 3.0 (95 % CI 2.2-4.2) of protection on log10 titre: Khoury et al. 2021, Nat Med 27:1205.",
    ),
    Prior(
        "age_effect",
        "normal",
        0.02,
        0.03,
        "1/decade",
        "Older hosts clear somewhat later (sign: Hay et al. 2022, eLife 11:e81849); size chosen.",
    ),
)


def prior_median(*, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> WithinHostParameters:
    """The parameters at their prior medians, scalars, in `dtype` (default: torch's) on `device`.

    Examples:
        >>> import ode
        >>> median = ode.prior_median()
        >>> float(median.viral_growth) > 0
        True
    """
    zero = torch.zeros((), dtype=dtype, device=device)
    return WithinHostParameters(**{prior.name: prior.quantile(zero) for prior in PRIORS})


def prior_draws(count: int, generator: torch.Generator, *, dtype: torch.dtype | None = None) -> WithinHostParameters:
    """Independent prior draws, each tensor `[count]`; the randomness comes from `generator` alone.

    Examples:
        >>> import torch
        >>> import ode
        >>> draws = ode.prior_draws(4, torch.Generator().manual_seed(0))
        >>> draws.viral_growth.shape
        torch.Size([4])
    """
    z = torch.randn(len(PRIORS), count, generator=generator, dtype=dtype, device=generator.device)
    return WithinHostParameters(**{prior.name: prior.quantile(row) for prior, row in zip(PRIORS, z, strict=True)})
