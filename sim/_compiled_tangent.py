"""Forward mode in compiled loops: `_reference.jvp` for Q directions at once, touching only households near an infection.

For somebody not yet infected the weight is -1, so a day takes the same from the score of every quiet household for each of its
members: sums over days, by cell and by section, hold that for everybody. A household with somebody infectious or just infected is
*open*: its score is kept. When it closes, what the days before took from its uninfected members is added back, and taken when it
opens again; where that will not happen the score is read no more, and left.
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
from sim._compiled_uninfected import count, leave, renew_scores, starts, turn
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES


class Scores(NamedTuple):
    """Scores of a particle; axes as in `Day`, `Z` directions.

    Attributes:
        E: `[H, Z]` the score of an open household; of a closed one what it lacks to the score of nobody ever infected.
        cells, sections: `[C, Z]`, `[M + 1, Z]` tangents of the hazards there, summed over the days before; in sections for a
            susceptibility of 1; reach: `[M + 1]` the hazard itself.
        free: `[C]` uninfected agents of a cell; weight, slope: `[M + 1]`, `[M + 1, Z]` sums of the susceptibility of those of a section, of
            its tangents.
        total, mean: `[R, Z]` sum and mean of the scores of a region.
        ever: `[M + 1]` whether a section was ever reached; open: `[H]`.
    """

    E: np.ndarray
    cells: np.ndarray
    sections: np.ndarray
    reach: np.ndarray
    free: np.ndarray
    weight: np.ndarray
    slope: np.ndarray
    total: np.ndarray
    mean: np.ndarray
    ever: np.ndarray
    open: np.ndarray


@jit
def jvp(
    p: Packed, rates: tuple, tangents: tuple, q: int, incidence: np.ndarray, on: np.ndarray, memory: np.ndarray,
    reinfections: np.ndarray, begin: np.ndarray, slope: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Walk a particle from its first day to its last by one thread; writes the tangents `out` `[T, G, Q]` of its incidence.

    `on` `[N]`: day of each agent's first infection, brought forward in place. `reinfections` `[L, 3]`: reinfections (agent, day, day of the
    infection before) ordered by day; `begin` `[T + 1]`: where each day begins; `slope` `[R]`: derivative of the memory of day 0 by forgetting.
    """
    R, Z, lasting = len(p.region_size), out.shape[2], rates[7].shape[2] > 0
    day, s = new_day(p, rates, q, np.int64(1)), nobody(p, rates, tangents, q, on, Z)
    mixed, dmixing = varied(tangents[3][q])
    table, dA, dresponse = np.zeros((len(p.cell_group), Z)), np.zeros((R, Z)), np.zeros((R, Z))
    dV, dF = np.zeros((len(p.venue_weight), Z)), np.zeros((len(p.group_size), Z))
    dreach, loud = np.zeros((len(p.section_venue) + 1, Z)), np.zeros(len(p.section_venue) + 1, dtype=np.bool_)
    hit, reached = np.zeros(len(on) if lasting else 0, dtype=np.bool_), np.zeros(len(s.E), dtype=np.bool_)
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for r in range(R):
        for z in range(Z):
            dA[r, z] = slope[r] * tangents[6][q, z]
    for t in range(len(out)):
        rows = reinfections[begin[t] : begin[t + 1]]
        if starts(rates, t):
            renew_scores(p, rates, tangents, q, t, on, s)
        add_pressures(p, rates, q, t, on, day, np.int64(0))
        apply_pressures(p, rates, q, t, memory[t], day)
        for r in range(R):
            for z in range(Z):
                dresponse[r, z] = -day.response[r] * (tangents[5][q, z] * memory[t, r] + rates[5][q] * dA[r, z])
        carry(p, rates, tangents, q, t, on, s, dV, dF)
        everywhere(p, rates, tangents, q, t, day, dresponse, dF, mixed, dmixing, table)
        sections(p, rates[2][q, :, t], tangents[2][q, :, t], day, dresponse, dV, dreach, loud)
        for e in range(len(rows)):
            hit[rows[e, 0]] = True
        for block in range(0, len(on), BLOCK):
            for e in range(infected_between(on, block, min(block + BLOCK, len(on)), t, t, chosen)):
                reached[p.place[chosen[e], HOME]] = True
        households(p, rates, tangents, q, t, on, hit, day, table, dreach, loud, reached, s)
        quiet(p, day, table, dreach, loud, s)
        for e in range(len(rows)):
            hit[rows[e, 0]] = False
            on[rows[e, 0]] = t
        for block in range(0, len(on), BLOCK):
            for e in range(infected_between(on, block, min(block + BLOCK, len(on)), t, t, chosen)):
                h, g = p.place[chosen[e], HOME], p.cell_group[p.place[chosen[e], CELL]]
                for z in range(Z):
                    out[t, g, z] += s.E[h, z] - s.mean[p.region_of_group[g], z]
        recall(p, rates, tangents, q, incidence[t], memory[t], out[t], dA)


