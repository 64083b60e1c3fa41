"""Forward mode against ghosts in compiled loops: `_reference_ghosts.jvp` for Q directions at once.

Where nobody in a household or its ghost has been infected the two cancel and the score is zero: only the others are walked.
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
from sim._compiled_ghosts_day import at_home, kin_of, meet_kin, push, stretch
from sim._compiled_tangent import everywhere, recall, sections, varied
from sim.rates import HOUSEHOLD, VENUES


@jit
def jvp(
    p: Packed, rates: tuple, tangents: tuple, q: int, incidence: np.ndarray, on: np.ndarray, ghosts: np.ndarray,
    memory: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Walk a particle from its first day to its last; writes the tangents `out` `[T, G, Q]` of its incidence.

    `on` `[N]`, `ghosts` `[K, N]`: day of each agent's infection, of all days.
    """
    R, Z, K, households = len(p.region_size), out.shape[2], len(ghosts), len(p.household_weight)
    day, table, chosen = (
        new_day(p, rates, q, np.int64(1)),
        np.zeros((len(p.cell_group), Z)),
        np.empty(BLOCK + 8, dtype=np.int32),
    )
    S, dA, dresponse = np.zeros((K, households, Z)), np.zeros((R, Z)), np.zeros((R, Z))
    dV, dF = np.zeros((len(p.venue_weight), Z)), np.zeros((len(p.group_size), Z))
    dreach, loud = np.zeros((len(p.section_venue) + 1, Z)), np.zeros(len(p.section_venue) + 1, dtype=np.bool_)
    H, kin = np.zeros((K, households)), np.zeros((K, len(p.place) if p.has_kin.any() else 0))
    mixed, dmixing = varied(tangents[3][q])
    reached, longer = np.zeros(households, dtype=np.bool_), np.ones((K, households))
    for t in range(len(out)):
        spread(p, rates, q, t, on, day, np.int64(0))
        for k in range(K):
            at_home(p, rates, q, t, ghosts[k], day, H[k])
        settle(p, rates, q, t, memory[t], day)
        for r in range(R):
            for z in range(Z):
                dresponse[r, z] = -day.response[r] * (tangents[5][q, z] * memory[t, r] + rates[5][q] * dA[r, z])
        dV[:] = 0.0
        dF[:] = 0.0
        pushed = push(p, rates, q, t, day)
        for h in range(households):
            if day.near[h]:
                for k in range(K):
                    longer[k, h] = stretch(p, rates[0][q], t, h, on, ghosts[k], pushed) / K
        carry(p, rates, tangents, q, t, on, S, longer, 1.0, dV, dF)
        for k in range(K):
            meet_kin(p, rates, q, t, on, ghosts[k], day, kin[k])
            carry(p, rates, tangents, q, t, ghosts[k], S[k : k + 1], longer[k : k + 1], -1.0, dV, dF)
        everywhere(p, rates, tangents, q, t, day, dresponse, dF, mixed, dmixing, table)
        sections(p, rates[2][q, :, t], tangents[2][q, :, t], day, dresponse, dV, dreach, loud)
        for block in range(0, len(on), BLOCK):
            for k in range(-1, K):
                column = on if k < 0 else ghosts[k]
                for e in range(infected_between(column, block, min(block + BLOCK, len(on)), t, t, chosen)):
                    reached[p.place[chosen[e], HOME]] = True
        for h in range(households):
            if reached[h]:
                household(
                    p, rates, tangents, q, t, h, on, ghosts, day, dresponse, H, kin, table, dreach, loud, S, longer
                )
        for block in range(0, len(on), BLOCK):
            for k in range(-1, K):
                column = on if k < 0 else ghosts[k]
                for e in range(infected_between(column, block, min(block + BLOCK, len(on)), t, t, chosen)):
                    h, g = p.place[chosen[e], HOME], p.cell_group[p.place[chosen[e], CELL]]
                    for n in range(K):
                        if k < 0 or k == n:
                            for z in range(Z):
                                out[t, g, z] += (S[n, h, z] if k < 0 else -S[n, h, z]) / K
        recall(p, rates, tangents, q, incidence[t], memory[t], out[t], dA)


