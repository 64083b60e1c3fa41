"""A population laid out for the GPU: agents sorted into cells, so that a tile of agents shares group and archetype.

A *cell* is a (group, archetype) pair that occurs. All agents of a tile lie in one cell: susceptibility, response and
community pressure are one number a tile, sums by group or archetype are plain sums over tiles. Agents keep their number
in the population (`order`), by which their random draws are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sim._columns import Columns

ALIGN = 16


@dataclass(frozen=True, eq=False)
class Layout:
    """Axes: `n` places (agents and the padding between cells), `L` tiles, `C` cells, `M` venue groups of all layers.

    Attributes:
        agents: N; block: agents of a tile at most; archetypes: K; pairs: kin pairs of all layers.
        order: `[n]` int32 number of the agent in the population; household: `[n]` int32.
        venue: `[n, V]` int32 group numbered through the layers, -1 none; pair: `[n, V]` int32 pair of kin, -1 none.
        tile_first, tile_count, tile_cell: `[L]` int32 first place, agents and cell of a tile.
        cell_start: `[G + 1]` int32, the cells of each group; cell_group, cell_archetype, cell_region: `[C]` int32.
        venue_start: `[V + 1]` int32; venue_weight: `[M]`, household_weight: `[H]`, sizes `[G]`, `[R]`: float32.
        household_bound, venue_bound: highest sum of weights over the members of one household, of one venue group.
        mixed: whether a household has members in two regions.
    """

    agents: int
    block: int
    archetypes: int
    pairs: int
    order: Tensor
    household: Tensor
    venue: Tensor
    pair: Tensor
    tile_first: Tensor
    tile_count: Tensor
    tile_cell: Tensor
    cell_start: Tensor
    cell_group: Tensor
    cell_archetype: Tensor
    cell_region: Tensor
    region_of_group: Tensor
    venue_start: Tensor
    venue_weight: Tensor
    household_weight: Tensor
    group_size: Tensor
    region_size: Tensor
    households_in_region: Tensor
    household_bound: float
    venue_bound: float
    mixed: bool


_CACHE: WeakKeyDictionary[Columns, Layout] = WeakKeyDictionary()


def layout(c: Columns) -> Layout:
    """The layout of a population's columns on their device; made once and kept as long as the columns live."""
    if c not in _CACHE:
        _CACHE[c] = _build(c)
    return _CACHE[c]


