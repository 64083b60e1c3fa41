"""The reverse gradient in compiled loops: `_reference.vjp`, touching only who was near an infection.

The adjoint of the hazard of somebody who has not been infected yet is minus the score of the household, `-(WG + centre)`, day after
day. Sums of it over the uninfected of a cell or section are therefore kept from day to day and change with `WG` alone: in households
where somebody is infectious or was just infected. What such a person adds to the gradient of susceptibility through a venue,
`- sum over t of (WG + centre) reach[t]`, is summed by parts over the changes of WG, with the running sums `Y` of `reach` and `Z` of
`centre * reach`, which begin anew with each period of susceptibility (`_compiled_uninfected`). The days are rebuilt from the
day of each agent's last infection, which is taken back day by day.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim._columns import Packed
from sim._compiled_day import (
    BLOCK,
    CELL,
    HOME,
    SECTIONS,
    Day,
    add_pressures,
    apply_pressures,
    infected_between,
    inner,
    jit,
    new_day,
    period,
)
from sim._compiled_reinfection import take_back, waned
from sim._compiled_uninfected import begin_anew, enter
from sim._reference import NEVER
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES


class Back(NamedTuple):
    """Adjoints of a particle; axes as in `Day`.

    Attributes:
        WG: `[H]` of scores; HG: `[H]` of household pressures; carried: `[H]` what the day adds to WG.
        XG: `[N]` of the pressure on agents whose household shares venue groups.
        centre, AG: `[R]` what the subtracted mean adds to WG, of the memory; xG, FG: `[G]` of incidence and infectiousness.
        sendG: `[M + 1]` of infectiousness in a section; Y, Z: `[M + 1]` running sums, see above.
        cells: `[3, A, C]`, sections: `[3, A, M + 1]`: sum of WG over the uninfected, their number, and the day's sum over everybody
            else; in sections weighted by susceptibility.
        sigmaG: `[A, periods, K]`, rhoG: `[A, K, D]`, againG: `[A, K, E]`, homeG: `[A, T]`, centreG: `[A, R]`: a part's share of gradients.
    """

    WG: np.ndarray
    HG: np.ndarray
    carried: np.ndarray
    XG: np.ndarray
    centre: np.ndarray
    AG: np.ndarray
    xG: np.ndarray
    FG: np.ndarray
    sendG: np.ndarray
    Y: np.ndarray
    Z: np.ndarray
    cells: np.ndarray
    sections: np.ndarray
    sigmaG: np.ndarray
    rhoG: np.ndarray
    reinfectionG: np.ndarray
    homeG: np.ndarray
    centreG: np.ndarray


@jit
def vjp(
    p: Packed, rates: tuple, q: int, incidence: np.ndarray, on: np.ndarray, memory: np.ndarray, cotangent: np.ndarray,
    reinfections: np.ndarray, begin: np.ndarray, slope: np.ndarray, bar: tuple,
) -> None:  # fmt: skip
    """Walk a particle from its last day to its first by one thread, which takes `on` back to the beginning.

    `reinfections` `[L, 3]`: reinfections (agent, day, day of the infection before) ordered by day; `begin` `[T + 1]`: where each day begins;
    `slope` `[R]`: derivative of the memory of day 0 by forgetting.
    """
    alone = np.int64(0)  # a literal would be compiled for itself
    day, w = new_day(p, rates, q, alone + 1), new_back(p, rates, q, alone + 1)
    start(p, rates, q, on, day, w, alone)
    for t in range(len(incidence) - 1, -1, -1):
        rows = reinfections[begin[t] : begin[t + 1]]
        enter(p, rates, q, t, on, day, w, alone)
        take_back(p, rows, on, day, alone)
        add_pressures(p, rates, q, t, on, day, alone)
        apply_pressures(p, rates, q, t, memory[t], day)
        begin_anew(rates, t, w)
        read_out(p, rates, q, t, incidence, memory[t], cotangent[t], w, bar)
        infected(p, rates, q, t, rows, on, day, w, alone)
        hazards(p, rates, q, t, rows, on, day, w, alone)
        fold(p, rates, q, t, memory[t], day, w, bar)
        infectious(p, rates, q, t, on, day, w, alone)
        recentre(w)
    finish(p, q, on, slope, w, bar)


@jit
def new_back(p: Packed, rates: tuple, q: int, parts: int) -> Back:
    """Adjoints before the last day: none."""
    H, M, G, R, K = (
        len(p.household_weight),
        len(p.section_venue),
        len(p.group_size),
        len(p.region_size),
        rates[1].shape[2],
    )
    return Back(
        np.zeros(H), np.zeros(H), np.zeros(H), np.zeros(len(p.place) if p.has_kin.any() else 0), np.zeros(R), np.zeros(R),
        np.zeros(G), np.zeros(G), np.zeros(M + 1), np.zeros(M + 1), np.zeros(M + 1),
        np.zeros((3, parts, len(p.cell_group))), np.zeros((3, parts, M + 1)),
        np.zeros((parts, rates[1].shape[1], K)), np.zeros((parts, K, rates[0].shape[2])), np.zeros((parts, K, rates[7].shape[2])),
        np.zeros((parts, rates[2].shape[2])), np.zeros((parts, R)),
    )  # fmt: skip


@jit
def start(p: Packed, rates: tuple, q: int, on: np.ndarray, day: Day, w: Back, a: int) -> None:
    """Count the uninfected of a part at the end."""
    s = rates[1].shape[1] - 1
    for h in range(day.part[a], day.part[a + 1]):
        for i in range(p.household_start[h], p.household_start[h + 1]):
            if on[i] == NEVER:
                join(p, rates[1][q, s], s, i, h, w, a)


@inner
def join(p: Packed, sigma: np.ndarray, s: int, i: int, h: int, w: Back, a: int) -> None:
    """Count an agent among the uninfected, for it was so on the days before; `sigma` `[K]` is the susceptibility of period s."""
    c = p.place[i, CELL]
    k = p.cell_archetype[c]
    w.cells[0, a, c] += w.WG[h]
    w.cells[1, a, c] += 1.0
    for v in range(SECTIONS, p.place.shape[1]):
        m = p.place[i, v]
        w.sections[0, a, m] += sigma[k] * w.WG[h]
        w.sections[1, a, m] += sigma[k]
        w.sigmaG[a, s, k] += w.WG[h] * w.Y[m] + w.Z[m]


@inner
def change(p: Packed, sigma: np.ndarray, s: int, h: int, by: float, on: np.ndarray, w: Back, a: int) -> None:
    """Change the adjoint of a household's score, and with it the sums over the uninfected."""
    w.WG[h] += by
    for i in range(p.household_start[h], p.household_start[h + 1]):
        if on[i] == NEVER:
            c = p.place[i, CELL]
            k = p.cell_archetype[c]
            w.cells[0, a, c] += by
            for v in range(SECTIONS, p.place.shape[1]):
                w.sections[0, a, p.place[i, v]] += sigma[k] * by
                w.sigmaG[a, s, k] += by * w.Y[p.place[i, v]]