@inner
def nobody(p: Packed, rates: tuple, tangents: tuple, q: int, on: np.ndarray, Z: int) -> Scores:
    """Scores before the first day, nobody infected."""
    C, M, R = len(p.cell_group), len(p.section_venue), len(p.region_size)
    s = Scores(
        np.zeros((len(p.household_weight), Z)), np.zeros((C, Z)), np.zeros((M + 1, Z)), np.zeros(M + 1), np.zeros(C),
        np.zeros(M + 1), np.zeros((M + 1, Z)), np.zeros((R, Z)), np.zeros((R, Z)), np.zeros(M + 1, dtype=np.bool_),
        np.zeros(len(p.household_weight), dtype=np.bool_),
    )  # fmt: skip
    for i in range(len(p.place)):
        s.free[p.place[i, CELL]] += 1.0 if on[i] >= 0 else 0.0
    count(p, rates[1][q, 0], tangents[1][q, 0], np.int64(0), on, s)
    return s


@inner
def varied(tangents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which directions change the mixing `[G, G, Z]` at all, and these tangents as `[G, G, n]`."""
    G, Z = tangents.shape[0], tangents.shape[2]
    any_ = np.zeros(Z, dtype=np.bool_)
    for g in range(G):
        for k in range(G):
            for z in range(Z):
                any_[z] |= tangents[g, k, z] != 0.0
    mixed = np.flatnonzero(any_)
    out = np.empty((G, G, len(mixed)))
    for n in range(len(mixed)):
        out[:, :, n] = tangents[:, :, mixed[n]]
    return mixed, out


@inner
def quiet(p: Packed, day: Day, table: np.ndarray, dreach: np.ndarray, loud: np.ndarray, s: Scores) -> None:
    """What a day takes from all who are still uninfected, and the means of the scores at its end."""
    Z = table.shape[1]
    for c in range(len(table)):
        r = p.cell_home[c]
        for z in range(Z):
            s.cells[c, z] += table[c, z]
            s.total[r, z] -= s.free[c] * table[c, z]
    for m in range(len(p.section_venue)):
        if not loud[m] and day.reach[m] == 0.0:
            continue
        r, s.ever[m] = p.section_home[m], True
        s.reach[m] += day.reach[m]
        for z in range(Z):
            s.sections[m, z] += dreach[m, z]
            s.total[r, z] -= s.weight[m] * dreach[m, z] + s.slope[m, z] * day.reach[m]
    for r in range(len(s.total)):
        for z in range(Z):
            s.mean[r, z] = s.total[r, z] / p.households_in_region[r]


@inner
def recall(
    p: Packed,
    rates: tuple,
    tangents: tuple,
    q: int,
    incidence: np.ndarray,
    A: np.ndarray,
    out: np.ndarray,
    dA: np.ndarray,
) -> None:
    """Tangents of the next day's remembered incidence."""
    for r in range(len(dA)):
        for z in range(dA.shape[1]):
            dA[r, z] -= tangents[6][q, z] * A[r] + rates[6][q] * dA[r, z]
    for g in range(len(out)):
        r = p.region_of_group[g]
        for z in range(dA.shape[1]):
            step = tangents[6][q, z] * incidence[g] + rates[6][q] * out[g, z]
            dA[r, z] += 100.0 / p.region_size[r] * step


@inner
def carry(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, on: np.ndarray, s: Scores, dV: np.ndarray, dF: np.ndarray
) -> None:
    """Tangents of the pressures in larger groups: the scores of the infectious carry the change."""
    rho, drho, D, Z = rates[0][q], tangents[0][q], rates[0].shape[2], dF.shape[1]
    dV[:] = 0.0
    dF[:] = 0.0
    chosen, change = np.empty(BLOCK + 8, dtype=np.int32), np.zeros(Z)
    for block in range(0, len(on), BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, len(on)), t - D, t - 1, chosen)):
            j = chosen[e]
            h, c, since = p.place[j, HOME], p.place[j, CELL], t - 1 - on[j]
            k, r = p.cell_archetype[c], p.household_region[h]
            for z in range(Z):
                change[z] = drho[k, since, z] + rho[k, since] * (s.E[h, z] - s.mean[r, z])
                dF[p.cell_group[c], z] += change[z] / p.group_size[p.cell_group[c]]
            for v in range(SECTIONS, p.place.shape[1]):
                if p.place[j, v] < len(p.section_venue):
                    n = p.section_venue[p.place[j, v]]
                    for z in range(Z):
                        dV[n, z] += p.venue_weight[n] * change[z]