def _build(c: Columns) -> Layout:
    N, K, device = len(c.group), int(c.archetype.max()) + 1, c.group.device
    region = c.region_of_group[c.group]
    code, cell, number = torch.unique(c.group * K + c.archetype, return_inverse=True, return_counts=True)
    by_cell = torch.argsort(cell, stable=True)
    room = (number + ALIGN - 1) // ALIGN * ALIGN
    first = room.cumsum(0) - room
    place = (first - (number.cumsum(0) - number))[cell[by_cell]] + torch.arange(N, device=device)
    n = int(room.sum())

    def column(values: Tensor, empty: int) -> Tensor:
        return torch.full((n,), empty, dtype=torch.int32, device=device).index_copy_(0, place, values[by_cell].int())

    def scattered(agents: Tensor, values: Tensor) -> Tensor:
        return column(torch.full((N,), -1, device=device).index_copy_(0, agents, values), -1)

    venue, pair, venue_start, pairs = [], [], [0], 0
    for members, group, weight, kin, kin_pair, count in zip(
        c.members, c.group_of, c.venue_weight, c.kin, c.kin_pair, c.pairs, strict=True
    ):
        venue.append(scattered(members, group + venue_start[-1]))
        pair.append(scattered(kin, kin_pair + pairs))
        venue_start.append(venue_start[-1] + len(weight))
        pairs += count
    none = torch.full((n, 0), -1, dtype=torch.int32, device=device)
    weights = torch.cat([*c.venue_weight, c.household_weight.new_zeros(0)])

    # measured on an H100: 512 beats 256 and 1,024; cells of small populations hold few agents
    block = 512 if N >= 1_000_000 else 256
    tiles = (number + block - 1) // block
    tile_cell = torch.repeat_interleave(torch.arange(len(code), device=device), tiles)
    within = (torch.arange(len(tile_cell), device=device) - (tiles.cumsum(0) - tiles)[tile_cell]) * block
    cell_group = code // K
    groups = torch.arange(len(c.group_size) + 1, device=device)
    members_of = torch.bincount(c.household, minlength=len(c.household_weight))
    venue_size = torch.bincount(
        torch.cat([c.group.new_zeros(0), *(g + s for g, s in zip(c.group_of, venue_start[:-1], strict=True))]),
        minlength=len(weights),
    )
    return Layout(
        agents=N,
        block=block,
        archetypes=K,
        pairs=pairs,
        order=column(torch.arange(N, device=device), 0),
        household=column(c.household, 0),
        venue=torch.stack(venue, 1).contiguous() if venue else none,
        pair=torch.stack(pair, 1).contiguous() if pair else none,
        tile_first=(first[tile_cell] + within).int(),
        tile_count=(number[tile_cell] - within).clamp_max(block).int(),
        tile_cell=tile_cell.int(),
        cell_start=torch.searchsorted(cell_group, groups).int(),
        cell_group=cell_group.int(),
        cell_archetype=(code % K).int(),
        cell_region=c.region_of_group[cell_group].int(),
        region_of_group=c.region_of_group.int(),
        venue_start=torch.tensor(venue_start, dtype=torch.int32, device=device),
        venue_weight=weights.float(),
        household_weight=c.household_weight.float(),
        group_size=c.group_size.float(),
        region_size=c.region_size.float(),
        households_in_region=c.households_in_region.float(),
        household_bound=float((c.household_weight * members_of).max()),
        venue_bound=float((weights * venue_size).max()) if len(weights) else 0.0,
        mixed=bool((region != c.household_region[c.household]).any()),
    )


def refuse_mixed(a: Layout) -> None:
    """Refuse households in two regions to the kernels of the local score, which centre scores by region.

    Raises:
        ValueError: there is one.
    """
    if a.mixed:
        raise ValueError(
            "A household has members in two regions, which the GPU kernels of estimator 'local-score' do not carry; use "
            "estimator='removals', or backend='reference'."
        )


def repeated(a: Layout, copies: int) -> Layout:
    """The population beside itself: households and venues anew in each copy, groups and archetypes shared."""
    if copies == 1:
        return a

    def shifted(x: Tensor, step: int) -> Tensor:
        by = torch.arange(copies, dtype=torch.int32, device=x.device).mul_(step)
        return (x[None] + by[:, None]).flatten()

    starts = a.venue_start.tolist()
    venue, pair = (
        torch.empty(len(a.order) * copies, a.venue.shape[1], dtype=torch.int32, device=a.order.device) for _ in "vp"
    )
    for v, (start, end) in enumerate(pairwise(starts)):
        # venue groups are numbered layer by layer: the copies of a layer follow each other
        for old, new, first, step in (
            (a.venue, venue, start * (copies - 1), end - start),
            (a.pair, pair, 0, a.pairs),
        ):
            none = (old[:, v] < 0).repeat(copies)
            new[:, v] = shifted(old[:, v] + first, step).masked_fill_(none, -1)
    return replace(
        a,
        agents=a.agents * copies,
        pairs=a.pairs * copies,
        order=shifted(a.order, a.agents),
        household=shifted(a.household, len(a.household_weight)),
        venue=venue,
        pair=pair,
        tile_first=shifted(a.tile_first, len(a.order)),
        tile_count=a.tile_count.repeat(copies),
        tile_cell=a.tile_cell.repeat(copies),
        venue_start=a.venue_start * copies,
        venue_weight=torch.cat(
            [
                a.venue_weight[:0],
                *(a.venue_weight[i:j].repeat(copies) for i, j in pairwise(starts)),
            ]
        ),
        household_weight=a.household_weight.repeat(copies),
        group_size=a.group_size * copies,
        region_size=a.region_size * copies,
        households_in_region=a.households_in_region * copies,
    )