@jit
def read_out(
    p: Packed,
    rates: tuple,
    q: int,
    t: int,
    incidence: np.ndarray,
    A: np.ndarray,
    cotangent: np.ndarray,
    w: Back,
    bar: tuple,
) -> None:
    """Adjoint of the memory of the next day, then of the incidence of this one."""
    forgetting = rates[6][q]
    for g in range(len(cotangent)):
        r = p.region_of_group[g]
        bar[6][q] += w.AG[r] * 100.0 * incidence[t, g] / p.region_size[r]
        w.xG[g] = cotangent[g] + forgetting * w.AG[r] * 100.0 / p.region_size[r]
        w.centre[r] -= w.xG[g] * incidence[t, g] / p.households_in_region[r]
    for r in range(len(A)):
        bar[6][q] -= w.AG[r] * A[r]
        w.AG[r] *= 1.0 - forgetting


@jit
def infected(
    p: Packed, rates: tuple, q: int, t: int, rows: np.ndarray, on: np.ndarray, day: Day, w: Back, a: int
) -> None:
    """From the incidence of the day to the scores of those infected on it."""
    s, first, last = period(rates, t), p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    sigma = rates[1][q, s]
    w.cells[2, a] = 0.0
    w.sections[2, a] = 0.0
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for e in range(len(rows)):
        if first <= rows[e, 0] < last:
            change(
                p,
                sigma,
                s,
                np.int64(p.place[rows[e, 0], HOME]),
                w.xG[p.cell_group[p.place[rows[e, 0], CELL]]],
                on,
                w,
                a,
            )
    for block in range(first, last, BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, last), t, t, chosen)):
            at = p.place[chosen[e]]
            change(p, sigma, s, np.int64(at[HOME]), w.xG[p.cell_group[at[CELL]]], on, w, a)


