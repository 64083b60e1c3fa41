"""What parts need besides parameters, and what they contribute to an epidemic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import ode
from epi.data import EpidemicData, Layout
from epi.study import Study
from sim import Population

if TYPE_CHECKING:
    from epi.model.epidemic import Epidemic

__all__ = [
    "DiseasePart",
    "HostPart",
    "HostTables",
    "ImportationPart",
    "MixingPart",
    "RegionPart",
    "Setting",
    "StreamPart",
    "TransmissionPart",
    "prepare",
]

Theta = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Setting:
    """What parts need besides parameters.

    Attributes:
        data: the study's tables.
        population: the agents.
        days: T.
        index: the W weeks.
        device, dtype: of the run's tensors.
    """

    data: EpidemicData
    population: Population
    days: int
    index: pd.DatetimeIndex
    device: torch.device
    dtype: torch.dtype

    @property
    def study(self) -> Study:
        """The study."""
        return self.data.study

    @cached_property
    def layout(self) -> Layout:
        """Order of the outputs over the weeks."""
        return Layout(self.study, self.index)

    def real(self, x: NDArray[np.floating] | NDArray[np.integer]) -> Tensor:
        """An array as a tensor of the run."""
        return torch.as_tensor(np.ascontiguousarray(x), dtype=self.dtype, device=self.device)

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of regions R and age bands A; groups are region x age."""
        return len(self.study.region), len(self.study.ages)


@dataclass(frozen=True)
class HostTables:
    """What a disease gives the epidemic and what is seen of it, by archetype.

    Axes: K archetypes, D days since infection, S periods of `sim.PERIOD` days, E days since infection with E = T, or 0 where people are
    infected once.

    Attributes:
        infectiousness: `[*batch, K, D]`.
        susceptibility: `[*batch, K]` on the reference day.
        waning: `[*batch, K, S]` susceptibility over that, by period.
        reinfection: `[*batch, K, E]` susceptibility since an infection over that of somebody never infected.
        severity: `[*batch, K, S]` of an infection over that of a host without immunity.
        shedding: `[*batch, K, D]`.
        finite: `[*batch]` whether the particle can be used.
    """

    infectiousness: Tensor
    susceptibility: Tensor
    waning: Tensor
    reinfection: Tensor
    severity: Tensor
    shedding: Tensor
    finite: Tensor


@runtime_checkable
class TransmissionPart(Protocol):
    """A factor on transmission by layer and day."""

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, layer, T]`, or 1 in place of a layer axis of any length."""
        ...


@runtime_checkable
class RegionPart(Protocol):
    """A factor on community transmission by region."""

    def region_factor(self, theta: Theta) -> Tensor:
        """`[*batch, R]`."""
        ...


@runtime_checkable
class MixingPart(Protocol):
    """Who meets whom in the community."""

    def mixing(self, theta: Theta, region_factor: Tensor | None) -> Tensor:
        """`[*batch, G, G]` weight of a group's mean infectiousness (column) for an agent of another (row)."""
        ...


@runtime_checkable
class ImportationPart(Protocol):
    """Infections from outside."""

    def importation(self, theta: Theta) -> Tensor:
        """`[*batch, T, G]` hazard per person and day."""
        ...


@runtime_checkable
class DiseasePart(Protocol):
    """Infectiousness, susceptibility and severity by archetype."""

    @property
    def archetypes(self) -> ode.Archetypes: ...  # noqa: D102

    def hosts(self, theta: Theta, solver: ode.Solver = "auto") -> HostTables:
        """The tables of each particle."""
        ...


@runtime_checkable
class HostPart(Protocol):
    """What changes the hosts apart from the disease: it may tell more archetypes apart."""

    def changed_hosts(self, theta: Theta, hosts: HostTables) -> HostTables:
        """The tables of each particle."""
        ...


@runtime_checkable
class StreamPart(Protocol):
    """Expected observations of a stream."""

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """`[*batch, W, place]`."""
        ...


@singledispatch
def prepare(part: Any, setting: Setting) -> Any:
    """A part with its fixed tensors, made once for a simulator: what satisfies one of the protocols, or None.

    A part of the user's own has a method `prepare(setting)`, or is registered with `prepare.register`. A part without either contributes
    nothing by itself: others read it.
    """
    own = getattr(part, "prepare", None)
    return own(setting) if own is not None else None
