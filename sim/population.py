"""People, sorted by household, as static columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Population"]


@dataclass(frozen=True, eq=False)
class Population:
    """Agents and the groups they belong to; nothing in it changes during an epidemic.

    Axes: `N` agents, `H` households, `V` venue layers (school, workplace, ...), `M_v` groups of layer v, `G` community
    groups, `R` regions.

    Attributes:
        household_start: `[H + 1]` int64; household h holds agents `household_start[h]:household_start[h + 1]`.
        group: `[N]` int16, community mixing group of each agent, 0..G-1.
        archetype: `[N]` int16, within-host type of each agent, 0..K-1.
        venues: `[V, N]` int32, the agent's group in each venue layer, -1 where it has none.
        venue_weight: V arrays `[M_v]`, contact weight of each venue group (dimensionless).
        household_weight: `[H]`, contact weight of each household (dimensionless).
        region_of_group: `[G]` int16, the region each community group lies in.
        people_per_agent: `[R]`, how many people an agent of a region stands for.
        venue_names: names of the V layers.
        absent: `[G]` people of each group who are not simulated, since they cannot be infected; they count in the sizes of groups and
            regions. None for nobody.

    Raises:
        ValueError: a column has the wrong length, an id is out of range, or a weight is negative or not finite.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> import sim
        >>> population = sim.Population(
        ...     household_start=np.arange(0, 61, 3), group=np.zeros(60, np.int16), archetype=np.zeros(60, np.int16),
        ...     venues=np.zeros((1, 60), np.int32), venue_weight=(np.array([1 / 59]),), household_weight=np.full(20, 0.5),
        ...     region_of_group=np.zeros(1, np.int16), people_per_agent=np.ones(1), venue_names=("school",))
        >>> population.agents, population.groups
        (60, 1)
    """

    household_start: NDArray[np.int64]
    group: NDArray[np.int16]
    archetype: NDArray[np.int16]
    venues: NDArray[np.int32]
    venue_weight: tuple[NDArray[np.float64], ...]
    household_weight: NDArray[np.float64]
    region_of_group: NDArray[np.int16]
    people_per_agent: NDArray[np.float64]
    venue_names: tuple[str, ...] = ()
    absent: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        start, agents = self.household_start, len(self.group)
        for name in ("household_start", "group", "archetype", "venues", "region_of_group"):
            column = getattr(self, name)
            if not np.issubdtype(column.dtype, np.integer):
                raise ValueError(f"{name} holds {column.dtype}; give whole numbers.")
        if max(agents, self.venues.size) > np.iinfo(np.int32).max or len(self.region_of_group) > np.iinfo(np.int16).max:
            raise ValueError(
                f"{agents} agents in {len(self.region_of_group)} groups do not fit 32-bit agent and 16-bit group numbers; "
                "simulate a smaller population."
            )
        if start.ndim != 1 or len(start) < 2 or start[0] != 0 or start[-1] != agents or np.any(np.diff(start) < 1):
            raise ValueError(
                f"household_start must rise from 0 to the number of agents ({agents}) with no empty household; "
                f"it has shape {start.shape} and ends at {start[-1] if start.size else 'nothing'}. Sort the agents by household."
            )
        if len(self.archetype) != agents or self.venues.ndim != 2 or self.venues.shape[1] != agents:
            raise ValueError(
                f"archetype and venues must have one entry for each of {agents} agents; "
                f"found {len(self.archetype)} and shape {self.venues.shape}."
            )
        _check_ids("group", self.group, 0, len(self.region_of_group))
        _check_ids("region_of_group", self.region_of_group, 0, len(self.people_per_agent))
        _check_ids("archetype", self.archetype, 0, np.iinfo(np.int16).max)
        if len(self.venue_weight) != len(self.venues):
            raise ValueError(
                f"{len(self.venues)} venue layers need as many weight arrays; found {len(self.venue_weight)}."
            )
        for layer, (ids, weight) in enumerate(zip(self.venues, self.venue_weight, strict=True)):
            _check_ids(f"venues[{layer}]", ids, -1, len(weight))
            _check_weight(f"venue_weight[{layer}]", weight)
        if len(self.household_weight) != self.households:
            raise ValueError(
                f"household_weight has {len(self.household_weight)} entries for {self.households} households."
            )
        _check_weight("household_weight", self.household_weight)
        _check_weight("people_per_agent", self.people_per_agent)
        if self.absent is not None and (self.absent.shape != (self.groups,) or np.any(self.absent < 0)):
            raise ValueError(
                f"absent must hold a number of people for each of {self.groups} groups; found {self.absent}."
            )

    @property
    def agents(self) -> int:
        """Number of agents N."""
        return len(self.group)

    @property
    def households(self) -> int:
        """Number of households H."""
        return len(self.household_start) - 1

    @property
    def groups(self) -> int:
        """Number of community groups G."""
        return len(self.region_of_group)

    @property
    def regions(self) -> int:
        """Number of regions R."""
        return len(self.people_per_agent)

    @cached_property
    def archetypes(self) -> int:
        """Number of archetypes that occur, counted from 0 (highest id + 1)."""
        return int(self.archetype.max()) + 1

    @cached_property
    def household(self) -> NDArray[np.int32]:
        """`[N]` household of each agent."""
        return np.repeat(np.arange(self.households, dtype=np.int32), np.diff(self.household_start))

    @cached_property
    def group_size(self) -> NDArray[np.int64]:
        """`[G]` number of agents in each community group, those absent among them."""
        here = np.bincount(self.group, minlength=self.groups)
        return here if self.absent is None else here + self.absent

    @cached_property
    def region_size(self) -> NDArray[np.int64]:
        """`[R]` number of agents in each region."""
        return np.bincount(self.region_of_group, weights=self.group_size, minlength=self.regions).astype(np.int64)


def _check_ids(name: str, ids: NDArray[np.integer], low: int, high: int) -> None:
    if ids.size and (ids.min() < low or ids.max() >= high):
        raise ValueError(f"{name} must lie in {low}..{high - 1}; found {ids.min()}..{ids.max()}.")


def _check_weight(name: str, weight: NDArray[np.floating]) -> None:
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise ValueError(
            f"{name} must be finite and not negative; {int(np.sum(~(weight >= 0)))} of its entries are not."
        )