@jit
def hazards(
    p: Packed, rates: tuple, q: int, t: int, rows: np.ndarray, on: np.ndarray, day: Day, w: Back, a: int
) -> None:
    """From scores to hazards: of those infected on the day, of those infected before, of the uninfected near the infectious."""
    s, home, after = period(rates, t), rates[2][q, HOUSEHOLD, t], rates[7][q]
    sigma = rates[1][q, s]
    first, last = p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for h in range(day.part[a], day.part[a + 1]):
        if day.near[h]:
            score, w.HG[h] = w.WG[h] + w.centre[p.household_region[h]], 0.0
            for i in range(p.household_start[h], p.household_start[h + 1]):
                k, free = p.cell_archetype[p.place[i, CELL]], on[i] == NEVER
                w.HG[h] -= free * score * sigma[k]
                w.sigmaG[a, s, k] -= free * score * home * day.H[h]
                if p.has_kin[h]:
                    w.XG[i] = -free * score * sigma[k]

    for block in range(first, last, BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, last), t, t, chosen)):
            i = chosen[e]
            hazard = sigma[p.cell_archetype[p.place[i, CELL]]] * pressure(p, home, i, day)
            one(p, sigma, s, home, i, 1.0 / np.expm1(max(hazard, 1e-300)), 1.0, day, w, a)
    if after.shape[1]:
        waned(p, rates, q, t, on, day, w, a)
    for e in range(len(rows)):
        i = rows[e, 0]
        if first <= i < last:  # counted above as if not infected: take that back
            k, since = p.cell_archetype[p.place[i, CELL]], min(t - 1 - on[i], after.shape[1] - 1)
            hazard = after[k, since] * sigma[k] * pressure(p, home, i, day)
            weight = 1.0 / np.expm1(max(hazard, 1e-300)) + 1.0
            w.reinfectionG[a, k, since] += sigma[k] * one(p, sigma, s, home, i, weight, after[k, since], day, w, a)


@inner
def pressure(p: Packed, home: float, i: int, day: Day) -> float:
    """Hazard of an agent of susceptibility 1."""
    X = home * day.H[p.place[i, HOME]] + day.base[p.cell_group[p.place[i, CELL]]]
    for v in range(SECTIONS, p.place.shape[1]):
        X += day.reach[p.place[i, v]]
    return X


@inner
def one(
    p: Packed, sigma: np.ndarray, s: int, home: float, i: int, weight: float, relative: float, day: Day, w: Back, a: int
) -> float:  # fmt: skip
    """From the score to the hazard of one agent, of a susceptibility relative to the uninfected; returns `hazardG * pressure`."""
    h, c = p.place[i, HOME], p.place[i, CELL]
    k, X = p.cell_archetype[c], pressure(p, home, i, day)
    hazardG = weight * (w.WG[h] + w.centre[p.household_region[h]])
    x = hazardG * relative * sigma[k]
    w.cells[2, a, c] += hazardG * relative
    w.sigmaG[a, s, k] += hazardG * relative * (X - day.base[p.cell_group[c]])
    w.HG[h] += x
    if p.has_kin[h]:
        w.XG[i] += x
    for v in range(SECTIONS, p.place.shape[1]):
        w.sections[2, a, p.place[i, v]] += x
    return hazardG * X


@jit
def fold(p: Packed, rates: tuple, q: int, t: int, A: np.ndarray, day: Day, w: Back, bar: tuple) -> None:
    """From hazards to what reaches whole cells, sections and groups, and from there to the infectiousness in them."""
    _, _, beta, mixing, _, aversion = rates[:6]
    _, _, betaG, mixingG, importationG, aversionG = bar[:6]
    sigma, sigmaG = rates[1][q, period(rates, t)], bar[1][q, period(rates, t)]
    G, responseG, VG = len(w.xG), np.zeros(len(A)), np.zeros(len(day.V))
    for c in range(len(p.cell_group)):
        g, k = p.cell_group[c], p.cell_archetype[c]
        hazardG = 0.0
        for a in range(w.cells.shape[1]):
            hazardG += w.cells[2, a, c] - w.cells[0, a, c] - w.centre[p.cell_home[c]] * w.cells[1, a, c]
        sigmaG[k] += hazardG * day.base[g]
        importationG[q, t, g] += hazardG * sigma[k]
    for m in range(len(p.section_venue)):
        XG, r, home, s = 0.0, p.section_region[m], p.section_home[m], p.section_venue[m]
        for a in range(w.sections.shape[1]):
            XG += w.sections[2, a, m] - w.sections[0, a, m] - w.centre[home] * w.sections[1, a, m]
        b = beta[q, VENUES + p.section_layer[m], t]
        betaG[q, VENUES + p.section_layer[m], t] += XG * day.response[r] * day.V[s]
        responseG[r] += XG * b * day.V[s]
        VG[s] += XG * day.response[r] * b * p.venue_weight[s]
        w.Y[m] += day.reach[m]
        w.Z[m] += w.centre[home] * day.reach[m]
    for m in range(len(p.section_venue)):
        w.sendG[m] = VG[p.section_venue[m]]
    w.FG[:] = 0.0
    for g in range(G):
        r = p.region_of_group[g]
        responseG[r] += importationG[q, t, g] * day.outside[g]
        CG = importationG[q, t, g] * day.response[r]
        betaG[q, COMMUNITY, t] += CG * day.C[g]
        CG *= beta[q, COMMUNITY, t]
        for k in range(G):
            mixingG[q, g, k] += CG * day.F[k]
            w.FG[k] += mixing[q, g, k] * CG
    for g in range(G):
        w.FG[g] /= p.group_size[g]
    for r in range(len(A)):
        aversionG[q] -= responseG[r] * day.response[r] * A[r]
        w.AG[r] -= responseG[r] * day.response[r] * aversion[q]


