"""The reverse gradient against ghosts in compiled loops: `_reference_ghosts.vjp`.

The household and each of its ghosts go through the passes of `_compiled_reverse` one after the other, each with its half of the
adjoints of the scores: `WG = SG / 2` for the household, `-SG / 2` for its ghost. Sums over the uninfected, kept from day to day,
are then sums over those whom only one of the two has left uninfected.
"""

from __future__ import annotations

import numpy as np

from sim._columns import Packed
from sim._compiled_day import (
    BLOCK,
    CELL,
    HOME,
    SECTIONS,
    Day,
    infected_between,
    inner,
    jit,
    new_day,
    period,
    settle,
    spread,
)
from sim._compiled_ghosts_day import at_home, kin_of, lane, meet_kin, push, stretch
from sim._compiled_reverse import Back, change, fold, hazards, join, new_back, read_out
from sim._compiled_uninfected import begin_anew, enter, renew, starts
from sim._reference import NEVER
from sim.rates import HOUSEHOLD, VENUES


@jit
def vjp(
    p: Packed, rates: tuple, q: int, incidence: np.ndarray, on: np.ndarray, ghosts: np.ndarray, memory: np.ndarray,
    cotangent: np.ndarray, bar: tuple,
) -> None:  # fmt: skip
    """Walk a particle from its last day to its first, which takes `on` `[N]` and `ghosts` `[K, N]` back to the beginning."""
    K, N, households, alone = len(ghosts), len(p.place), len(p.household_weight), np.int64(0)
    day, w, rows = new_day(p, rates, q, alone + 1), new_back(p, rates, q, alone + 1), np.empty((0, 3), dtype=np.int32)
    H, kin = np.zeros((K, households)), np.zeros((K, N if p.has_kin.any() else 0))
    WG, HG, XG, carried = (
        np.zeros((K, households)),
        np.zeros((K, households)),
        np.zeros(kin.shape),
        np.zeros((K, households)),
    )
    for t in range(len(incidence) - 1, -1, -1):
        spread(p, rates, q, t, on, day, alone)
        for k in range(K):
            at_home(p, rates, q, t, ghosts[k], day, H[k])
        settle(p, rates, q, t, memory[t], day)
        enter(p, rates, q, t, on, day, w, alone)
        if starts(rates, t + 1):
            for k in range(K):
                renew(p, rates, q, t, ghosts[k], alone, N, half(w, WG[k], HG[k], XG[k]), alone)
        begin_anew(rates, t, w)
        for k in range(K):
            meet_kin(p, rates, q, t, on, ghosts[k], day, kin[k])
        read_out(p, rates, q, t, incidence, memory[t], cotangent[t], w, bar)
        w.centre[:] = 0.0  # differences need no mean subtracted
        infected(p, rates, q, t, on, ghosts, w, WG)
        hazards(p, rates, q, t, rows, on, day, w, alone)
        for k in range(K):
            mine = half(w, WG[k], HG[k], XG[k])
            hazards(p, rates, q, t, rows, ghosts[k], lane(day, H[k], kin[k]), mine, alone)
            through_kin(p, rates, q, t, memory[t], on, ghosts[k], day, mine, bar)
        fold(p, rates, q, t, memory[t], day, w, bar)
        infectious(p, rates, q, t, on, ghosts, day, w, WG, HG, XG, carried)
    bar[0][q] += w.rhoG[0]
    bar[1][q] += w.sigmaG[0]
    bar[2][q, HOUSEHOLD] += w.homeG[0]


@inner
def half(w: Back, WG: np.ndarray, HG: np.ndarray, XG: np.ndarray) -> Back:
    """Adjoints of a ghost: its own of scores and households, the sums shared with the rest."""
    return Back(
        WG, HG, w.carried, XG, w.centre, w.AG, w.xG, w.FG, w.sendG, w.Y, w.Z, w.cells, w.sections, w.sigmaG, w.rhoG, w.againG,
        w.homeG, w.centreG,
    )  # fmt: skip


@inner
def infected(
    p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, ghosts: np.ndarray, w: Back, WG: np.ndarray
) -> None:
    """From the incidence of the day to the scores: what a household adds its ghosts subtract."""
    K = len(ghosts)
    w.cells[2] = 0.0
    w.sections[2] = 0.0
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(0, len(on), BLOCK):
        last = min(block + BLOCK, len(on))
        for e in range(infected_between(on, block, last, t, t, chosen)):
            at = p.place[chosen[e]]
            for k in range(K):
                shift(p, rates, q, t, np.int64(at[HOME]), w.xG[p.cell_group[at[CELL]]] / K, on, ghosts, k, w, WG)
        for k in range(K):
            for e in range(infected_between(ghosts[k], block, last, t, t, chosen)):
                at = p.place[chosen[e]]
                shift(p, rates, q, t, np.int64(at[HOME]), -w.xG[p.cell_group[at[CELL]]] / K, on, ghosts, k, w, WG)