@inner
def everywhere(
    p: Packed,
    rates: tuple,
    tangents: tuple,
    q: int,
    t: int,
    day: Day,
    dresponse: np.ndarray,
    dF: np.ndarray,
    mixed: np.ndarray,
    dmixing: np.ndarray,
    table: np.ndarray,
) -> None:
    """Tangents of the hazard from community and importation, by cell; `mixed` and `dmixing` as from `varied`."""
    G, Z, b, db = len(dF), table.shape[1], rates[2][q, COMMUNITY, t], tangents[2][q, COMMUNITY, t]
    dbase, dC, direct = np.zeros((G, Z)), np.zeros(Z), np.zeros(len(mixed))
    for g in range(G):
        r = p.region_of_group[g]
        dC[:] = 0.0
        for k in range(G):
            for z in range(Z):
                dC[z] += rates[3][q, g, k] * dF[k, z]
        direct[:] = 0.0
        for k in range(G):
            for n in range(len(mixed)):
                direct[n] += dmixing[g, k, n] * day.F[k]
        for n in range(len(mixed)):
            dC[mixed[n]] += direct[n]
        for z in range(Z):
            dQ = db[z] * day.C[g] + b * dC[z]
            dbase[g, z] = dresponse[r, z] * day.outside[g] + day.response[r] * dQ + tangents[4][q, t, g, z]
    sigma, dsigma = rates[1][q, period(rates, t)], tangents[1][q, period(rates, t)]
    for c in range(len(table)):
        g, k = p.cell_group[c], p.cell_archetype[c]
        for z in range(Z):
            table[c, z] = dsigma[k, z] * day.base[g] + sigma[k] * dbase[g, z]


@inner
def sections(
    p: Packed, beta: np.ndarray, dbeta: np.ndarray, day: Day, dresponse: np.ndarray, dV: np.ndarray,
    dreach: np.ndarray, loud: np.ndarray,
) -> None:  # fmt: skip
    """Tangents of what reaches the members of each part of a venue, and which of them are not zero."""
    for m in range(len(p.section_venue)):
        n, r = p.section_venue[m], p.section_region[m]
        v = p.section_layer[m]
        b, heard = beta[VENUES + v], False
        for z in range(dreach.shape[1]):
            dVm = dbeta[VENUES + v, z] * day.V[n] + b * dV[n, z]
            dreach[m, z] = dresponse[r, z] * b * day.V[n] + day.response[r] * dVm
            heard = heard or dreach[m, z] != 0.0
        loud[m] = heard


