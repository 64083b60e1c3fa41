"""Observations of which a coordinator has none: the likelihood that all methods of `calib.multifidelity` ask, as sums over sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calib.federated._federation import Federation
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._observations import StreamObservations
from calib.multifidelity._problem import Observations
from calib.multifidelity._shared_error import SharedError


@dataclass(frozen=True, eq=False)
class FederatedObservations:
    """Observations held by sites; an `Observations` of `calib.multifidelity`.

    Gauss-Newton, flow and chains ask for value and gradient at points of an emulator, which is published to the sites, and for Fisher
    information. What is public is which outputs a site has data of and by which family: `weight`, which needs no data, comes from that.

    Attributes:
        federation: asks the sites.
        public: by site, its observations without the data (`without_data`).
        dim: number of coordinates D.
    """

    federation: Federation
    public: Mapping[str, Observations]
    dim: int

    def __post_init__(self) -> None:
        for name, at in self.federation.which.items():
            if name not in self.public or not torch.equal(self.public[name].which, at):
                raise ValueError(
                    f"site {name} has data of {len(at)} outputs that are not those stated for it: state which outputs it observes."
                )

    @cached_property
    def which(self) -> Tensor:
        """`[F]` in ascending order, whichever site an output belongs to."""
        return torch.cat([self.public[name].which for name in self.federation.sites]).sort(stable=True).values

    @cached_property
    def columns(self) -> dict[str, Tensor]:
        """`[F_s]` by site, where its outputs stand in `which`."""
        order = torch.cat([self.public[name].which for name in self.federation.sites]).argsort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        sizes = [len(self.public[name].which) for name in self.federation.sites]
        return dict(zip(self.federation.sites, place.split(sizes), strict=True))

    @property
    def integrates_error(self) -> bool:
        """As the sites' likelihoods do."""
        return all(o.integrates_error for o in self.public.values())

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """There is none of given means, whose gradient would tell every datum.

        Raises:
            TypeError: always; `compiled` and `at_emulator` give that at points of an emulator.
        """
        raise TypeError(
            "federated observations have no likelihood of given expected outputs, since its gradient would tell each datum; "
            "ask at points of an emulator (`compiled`, `at_emulator`)."
        )

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`."""
        return self.federation.information(z, mean, jacobian, variance)

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """See `Observations`; it needs no data."""
        out = torch.empty_like(mean)
        for name, at in self.columns.items():
            out[:, at] = self.public[name].weight(z, mean[:, at])
        return out

    def compiled(self, emulator: Emulator, errors: SharedError | None) -> AskedSites:
        """See `Observations`: the likelihood by an emulator of the outputs compared, each site's by itself."""
        key = self.federation.publish(emulator, errors, self.columns, self.dim)
        return AskedSites(self.federation, key)

    def at_emulator(self, emulator: Emulator) -> Callable[[Tensor], Tensor]:
        """Log likelihood `[P]` at `z [P, D]` of an emulator of all outputs, its error left out; differentiable once."""
        key = self.federation.publish(emulator.of(self.which), None, self.columns, self.dim, exact=True)
        asked = AskedSites(self.federation, key, exact=True)
        return lambda z: asked(z, z[:, :0])


@dataclass(frozen=True, eq=False)
class AskedSites:
    """Log likelihood of all sites' data by a published emulator; a `Compiled` of `calib.multifidelity`.

    Attributes:
        federation: asks the sites. emulator: name of the emulator published. exact: whether its own error is left out.
    """

    federation: Federation
    emulator: str
    exact: bool = False

    def __call__(self, z: Tensor, drawn: Tensor) -> Tensor:
        """See `Compiled`."""
        value: Tensor = _Density.apply(z, drawn, self)
        return value

    def value_and_gradients(self, z: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Compiled`."""
        return self.federation.density(self.emulator, z.detach(), drawn.detach(), exact=self.exact)


class _Density(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, drawn: Tensor, asked: AskedSites) -> Tensor:
        value, *slopes = asked.value_and_gradients(z, drawn)
        ctx.save_for_backward(*slopes)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        return *(by[:, None] * slope for slope in ctx.saved_tensors), None


def without_data(observations: StreamObservations) -> StreamObservations:
    """Which outputs are observed, and by which family, with ones in the place of the data."""
    streams = tuple(
        (replace(stream, data=torch.where(torch.isfinite(stream.data), 1.0, torch.nan)), places)
        for stream, places in observations.streams
    )
    return replace(observations, data=torch.ones_like(observations.data), streams=streams)