@inner
def carry(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, column: np.ndarray, S: np.ndarray, longer: np.ndarray,
    sign: float, dV: np.ndarray, dF: np.ndarray,
) -> None:  # fmt: skip
    """Add to the tangents of venue and group pressures what the infectious carry; the real ones (sign 1) also add rho's own tangent."""
    rho, drho, Z = rates[0][q], tangents[0][q], S.shape[2]
    chosen, change = np.empty(BLOCK + 8, dtype=np.int32), np.zeros(Z)
    for block in range(0, len(column), BLOCK):
        last = min(block + BLOCK, len(column))
        for e in range(infected_between(column, block, last, t - rho.shape[1], t - 1, chosen)):
            j = chosen[e]
            h, c, since = p.place[j, HOME], p.place[j, CELL], t - 1 - column[j]
            a, g = p.cell_archetype[c], p.cell_group[c]
            for z in range(Z):
                change[z] = drho[a, since, z] if sign > 0.0 else 0.0
            for k in range(len(S)):
                weight = sign * longer[k, h] * rho[a, since]
                for z in range(Z):
                    change[z] += weight * S[k, h, z]
            for z in range(Z):
                dF[g, z] += change[z] / p.group_size[g]
            for v in range(SECTIONS, p.place.shape[1]):
                if p.place[j, v] < len(p.section_venue):
                    s = p.section_venue[p.place[j, v]]
                    for z in range(Z):
                        dV[s, z] += p.venue_weight[s] * change[z]


@inner
def household(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, h: int, on: np.ndarray, ghosts: np.ndarray, day: Day,
    dresponse: np.ndarray, H: np.ndarray, kin: np.ndarray, table: np.ndarray, dreach: np.ndarray, loud: np.ndarray, S: np.ndarray,
    longer: np.ndarray,
) -> None:  # fmt: skip
    """Add to a household's scores what a day changes."""
    first, last, Z, K = p.household_start[h], p.household_start[h + 1], table.shape[1], len(ghosts)
    s, b, home = period(rates, t), rates[2][q, :, t], rates[2][q, HOUSEHOLD, t]
    sigma, dsigma = rates[1][q, s], tangents[1][q, s]
    shared, change, own, dhome = p.has_kin[h] and day.near[h], np.zeros((K, Z)), np.zeros(Z), np.zeros((K + 1, Z))
    if day.near[h]:
        for k in range(-1, K):
            home_tangent(
                p, rates, tangents, q, t, h, on if k < 0 else ghosts[k], day.H[h] if k < 0 else H[k, h], dhome[k + 1]
            )
    for i in range(first, last):
        c = p.place[i, CELL]
        a, outside = p.cell_archetype[c], 0.0
        for v in range(SECTIONS, p.place.shape[1]):
            outside += day.reach[p.place[i, v]]
        felt = outside + home * day.H[h]
        w = weight(on[i], t, sigma[a] * (felt + day.base[p.cell_group[c]]))
        if shared:
            carried_among_kin(p, rates[0][q], b, t, i, h, on, ghosts, day, S, longer, own)
        for k in range(K):
            met = outside + home * H[k, h] + (kin[k, i] if shared else 0.0)
            y = weight(ghosts[k, i], t, sigma[a] * (met + day.base[p.cell_group[c]]))
            if w == y and not day.near[h]:
                continue
            both, at_home_ = 0.5 * (w - y), 0.5 * (w * felt - y * met)
            for z in range(Z):
                change[k, z] += both * table[c, z] + at_home_ * dsigma[a, z]
                change[k, z] += 0.5 * sigma[a] * (w * dhome[0, z] - y * dhome[k + 1, z])
            for v in range(SECTIONS, p.place.shape[1]):
                if loud[p.place[i, v]] and both != 0.0:
                    for z in range(Z):
                        change[k, z] += both * sigma[a] * dreach[p.place[i, v], z]
            if shared:
                for z in range(Z):
                    change[k, z] -= both * sigma[a] * own[z]
                own_kin(p, rates, tangents, q, t, i, h, on, ghosts[k], day, dresponse, -0.5 * y * sigma[a], change[k])
    for k in range(K):
        for z in range(Z):
            S[k, h, z] += change[k, z]