@jit
def infectious(p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, day: Day, w: Back, a: int) -> None:
    """To the infectious: rho enters every pressure directly, the score only the larger groups. Then the day is taken back."""
    s, rho, beta = period(rates, t), rates[0][q], rates[2][q, :, t]
    sigma = rates[1][q, s]
    first, last = p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    w.centreG[a] = 0.0
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(first, last, BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, last), t - rho.shape[1], t - 1, chosen)):
            i = chosen[e]
            h, c, since = p.place[i, HOME], p.place[i, CELL], t - 1 - on[i]
            k, send = p.cell_archetype[c], w.FG[p.cell_group[c]]
            for v in range(SECTIONS, p.place.shape[1]):
                send += w.sendG[p.place[i, v]]
            kin = among_kin(p, beta, i, h, day, w) if p.has_kin[h] else 0.0
            direct = p.household_weight[h] * w.HG[h]
            w.rhoG[a, k, since] += send + beta[HOUSEHOLD] * direct
            w.homeG[a, t] += rho[k, since] * direct
            w.carried[h] += rho[k, since] * (send - kin)
    for h in range(day.part[a], day.part[a + 1]):
        if day.near[h]:
            r = p.household_region[h]
            w.centreG[a, r] -= w.carried[h] / p.households_in_region[r]
            change(p, sigma, s, h, w.carried[h], on, w, a)
            w.carried[h] = 0.0
    for block in range(first, last, BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, last), t, t, chosen)):
            on[chosen[e]] = NEVER
            join(p, sigma, s, np.int64(chosen[e]), np.int64(p.place[chosen[e], HOME]), w, a)


@jit
def recentre(w: Back) -> None:
    """Add up what the parts subtract from the scores of a region."""
    for a in range(len(w.centreG)):
        for r in range(len(w.centre)):
            w.centre[r] += w.centreG[a, r]


@inner
def among_kin(p: Packed, beta: np.ndarray, i: int, h: int, day: Day, w: Back) -> float:
    """What an infectious agent sends to members of its own household through venue groups they share."""
    out = 0.0
    for v in range(p.place.shape[1] - SECTIONS):
        m = p.place[i, SECTIONS + v]
        if m == len(p.section_venue):
            continue
        s = p.section_venue[m]
        for j in range(p.household_start[h], p.household_start[h + 1]):
            n = p.place[j, SECTIONS + v]
            if n < len(p.section_venue) and p.section_venue[n] == s:
                out += w.XG[j] * day.response[p.section_region[n]] * beta[VENUES + v] * p.venue_weight[s]
    return out


@jit
def finish(p: Packed, q: int, on: np.ndarray, slope: np.ndarray, w: Back, bar: tuple) -> None:
    """What the uninfected add to the gradient of susceptibility through venues, the memory of day 0, then the sum over parts."""
    for r in range(len(slope)):
        bar[6][q] += w.AG[r] * slope[r]
    for h in range(len(w.WG)):
        for i in range(p.household_start[h], p.household_start[h + 1]):
            for v in range(SECTIONS, p.place.shape[1] if on[i] == NEVER else SECTIONS):
                m = p.place[i, v]
                bar[1][q, 0, p.cell_archetype[p.place[i, CELL]]] -= w.WG[h] * w.Y[m] + w.Z[m]
    for a in range(len(w.sigmaG)):
        bar[0][q] += w.rhoG[a]
        bar[1][q] += w.sigmaG[a]
        bar[2][q, HOUSEHOLD] += w.homeG[a]
        bar[7][q] += w.reinfectionG[a]
