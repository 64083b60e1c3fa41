"""Those infected before, in the reverse pass: each has a susceptibility of its own, so they are walked one by one, every day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim._columns import Packed
from sim._compiled_day import BLOCK, CELL, HOME, SECTIONS, Day, infected_between, inner, jit, period
from sim._reference import NEVER
from sim.rates import HOUSEHOLD

if TYPE_CHECKING:
    from sim._compiled_reverse import Back


@jit
def take_back(p: Packed, rows: np.ndarray, on: np.ndarray, day: Day, a: int) -> None:
    """Put the infection before in the place of the day's reinfections."""
    for e in range(len(rows)):
        if p.household_start[day.part[a]] <= rows[e, 0] < p.household_start[day.part[a + 1]]:
            on[rows[e, 0]] = rows[e, 2]


@inner
def waned(p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, day: Day, w: Back, a: int) -> None:
    """`_compiled_reverse.one` for all once infected of a part, as if none were infected again on the day.

    In one loop: a call an agent would cost several times as much.
    """
    s, home, after, D = period(rates, t), rates[2][q, HOUSEHOLD, t], rates[7][q], rates[0].shape[2]
    sigma, first, last = rates[1][q, s], p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    place, archetype, group, region, has_kin = p.place, p.cell_archetype, p.cell_group, p.household_region, p.has_kin
    H, near, base, reach, WG, centre, HG, XG = day.H, day.near, day.base, day.reach, w.WG, w.centre, w.HG, w.XG
    cells, sections, sigmaG, reinfectionG = w.cells[2, a], w.sections[2, a], w.sigmaG[a, s], w.reinfectionG[a]
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(first, last, BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, last), np.int64(-NEVER), t - 1 - D, chosen)):
            i = chosen[e]
            h, c = place[i, HOME], place[i, CELL]
            k, since = archetype[c], min(t - 1 - on[i], after.shape[1] - 1)
            X = home * H[h] + base[group[c]]
            for v in range(SECTIONS, place.shape[1]):
                X += reach[place[i, v]]
            hazardG = -(WG[h] + centre[region[h]])
            reinfectionG[k, since] += sigma[k] * (hazardG * X)
            x = hazardG * after[k, since] * sigma[k]
            cells[c] += hazardG * after[k, since]
            sigmaG[k] += hazardG * after[k, since] * (X - base[group[c]])
            for v in range(SECTIONS, place.shape[1]):
                sections[place[i, v]] += x
            if near[h]:
                HG[h] += x
                if has_kin[h]:
                    XG[i] += x