@inner
def shift(
    p: Packed, rates: tuple, q: int, t: int, h: int, by: float, on: np.ndarray, ghosts: np.ndarray, k: int, w: Back,
    WG: np.ndarray,
) -> None:  # fmt: skip
    """Change the adjoint of a household's score against ghost k: half to the household, minus half to the ghost."""
    s, alone = period(rates, t), np.int64(0)
    change(p, rates[1][q, s], s, h, by / 2.0, on, w, alone)
    change(p, rates[1][q, s], s, h, -by / 2.0, ghosts[k], half(w, WG[k], w.HG, w.XG), alone)


@inner
def through_kin(
    p: Packed,
    rates: tuple,
    q: int,
    t: int,
    A: np.ndarray,
    on: np.ndarray,
    ghost: np.ndarray,
    day: Day,
    w: Back,
    bar: tuple,
) -> None:
    """From a ghost's hazards to what its members meet of each other in place of the real ones."""
    if len(w.XG) == 0:
        return
    for h in range(len(p.household_weight)):
        if not (day.near[h] and p.has_kin[h]):
            continue
        for i in range(p.household_start[h], p.household_start[h + 1]):
            for v in range(p.place.shape[1] - SECTIONS):
                m = p.place[i, SECTIONS + v]
                if m < len(p.section_venue):
                    r = p.section_region[m]
                    met = kin_of(p, rates[0][q], t, ghost, i, h, v) - kin_of(p, rates[0][q], t, on, i, h, v)
                    bG = w.XG[i] * day.response[r] * met
                    bar[2][q, VENUES + v, t] += bG
                    bar[5][q] -= bG * rates[2][q, VENUES + v, t] * A[r]
                    w.AG[r] -= bG * rates[2][q, VENUES + v, t] * rates[5][q]


@inner
def to_kin(p: Packed, beta: np.ndarray, i: int, h: int, day: Day, XG: np.ndarray) -> float:
    """What an agent sends to its household, the ghost of itself included, through its venue groups."""
    out = 0.0
    for v in range(p.place.shape[1] - SECTIONS):
        m = p.place[i, SECTIONS + v]
        if m < len(p.section_venue):
            s = p.section_venue[m]
            for j in range(p.household_start[h], p.household_start[h + 1]):
                n = p.place[j, SECTIONS + v]
                if n < len(p.section_venue) and p.section_venue[n] == s:
                    out += XG[j] * day.response[p.section_region[n]] * beta[VENUES + v] * p.venue_weight[s]
    return out


@inner
def infectious(
    p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, ghosts: np.ndarray, day: Day, w: Back, WG: np.ndarray,
    HG: np.ndarray, XG: np.ndarray, carried: np.ndarray,
) -> None:  # fmt: skip
    """To the infectious, real ones and ghosts; then the day is taken back."""
    s, rho, beta, K = period(rates, t), rates[0][q], rates[2][q, :, t], len(ghosts)
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(0, len(on), BLOCK):
        last = min(block + BLOCK, len(on))
        for k in range(-1, K):  # -1 is the household itself
            column = on if k < 0 else ghosts[k]
            for e in range(infected_between(column, block, last, t - rho.shape[1], t - 1, chosen)):
                i = chosen[e]
                h, c, since = p.place[i, HOME], p.place[i, CELL], t - 1 - column[i]
                a, send, own, all_ = p.cell_archetype[c], w.FG[p.cell_group[c]], 0.0, 0.0
                for v in range(SECTIONS, p.place.shape[1]):
                    send += w.sendG[p.place[i, v]]
                if p.has_kin[h]:
                    all_ = to_kin(p, beta, i, h, day, w.XG)
                    for n in range(K):
                        among = to_kin(p, beta, i, h, day, XG[n])
                        all_ += among
                        own += among if k < 0 or k == n else 0.0
                direct = p.household_weight[h] * (w.HG[h] if k < 0 else HG[k, h])
                w.rhoG[0, a, since] += beta[HOUSEHOLD] * direct + (send - own if k < 0 else own)
                w.homeG[0, t] += rho[a, since] * direct
                if k < 0:
                    w.carried[h] += rho[a, since] * (send - all_)
                else:
                    carried[k, h] -= rho[a, since] * (send - all_)
    pushed = push(p, rates, q, t, day)
    for h in range(len(day.near)):
        if day.near[h]:
            for k in range(K):
                by = stretch(p, rho, t, h, on, ghosts[k], pushed) * (w.carried[h] + carried[k, h]) / K
                shift(p, rates, q, t, h, by, on, ghosts, k, w, WG)
                carried[k, h] = 0.0
            w.carried[h] = 0.0
    for block in range(0, len(on), BLOCK):
        last = min(block + BLOCK, len(on))
        for k in range(-1, K):
            column, mine = (on, w) if k < 0 else (ghosts[k], half(w, WG[k], HG[k], XG[k]))
            for e in range(infected_between(column, block, last, t, t, chosen)):
                column[chosen[e]] = NEVER
                join(p, rates[1][q, s], s, np.int64(chosen[e]), np.int64(p.place[chosen[e], HOME]), mine, np.int64(0))
