"""Named parameters and their one map to and from z ~ N(0, I)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution

from calib._maps import NormalMap, base_of, normal_map


@dataclass(frozen=True)
class Parameter:
    """One named parameter, scalar or array, with independent entries.

    Attributes:
        name: name of the parameter (of the Pyro site).
        prior: torch or Pyro distribution; batch and event axes together are the shape of the parameter.
        unit: unit in words, e.g. "per day".
        reason: where the prior comes from.
        labels: for a vector, one name per entry.
        plates: names of the Pyro plates it stands in, if it was read from a model.

    Examples:
        >>> import torch
        >>> from torch.distributions import LogNormal, Normal
        >>> from calib import Parameter
        >>> Parameter("delay", LogNormal(1.6, 0.3), unit="days").size
        1
        >>> Parameter("effect", Normal(torch.zeros(2), 1.0), labels=("north", "south")).size
        2
    """

    name: str
    prior: Distribution
    unit: str = ""
    reason: str = ""
    labels: tuple[str, ...] = ()
    plates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels and (len(self.shape) != 1 or len(self.labels) != self.shape[0]):
            raise ValueError(
                f"parameter {self.name!r} has shape {self.shape} but {len(self.labels)} labels: "
                "give a vector one label per entry, or no labels"
            )

    def __getstate__(self) -> dict[str, object]:
        """Everything but the map, which is made anew where it is asked for: functions cannot be pickled."""
        return {key: value for key, value in self.__dict__.items() if key != "map"}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one draw."""
        return (*self.prior.batch_shape, *self.prior.event_shape)

    @property
    def free_shape(self) -> tuple[int, ...]:
        """Shape of its coordinates: that of one draw, but one fewer than the shares of a Dirichlet."""
        if isinstance(base_of(self.prior), Dirichlet):
            return (*self.shape[:-1], self.shape[-1] - 1)
        return self.shape

    @property
    def size(self) -> int:
        """Number of flat coordinates."""
        return prod(self.free_shape)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the flat coordinates, e.g. `effect[North]`, `effect[3]` or `rate`."""
        if not self.shape:
            return (self.name,)
        if self.labels:
            return tuple(f"{self.name}[{label}]" for label in self.labels[: self.size])
        index = torch.cartesian_prod(*[torch.arange(n) for n in self.free_shape]).reshape(self.size, -1)
        return tuple(f"{self.name}[{','.join(str(i) for i in row)}]" for row in index.tolist())

    @cached_property
    def map(self) -> NormalMap:
        """The elementwise map to and from N(0, 1)."""
        return normal_map(self.name, self.prior)


@dataclass(frozen=True)
class ParameterSpace:
    """Ordered named parameters seen as one vector z of independent standard normals.

    The map is smooth and increasing in each coordinate for every built-in family, and exact: if z ~ N(0, I)
    then `to_theta(z)` is a draw of the prior. It works under reverse mode, `torch.func.jvp`/`jacfwd` and
    `vmap`.

    Attributes:
        parameters: the parameters, in the order of their coordinates.

    Examples:
        >>> import torch
        >>> from torch.distributions import LogNormal, Normal
        >>> from calib import Parameter, ParameterSpace
        >>> space = ParameterSpace((Parameter("rate", LogNormal(0.0, 1.0)), Parameter("effect", Normal(torch.zeros(2), 1.0))))
        >>> space.dim, space.names
        (3, ('rate', 'effect[0]', 'effect[1]'))
        >>> space.to_theta(torch.zeros(1, 3))  # z = 0 is the median
        {'rate': tensor([1.]), 'effect': tensor([[0., 0.]])}
    """

    parameters: tuple[Parameter, ...]
    _slices: dict[str, slice] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters:
            raise ValueError("a parameter space needs at least one parameter, got none")
        start = 0
        for p in self.parameters:
            if p.name in self._slices:
                raise ValueError(f"parameter {p.name!r} appears twice in the space: names must be unique")
            _ = p.map  # an unsupported prior is an error now rather than at the first use
            self._slices[p.name] = slice(start, start + p.size)
            start += p.size

    @cached_property
    def dim(self) -> int:
        """Number of flat coordinates, D."""
        return sum(p.size for p in self.parameters)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the D flat coordinates."""
        return tuple(name for p in self.parameters for name in p.coordinates)

    def slice_of(self, name: str) -> slice:
        """Where the coordinates of a parameter stand in z.

        Raises:
            ValueError: if there is no such parameter.
        """
        if name not in self._slices:
            raise ValueError(f"no parameter {name!r} in the space, which has {', '.join(self._slices)}")
        return self._slices[name]

    def to_theta(self, z: Tensor) -> dict[str, Tensor]:
        """Map standard normal coordinates to parameters.

        Args:
            z: `[*batch, D]`.

        Returns:
            Each parameter by name, `[*batch, *event]`, in the dtype and on the device of z.

        Raises:
            ValueError: if the last axis of z is not D.
        """
        if z.ndim == 0 or z.shape[-1] != self.dim:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected [*batch, {self.dim}] for this space")
        theta = {}
        for p in self.parameters:
            part = z[..., self._slices[p.name]].reshape((*z.shape[:-1], *p.free_shape))
            theta[p.name] = p.map.forward(part)
        return theta

    def to_z(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Inverse of `to_theta`.

        Args:
            theta: every parameter by name, `[*batch, *event]`, the same batch for all.

        Returns:
            z `[*batch, D]`.

        Raises:
            ValueError: if a parameter is missing or has the wrong trailing shape.
        """
        return torch.cat([_rows(p, p.map.inverse(self._take(p, theta))) for p in self.parameters], dim=-1)

    def flatten(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Parameters side by side, in their own units; of the shares of a Dirichlet all but the last.

        Args:
            theta: every parameter by name, `[*batch, *event]`.

        Returns:
            `[*batch, D]`, columns named by `names`.

        Raises:
            ValueError: if a parameter is missing or has the wrong trailing shape.
        """
        return torch.cat([_rows(p, _free(p, self._take(p, theta))) for p in self.parameters], dim=-1)

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Inverse of `flatten`: `[*batch, D]` to parameters by name."""
        shape = flat.shape[:-1]
        parts = {p: flat[..., self._slices[p.name]].reshape((*shape, *p.free_shape)) for p in self.parameters}
        return {
            p.name: part if p.free_shape == p.shape else torch.cat([part, 1 - part.sum(-1, keepdim=True)], -1)
            for p, part in parts.items()
        }

    def inside(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Whether parameters lie within the bounds of their priors, `[*batch]`.

        Args:
            theta: every parameter by name, `[*batch, *event]`.
        """
        kept = []
        for p in self.parameters:
            value = self._take(p, theta)
            within = base_of(p.prior).support.check(value)  # one entry for all shares of a Dirichlet
            kept.append(within.reshape((*value.shape[: value.ndim - len(p.shape)], -1)).all(-1))
        return torch.stack(kept).all(0)

    def log_slope(self, z: Tensor) -> dict[str, Tensor]:
        """Log derivative of each coordinate of theta with respect to its z, summed over the parameter.

        From p(theta) dtheta = N(z) dz: log |dtheta/dz| = log N(z; 0, 1) - log p(theta).

        Args:
            z: `[*batch, D]`.

        Returns:
            For each parameter, `[*batch]`.
        """
        theta = self.to_theta(z)
        out = {}
        for p in self.parameters:
            part = z[..., self._slices[p.name]]
            log_phi = torch.distributions.Normal(0.0, 1.0, validate_args=False).log_prob(part).sum(-1)
            log_p = p.prior.log_prob(theta[p.name])
            extra = log_p.ndim - (z.ndim - 1)  # batch axes of the prior that belong to the parameter
            out[p.name] = log_phi - (log_p.flatten(-extra).sum(-1) if extra else log_p)
        return out

    def sample_prior(
        self, count: int, generator: torch.Generator, *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Independent draws of the prior.

        Args:
            count: number of draws, S.
            generator: source of randomness; draws are made on its device.
            dtype: floating type; torch's default if None.

        Returns:
            Each parameter by name, `[S, *event]`.
        """
        z = torch.randn(count, self.dim, generator=generator, dtype=dtype, device=generator.device)
        return self.to_theta(z)

    def describe(self) -> pd.DataFrame:
        """The prior as a table.

        Returns:
            One row per flat coordinate: name, family, median, low (5 %), high (95 %), unit, reason.
        """
        level = torch.special.ndtri(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
        flat = self.flatten(self.to_theta(level[:, None].expand(3, self.dim)))
        low, median, high = flat.sort(dim=0).values.tolist()
        owner = [p for p in self.parameters for _ in range(p.size)]
        return pd.DataFrame(
            {
                "name": self.names,
                "family": [p.map.family for p in owner],
                "median": median,
                "low": low,
                "high": high,
                "unit": [p.unit for p in owner],
                "reason": [p.reason for p in owner],
            }
        )

    def subset(self, names: Sequence[str]) -> ParameterSpace:
        """The space of some of the parameters, in the order given."""
        by_name = {p.name: p for p in self.parameters}
        for name in names:
            self.slice_of(name)
        return ParameterSpace(tuple(by_name[name] for name in names))

    @staticmethod
    def _take(p: Parameter, theta: Mapping[str, Tensor]) -> Tensor:
        if p.name not in theta:
            raise ValueError(f"theta has no {p.name!r} (it has {', '.join(theta)}): give every parameter of the space")
        value = theta[p.name]
        if tuple(value.shape[value.ndim - len(p.shape) :]) != p.shape:
            raise ValueError(f"theta[{p.name!r}] has shape {tuple(value.shape)}, expected [*batch, *{p.shape}]")
        return value


def _rows(p: Parameter, value: Tensor) -> Tensor:
    """`[*batch, *event]` with the axes of a draw in one, `[*batch, D of it]`."""
    return value.reshape((*value.shape[: value.ndim - len(p.shape)], p.size))


def _free(p: Parameter, value: Tensor) -> Tensor:
    return value if p.free_shape == p.shape else value[..., :-1]
