"""A ghost's day in compiled loops: its own household, and what reaches the real one from outside; see `sim._reference_ghosts`."""

from __future__ import annotations

import numpy as np

from sim._columns import Packed
from sim._compiled_day import BLOCK, CELL, HOME, SECTIONS, Day, infected_between, inner, jit, new_day, settle, spread
from sim._compiled_forward import bounds, infect
from sim._reference_ghosts import LARGEST_SHARE, SMALL_SHARE
from sim.rates import COMMUNITY, VENUES


@jit
def draw(
    p: Packed, rates: tuple, q: int, keys: np.ndarray, incidence: np.ndarray, memory: np.ndarray, on: np.ndarray, ghost: np.ndarray
) -> None:  # fmt: skip
    """Draw the days of infection `ghost` `[N]` of a ghost of each household, in the epidemic that `on` `[N]` tells."""
    alone = np.int64(0)  # a literal would be compiled for itself
    N, day = len(p.place), new_day(p, rates, q, alone + 1)
    H, kin = np.zeros(len(p.household_weight)), np.zeros(N if p.has_kin.any() else 0)
    marks, caught = np.zeros((N + 7) // 8, dtype=np.uint64), np.zeros(len(p.group_size))
    again, number = np.empty((0, 3), dtype=np.int32), np.zeros(1, dtype=np.int64)
    for t in range(len(incidence)):
        spread(p, rates, q, t, on, day, alone)
        at_home(p, rates, q, t, ghost, day, H)
        settle(p, rates, q, t, memory[t], day)
        meet_kin(p, rates, q, t, on, ghost, day, kin)
        table, loud, limit = bounds(p, rates, q, t, day, incidence)
        own = lane(day, H, kin)
        infect(p, rates, q, t, keys[t], own, table, loud, limit, marks, ghost, again, number, caught, alone)


@inner
def lane(day: Day, H: np.ndarray, kin: np.ndarray) -> Day:
    """The day as a ghost meets it; `near` is shared: where somebody is infectious in the household or in a ghost of it."""
    return Day(
        day.part, H, day.near, day.sections, day.groups, day.V, day.reach, day.F, day.C, day.response, day.outside, day.base,
        day.grid, day.steps, kin,
    )  # fmt: skip


@inner
def at_home(p: Packed, rates: tuple, q: int, t: int, ghost: np.ndarray, day: Day, H: np.ndarray) -> None:
    """Pressure in a ghost's households."""
    rho = rates[0][q]
    H[:] = 0.0
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(0, len(ghost), BLOCK):
        for e in range(infected_between(ghost, block, min(block + BLOCK, len(ghost)), t - rho.shape[1], t - 1, chosen)):
            i = chosen[e]
            h = p.place[i, HOME]
            day.near[h] = 1
            H[h] += rho[p.cell_archetype[p.place[i, CELL]], t - 1 - ghost[i]] * p.household_weight[h]


@inner
def meet_kin(
    p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, ghost: np.ndarray, day: Day, kin: np.ndarray
) -> None:
    """In venue groups a ghost meets its own members and not the real ones."""
    if len(kin) == 0:
        return
    for h in range(len(p.household_weight)):
        if day.near[h] and p.has_kin[h]:
            for i in range(p.household_start[h], p.household_start[h + 1]):
                kin[i] = 0.0
                for v in range(p.place.shape[1] - SECTIONS):
                    m = p.place[i, SECTIONS + v]
                    if m < len(p.section_venue):
                        pressure = day.response[p.section_region[m]] * rates[2][q, VENUES + v, t]
                        kin[i] += pressure * (
                            kin_of(p, rates[0][q], t, ghost, i, h, v) - kin_of(p, rates[0][q], t, on, i, h, v)
                        )


@inner
def push(p: Packed, rates: tuple, q: int, t: int, day: Day) -> np.ndarray:
    """`[G]` share that one unit of infectiousness in a group has in the force of infection on its own region."""
    G, b = len(p.group_size), rates[2][q, COMMUNITY, t]
    total, out = np.zeros(len(p.region_size)), np.zeros(G)
    for g in range(G):
        total[p.region_of_group[g]] += day.base[g] * p.group_size[g]
    for g in range(G):
        r = p.region_of_group[g]
        for k in range(G):
            if p.region_of_group[k] == r:
                out[g] += rates[3][q, k, g] * p.group_size[k]
        out[g] *= day.response[r] * b / (p.group_size[g] * max(total[r], 1e-300))
    return out


@inner
def stretch(p: Packed, rho: np.ndarray, t: int, h: int, on: np.ndarray, ghost: np.ndarray, pushed: np.ndarray) -> float:
    """From a difference to one of logarithms: `-log(1 - share) / share` of a household's share in the force, less its ghost's."""
    share = 0.0
    for j in range(p.household_start[h], p.household_start[h + 1]):
        c = p.place[j, CELL]
        for k in range(2):
            since = t - 1 - (on[j] if k == 0 else ghost[j])
            if 0 <= since < rho.shape[1]:
                share += (1.0 - 2.0 * k) * rho[p.cell_archetype[c], since] * pushed[p.cell_group[c]]
    share = min(share, LARGEST_SHARE)
    return 1.0 if abs(share) < SMALL_SHARE else -np.log1p(-share) / share


@inner
def kin_of(p: Packed, rho: np.ndarray, t: int, on: np.ndarray, i: int, h: int, v: int) -> float:
    """Pressure of a household in the venue group of one of its members in layer v, which has one there."""
    out, n = 0.0, p.section_venue[p.place[i, SECTIONS + v]]
    for j in range(p.household_start[h], p.household_start[h + 1]):
        m = p.place[j, SECTIONS + v]
        if m < len(p.section_venue) and p.section_venue[m] == n and 0 <= t - 1 - on[j] < rho.shape[1]:
            out += rho[p.cell_archetype[p.place[j, CELL]], t - 1 - on[j]]
    return out * p.venue_weight[n]
