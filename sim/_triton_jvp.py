"""Forward mode on a GPU: `_reference.jvp` for all directions at once.

A score is kept for each household and direction, and of the days nothing but what concerns whole groups, so that memory is households
times directions, four bytes each.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import triton
from torch import Tensor

from sim import _triton_tangent as along
from sim._reference import Epidemic, first_infection
from sim._triton_layout import Layout, refuse_mixed
from sim._triton_state import Reinfections, State, check_memory, everywhere, power, repeat, replay, single
from sim.rates import COMMUNITY, PERIOD, Rates

COPIES = 32
"""Of sums by group, so that atomics wait less for each other."""
INFECTIOUS, HOMES, MEMBERS = 16, 4, 256
"""Infectious agents, households and members of households that a program takes at a time: few, as a row of directions takes many registers."""
DIRECTIONS = 128
"""That a program takes at most."""


class Members(NamedTuple):
    """Members by household, int32: places, households and cells, `[N]`; `start` `[H + 1]`, where each household begins."""

    member: Tensor
    home: Tensor
    cell: Tensor
    start: Tensor


_CACHE: WeakKeyDictionary[Layout, Members] = WeakKeyDictionary()


def members(a: Layout) -> Members:
    """Members of the households of a layout; made once and kept as long as the layout lives."""
    if a not in _CACHE:
        count = a.tile_count.long()
        tile = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        place = a.tile_first[tile] + torch.arange(len(tile), device=count.device) - (count.cumsum(0) - count)[tile]
        home, order = a.household[place].sort(stable=True)
        numbers = torch.arange(len(a.household_weight) + 1, device=home.device, dtype=home.dtype)
        start = torch.searchsorted(home, numbers).int()
        _CACHE[a] = Members(place[order].int(), home, a.tile_cell[tile][order].int(), start)
    return _CACHE[a]


def tangent(a: Layout, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """Tangents of the incidence `[P, T, G, Q]` for tangents of the rates with a trailing axis of Q directions.

    Raises:
        ValueError: a household has members in two regions.
        torch.OutOfMemoryError: the device does not hold the scores.
    """
    refuse_mixed(a)
    x, dx = rates.map(single), tangents.map(single)
    P, T, G, Z = *rates.importation.shape, tangents.mixing.shape[-1]
    s, reinfections = replay(a, rates, x, epidemic)
    _infect_first(s, reinfections, epidemic)
    A, incidence = epidemic.memory.float(), single(epidemic.incidence)
    F, C, response, outside, base = everywhere(s, A)
    sigma, dsigma, by_home = s.sigma, single(rates.susceptible_tangent(tangents)), members(a)
    # of people infected in a group, per cent of its region
    percent = 100 * torch.nn.functional.one_hot(a.region_of_group.long(), s.R).mT / a.region_size[:, None]

    if s.day.is_cuda:
        by_direction, by_agent = s.households + s.venues + s.C + (COPIES + 2 * T) * G, 6 + 2 * s.layers + (s.E > 0)
        check_memory(4 * P * (Z * by_direction + by_agent * a.agents), P, s.day.device, Z)
    W, dV = s.zeros(P, s.households, Z), s.zeros(P, max(s.venues, 1), Z)
    kin = s.zeros(P, max(a.pairs, 1))
    by_group, mean, total = s.zeros(COPIES, P, G, Z), s.zeros(P, s.R, Z), s.zeros(P, s.R, Z, dtype=torch.float64)
    dA, dlog, answer, table = s.zeros(P, s.R, Z), s.zeros(P, s.R, Z), s.zeros(P, s.R), s.zeros(P, s.C, Z)
    weight, heard = s.zeros(4 + s.layers + (s.E > 0), P, a.agents), s.zeros(s.layers, P, a.agents, dtype=torch.int32)
    shed, late = s.zeros(P, a.agents, dtype=torch.int32), s.zeros(P, a.agents if s.E else 0, dtype=torch.int32)
    out = s.zeros(P, T, G, Z)
    block = min(DIRECTIONS, power(max(Z, 16)))
    blocks = triton.cdiv(Z, block)

    def now(values: Tensor, axis: int) -> Tensor:
        return values.index_select(axis, s.day).squeeze(axis)

    def day() -> None:
        reinfections.bring_forward()
        s.add_pressures(afresh=False)
        dV.zero_()
        kin.zero_()
        by_group.zero_()
        along.carry[(s.D, s.shares, P * blocks)](
            s.day, s.begin, s.event, s.event_cell, a.cell_group, a.cell_archetype, a.cell_region, a.household, a.venue,
            a.pair, a.venue_weight, x.infectiousness, dx.infectiousness, W, mean, by_group, dV, kin, s.events,
            s.households, s.venues, a.pairs, COPIES, s.K, s.D, T, G, s.R, Z,
            LAYERS=s.layers, EVENTS=INFECTIOUS, BLOCK=block,
        )  # fmt: skip
        dF = by_group.sum(0) / a.group_size[:, None]
        dC = torch.einsum("pghq,ph->pgq", dx.mixing, now(F, 1)) + torch.einsum("pgh,phq->pgq", x.mixing, dF)
        b, db = now(x.transmission[:, COMMUNITY], 1), now(dx.transmission[:, COMMUNITY], 1)
        dQ = db[:, None] * now(C, 1)[..., None] + b[:, None, None] * dC
        memory = now(A, 1)
        answer.copy_(torch.exp(-x.aversion[:, None] * memory))
        dlog.copy_(-(dx.aversion[:, None] * memory[..., None] + x.aversion[:, None, None] * dA))
        through = dlog[:, a.region_of_group] * now(outside, 1)[..., None] + dQ
        dbase = now(response, 1)[..., None] * through + now(dx.importation, 1)
        period = (s.day // PERIOD).clamp_max(s.periods - 1)
        at = sigma.index_select(1, period).squeeze(1)[:, a.cell_archetype, None]
        dat = dsigma.index_select(1, period).squeeze(1)[:, a.cell_archetype]
        table.copy_(dat * now(base, 1)[:, a.cell_group, None] + at * dbase[:, a.cell_group])
        along.weigh[(triton.cdiv(a.agents, MEMBERS) * P,)](
            s.day, by_home.member, by_home.home, by_home.cell, a.cell_group, a.cell_archetype, a.venue, a.pair, sigma,
            x.reinfection, x.transmission, base, response, s.home_unit, s.venue_unit, s.H, s.V, kin, s.on, weight, heard, shed, late,
            P, a.agents, s.households, s.n, s.venues, a.pairs, s.rows, s.K, s.D, s.E, T, G, s.periods,
            LAYERS=s.layers, REINFECTION=s.E > 0, BLOCK=MEMBERS,
        )  # fmt: skip
        along.households[(triton.cdiv(s.households, HOMES) * P, blocks)](
            s.day, by_home.start, by_home.cell, a.cell_region, a.cell_archetype, a.household_weight, weight, heard,
            shed, late, dsigma, dx.reinfection, dx.infectiousness, x.transmission, dx.transmission, answer, dlog, table,
            s.home_unit, s.H, dV, W, mean, total, P, s.households, a.agents, s.venues, s.rows, s.K, s.D, s.E, T, s.C, s.R, Z,
            s.periods, LAYERS=s.layers, REINFECTION=s.E > 0, HOMES=HOMES, BLOCK=block,
        )  # fmt: skip
        mean.copy_(total / a.households_in_region[:, None])
        by_group.zero_()
        along.read_out[(1, s.shares, P * blocks)](
            s.day, s.begin, s.event, s.event_cell, a.cell_group, a.cell_region, a.household, W, mean, by_group, s.events,
            s.households, COPIES, T, G, s.R, Z, EVENTS=INFECTIOUS, BLOCK=block,
        )  # fmt: skip
        found = by_group.sum(0)
        out.index_copy_(1, s.day.long(), found[:, None])
        step = dx.forgetting[:, None] * (now(incidence, 1) @ percent.mT - memory)[..., None]
        dA.add_(step + x.forgetting[:, None, None] * (percent @ found - dA))
        s.day.add_(1)

    repeat(day, T, s.day.is_cuda)
    return out.to(tangents.mixing.dtype)


def _infect_first(s: State, reinfections: Reinfections, epidemic: Epidemic) -> None:
    """Days of the first infections in the place of the last."""
    if reinfections.length:
        place = members(s.a).member.long()
        s.on[:, place] = first_infection(epidemic)[:, s.a.order[place].long()]