@inner
def households(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, on: np.ndarray, hit: np.ndarray, day: Day,
    table: np.ndarray, dreach: np.ndarray, loud: np.ndarray, reached: np.ndarray, s: Scores,
) -> None:  # fmt: skip
    """Open and close households, and add to the scores of the open what a day adds. One loop: a call a household would cost more."""
    rho, sigma, beta, after = rates[0][q], rates[1][q, period(rates, t)], rates[2][q, :, t], rates[7][q]
    drho, dsigma = tangents[0][q], tangents[1][q, period(rates, t)]
    dbeta, dafter = tangents[2][q, :, t], tangents[7][q]
    start, place, archetype, group, E, reach = (
        p.household_start,
        p.place,
        p.cell_archetype,
        p.cell_group,
        s.E,
        day.reach,
    )
    D, Z, lasting = rho.shape[1], table.shape[1], len(hit) > 0
    # `taken` is what `quiet` takes from the uninfected in the total; `change` is all else
    change, taken, dhome = np.empty(Z), np.empty(Z), np.empty(Z)
    for h in range(len(E)):
        wanted = day.near[h] or reached[h]
        if wanted != s.open[h]:
            turn(p, sigma, dsigma, t, h, on, s, -1.0 if wanted else 1.0)
            s.open[h] = wanted
        if not wanted:
            continue
        reached[h] = lasting
        first, last, r = start[h], start[h + 1], p.household_region[h]
        at_home, kin = beta[HOUSEHOLD] * day.H[h], p.has_kin[h] and day.near[h]
        through_home = 0.0
        for z in range(Z):
            change[z] = taken[z] = 0.0
        for i in range(first, last):
            if on[i] < t and (not lasting or t - 1 - on[i] < D):
                continue
            c = place[i, CELL]
            k, relative, w, since, outside = archetype[c], 1.0, -1.0, -1, 0.0
            for v in range(SECTIONS, place.shape[1]):
                outside += reach[place[i, v]]
            X = at_home + outside + day.base[group[c]]
            if on[i] < t:
                since = min(t - 1 - on[i], after.shape[1] - 1)
                relative = after[k, since]
            if on[i] == t or (on[i] < t and hit[i]):
                w = 1.0 / np.expm1(max(relative * sigma[k] * X, 1e-300))
            f = w * relative
            if since >= 0:
                for z in range(Z):
                    change[z] += w * dafter[k, since, z] * sigma[k] * X
            through_home += f * sigma[k]
            at, venue = f * at_home, f * outside
            into = taken if on[i] > t else change
            for z in range(Z):
                change[z] += at * dsigma[k, z]
            for z in range(Z):
                into[z] += f * table[c, z] + venue * dsigma[k, z]
            for v in range(SECTIONS, place.shape[1]):
                if loud[place[i, v]]:
                    for z in range(Z):
                        into[z] += f * sigma[k] * dreach[place[i, v], z]
            if on[i] == t:
                leave(p, sigma, dsigma, i, s)
            if kin and f != 0.0:
                own = f * sigma[k] * among_kin(p, rho, beta, t, i, h, on, day)
                if own != 0.0:  # the household's own score holds what its members gave
                    for z in range(Z):
                        change[z] -= own * (E[h, z] - s.mean[r, z])
        if day.near[h] and through_home != 0.0:
            for z in range(Z):
                dhome[z] = dbeta[HOUSEHOLD, z] * day.H[h]
            for j in range(first, last):
                since = t - 1 - on[j]
                if 0 <= since < D:
                    k, weight = archetype[place[j, CELL]], beta[HOUSEHOLD] * p.household_weight[h]
                    for z in range(Z):
                        dhome[z] += weight * drho[k, since, z]
            for z in range(Z):
                change[z] += through_home * dhome[z]
        for z in range(Z):
            E[h, z] += change[z] + taken[z]
            s.total[r, z] += change[z]


@inner
def among_kin(p: Packed, rho: np.ndarray, beta: np.ndarray, t: int, i: int, h: int, on: np.ndarray, day: Day) -> float:
    """Hazard of an agent of susceptibility 1 by members of its household in venue groups they share."""
    out = 0.0
    for v in range(p.place.shape[1] - SECTIONS):
        m = p.place[i, SECTIONS + v]
        if m == len(p.section_venue):
            continue
        n, pressure = p.section_venue[m], 0.0
        for j in range(p.household_start[h], p.household_start[h + 1]):
            other = p.place[j, SECTIONS + v]
            if other < len(p.section_venue) and p.section_venue[other] == n and 0 <= t - 1 - on[j] < rho.shape[1]:
                pressure += rho[p.cell_archetype[p.place[j, CELL]], t - 1 - on[j]]
        out += pressure * p.venue_weight[n] * day.response[p.section_region[m]] * beta[VENUES + v]
    return out