@inner
def weight(on: int, t: int, hazard: float) -> float:
    """Derivative of the log-probability of an agent's day with respect to its hazard."""
    if on < t:
        return 0.0
    return 1.0 / np.expm1(max(hazard, 1e-300)) if on == t else -1.0


@inner
def home_tangent(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, h: int, column: np.ndarray, H: float, out: np.ndarray
) -> None:
    """Tangent of what a household (or a ghost) does to its members, as it happened."""
    for z in range(len(out)):
        out[z] = tangents[2][q, HOUSEHOLD, t, z] * H
    for j in range(p.household_start[h], p.household_start[h + 1]):
        since = t - 1 - column[j]
        if 0 <= since < rates[0].shape[2]:
            weight, a = rates[2][q, HOUSEHOLD, t] * p.household_weight[h], p.cell_archetype[p.place[j, CELL]]
            for z in range(len(out)):
                out[z] += weight * tangents[0][q, a, since, z]


@inner
def carried_among_kin(
    p: Packed, rho: np.ndarray, b: np.ndarray, t: int, i: int, h: int, on: np.ndarray, ghosts: np.ndarray, day: Day, S: np.ndarray,
    longer: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """What members of one's own household carried into the tangents of shared venue groups: the own score holds it already."""
    out[:] = 0.0
    for v in range(p.place.shape[1] - SECTIONS):
        m = p.place[i, SECTIONS + v]
        if m == len(p.section_venue):
            continue
        real, factor = kin_of(p, rho, t, on, i, h, v), day.response[p.section_region[m]] * b[VENUES + v]
        for k in range(len(ghosts)):
            met = factor * longer[k, h] * (real - kin_of(p, rho, t, ghosts[k], i, h, v))
            if met != 0.0:
                for z in range(len(out)):
                    out[z] += met * S[k, h, z]


@inner
def own_kin(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, i: int, h: int, on: np.ndarray, ghost: np.ndarray, day: Day,
    dresponse: np.ndarray, weight: float, out: np.ndarray,
) -> None:  # fmt: skip
    """Add the direct tangent, times a weight, of what a ghost's member meets of its own kin in place of the real ones."""
    if weight == 0.0:
        return
    rho, D = rates[0][q], rates[0].shape[2]
    for v in range(p.place.shape[1] - SECTIONS):
        m = p.place[i, SECTIONS + v]
        if m == len(p.section_venue):
            continue
        r, n, b = p.section_region[m], p.section_venue[m], rates[2][q, VENUES + v, t]
        met = weight * (kin_of(p, rho, t, ghost, i, h, v) - kin_of(p, rho, t, on, i, h, v))
        if met != 0.0:
            for z in range(len(out)):
                out[z] += met * (dresponse[r, z] * b + day.response[r] * tangents[2][q, VENUES + v, t, z])
        for j in range(p.household_start[h], p.household_start[h + 1]):
            other = p.place[j, SECTIONS + v]
            if other == len(p.section_venue) or p.section_venue[other] != n:
                continue
            a, send = p.cell_archetype[p.place[j, CELL]], weight * day.response[r] * b * p.venue_weight[n]
            for lane in range(2):
                since = t - 1 - (ghost[j] if lane == 0 else on[j])
                if 0 <= since < D:
                    for z in range(len(out)):
                        out[z] += (send if lane == 0 else -send) * tangents[0][q, a, since, z]
