"""A population's columns as tensors on a device, with what the kernels derive from them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sim.population import Population


class Packed(NamedTuple):
    """The columns in their narrow types, for the compiled kernels; venue groups of all layers are numbered through."""

    household_start: np.ndarray
    household: np.ndarray
    household_region: np.ndarray
    household_weight: np.ndarray
    households_in_region: np.ndarray
    has_kin: np.ndarray
    group: np.ndarray
    archetype: np.ndarray
    cell: np.ndarray
    cell_group: np.ndarray
    cell_archetype: np.ndarray
    venue: np.ndarray
    venue_weight: np.ndarray
    region_of_group: np.ndarray
    group_size: np.ndarray
    region_size: np.ndarray


@dataclass(frozen=True, eq=False)
class Columns:
    """Index tensors of a population (axes as in `Population`).

    Attributes:
        household: `[N]` int64, with `group` and `archetype` alike.
        household_region: `[H]` int64, the region a household lies in.
        members: per venue layer `[n_v]` int64, the agents that have a group in it; group_of: their groups.
        kin: per venue layer, agents that share a venue group with someone of their own household (`[s]` int64) and the
            number of that (household, group) pair; pairs: how many pairs.
    """

    household: Tensor
    group: Tensor
    archetype: Tensor
    household_region: Tensor
    household_weight: Tensor
    region_of_group: Tensor
    households_in_region: Tensor
    group_size: Tensor
    region_size: Tensor
    members: tuple[Tensor, ...]
    group_of: tuple[Tensor, ...]
    venue_weight: tuple[Tensor, ...]
    kin: tuple[Tensor, ...]
    kin_pair: tuple[Tensor, ...]
    pairs: tuple[int, ...]
    packed: Packed


_CACHE: WeakKeyDictionary[Population, dict[torch.device, Columns]] = WeakKeyDictionary()


def columns(population: Population, device: torch.device) -> Columns:
    """The population's columns on a device; made once and kept as long as the population lives."""
    per_device = _CACHE.setdefault(population, {})
    if device not in per_device:
        per_device[device] = _build(population, device)
    return per_device[device]


def shared_pairs(population: Population, layer: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Agents who share a venue group with a member of their own household.

    Returns:
        agents `[s]`, the number of the (household, group) pair of each `[s]`, and the number of such pairs.
    """
    ids = population.venues[layer]
    agents = np.flatnonzero(ids >= 0)
    code = population.household[agents].astype(np.int64) * (int(ids.max(initial=0)) + 1) + ids[agents]
    _, pair, count = np.unique(code, return_inverse=True, return_counts=True)
    shared = count[pair] > 1
    _, renumbered = np.unique(pair[shared], return_inverse=True)
    return agents[shared], renumbered, int((count > 1).sum())


def _build(population: Population, device: torch.device) -> Columns:
    def index(values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=device).long()

    def real(values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float64), device=device)

    household_region = population.region_of_group[population.group[population.household_start[:-1]]]
    members = [np.flatnonzero(ids >= 0) for ids in population.venues]
    kin = [shared_pairs(population, layer) for layer in range(len(population.venues))]
    return Columns(
        household=index(population.household),
        group=index(population.group),
        archetype=index(population.archetype),
        household_region=index(household_region),
        household_weight=real(population.household_weight),
        region_of_group=index(population.region_of_group),
        households_in_region=real(np.bincount(household_region, minlength=population.regions)),
        group_size=real(np.maximum(population.group_size, 1)),
        region_size=real(np.maximum(population.region_size, 1)),
        members=tuple(index(m) for m in members),
        group_of=tuple(index(ids[m]) for ids, m in zip(population.venues, members, strict=True)),
        venue_weight=tuple(real(w) for w in population.venue_weight),
        kin=tuple(index(k[0]) for k in kin),
        kin_pair=tuple(index(k[1]) for k in kin),
        pairs=tuple(k[2] for k in kin),
        packed=_pack(population, household_region, kin),
    )


def _pack(
    population: Population, household_region: np.ndarray, kin: list[tuple[np.ndarray, np.ndarray, int]]
) -> Packed:
    offset = np.concatenate([[0], np.cumsum([len(w) for w in population.venue_weight])]).astype(np.int32)
    venue = np.where(population.venues >= 0, population.venues + offset[:-1, None], -1).astype(np.int32)
    has_kin = np.zeros(population.households, dtype=np.bool_)
    for agents, _, _ in kin:
        has_kin[population.household[agents]] = True
    # agents of one group and archetype share their hazard but for households and venues: number the pairs that occur
    code, cell = np.unique(
        population.group.astype(np.int64) * population.archetypes + population.archetype, return_inverse=True
    )
    return Packed(
        household_start=population.household_start.astype(np.int64),
        household=population.household,
        household_region=household_region.astype(np.int16),
        household_weight=population.household_weight.astype(np.float64),
        households_in_region=np.bincount(household_region, minlength=population.regions).astype(np.float64),
        has_kin=has_kin,
        group=population.group.astype(np.int16),
        archetype=population.archetype.astype(np.int16),
        cell=cell.astype(np.int32),
        cell_group=(code // population.archetypes).astype(np.int16),
        cell_archetype=(code % population.archetypes).astype(np.int16),
        venue=np.ascontiguousarray(venue),
        venue_weight=np.concatenate([*population.venue_weight, np.zeros(0)]).astype(np.float64),
        region_of_group=population.region_of_group.astype(np.int16),
        group_size=np.maximum(population.group_size, 1).astype(np.float64),
        region_size=np.maximum(population.region_size, 1).astype(np.float64),
    )
