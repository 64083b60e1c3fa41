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
    """The columns in their narrow types, for the compiled kernels.

    A *cell* is a (group, archetype, region of the household) that occurs, a *section* the members of a venue group in one
    region (of their community group, of their household): everybody in one is reached alike. Where households and venues lie
    within a region, sections are venue groups. Venue groups and sections of all layers are numbered through.
    `place` `[N, 2 + V]` holds each agent's household, cell and sections side by side, for one access to memory; who has no group in a
    layer is in a section after the last, which has no entry in the other columns.
    """

    household_start: np.ndarray
    place: np.ndarray
    household_region: np.ndarray
    household_weight: np.ndarray
    households_in_region: np.ndarray
    has_kin: np.ndarray
    cell_group: np.ndarray
    cell_archetype: np.ndarray
    cell_home: np.ndarray
    section_venue: np.ndarray
    section_layer: np.ndarray
    section_region: np.ndarray
    section_home: np.ndarray
    member_start: np.ndarray
    member: np.ndarray
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
        households_in_region=real(np.maximum(np.bincount(household_region, minlength=population.regions), 1)),
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
    offset = np.concatenate([[0], np.cumsum([len(w) for w in population.venue_weight])]).astype(np.int64)
    venue = np.where(population.venues >= 0, population.venues + offset[:-1, None], -1).astype(np.int32)
    has_kin = np.zeros(population.households, dtype=np.bool_)
    for agents, _, _ in kin:
        has_kin[population.household[agents]] = True
    region = population.region_of_group[population.group].astype(np.int64)
    home = household_region[population.household].astype(np.int64)
    R = population.regions
    (cell_group, cell_archetype, cell_home), cell = _occurring(
        (population.group, population.archetype, home), (population.groups, population.archetypes, R)
    )
    layer, agent = np.nonzero(venue >= 0)
    (section_venue, section_region, section_home), number = _occurring(
        (venue[layer, agent], region[agent], home[agent]), (max(int(offset[-1]), 1), R, R)
    )
    place = np.full((population.agents, 2 + len(venue)), len(section_venue), dtype=np.int32)
    place[:, 0], place[:, 1] = population.household, cell
    place[agent, 2 + layer] = number
    members = np.bincount(number, minlength=len(section_venue))
    return Packed(
        household_start=population.household_start.astype(np.int64),
        place=place,
        household_region=household_region.astype(np.int16),
        household_weight=population.household_weight.astype(np.float64),
        households_in_region=np.maximum(np.bincount(household_region, minlength=population.regions), 1).astype(
            np.float64
        ),
        has_kin=has_kin,
        cell_group=cell_group.astype(np.int16),
        cell_archetype=cell_archetype.astype(np.int16),
        cell_home=cell_home.astype(np.int16),
        section_venue=section_venue.astype(np.int32),
        section_layer=(np.searchsorted(offset, section_venue, side="right") - 1).astype(np.int16),
        section_region=section_region.astype(np.int16),
        section_home=section_home.astype(np.int16),
        member_start=np.concatenate([[0], np.cumsum(members)]).astype(np.int64),
        member=agent[np.argsort(number, kind="stable")].astype(np.int32),
        venue_weight=np.concatenate([*population.venue_weight, np.zeros(0)]).astype(np.float64),
        region_of_group=population.region_of_group.astype(np.int16),
        group_size=np.maximum(population.group_size, 1).astype(np.float64),
        region_size=np.maximum(population.region_size, 1).astype(np.float64),
    )


def _occurring(columns: tuple[np.ndarray, ...], sizes: tuple[int, ...]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Combinations of ids that occur, in ascending order, and which of them each entry has."""
    code, number = np.unique(np.ravel_multi_index([c.astype(np.int64) for c in columns], sizes), return_inverse=True)
    return tuple(np.unravel_index(code, sizes)), number
