"""Forward mode in compiled loops: `_reference.jvp` for Q directions at once."""

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
    jit,
    new_day,
    settle,
    spread,
)
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES


@jit
def jvp(
    p: Packed, rates: tuple, tangents: tuple, q: int, incidence: np.ndarray, on: np.ndarray, memory: np.ndarray,
    again: np.ndarray, begin: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Walk a particle from its first day to its last by one thread; writes the tangents `out` `[T, G, Q]` of its incidence.

    `on` `[N]`: day of each agent's first infection, brought forward in place. `again` `[L, 3]`: reinfections (agent, day, day of the
    infection before) ordered by day; `begin` `[T + 1]`: where each day begins.
    """
    R, Z = len(p.region_size), out.shape[2]
    day, table, chosen = new_day(p, rates, q, 1), np.zeros((len(p.cell_group), Z)), np.empty(BLOCK + 8, dtype=np.int32)
    W, mean, total = np.zeros((len(p.household_weight), Z)), np.zeros((R, Z)), np.zeros((R, Z))
    dA = np.zeros((R, Z))
    dV, dF, dresponse = np.zeros((len(p.venue_weight), Z)), np.zeros((len(p.group_size), Z)), np.zeros((R, Z))
    dreach, loud = np.zeros((len(p.section_venue) + 1, Z)), np.zeros(len(p.section_venue) + 1, dtype=np.bool_)
    rho, sigma, after, drho, dsigma, dafter = (
        rates[0][q], rates[1][q], rates[7][q], tangents[0][q], tangents[1][q], tangents[7][q],
    )  # fmt: skip
    for t in range(len(out)):
        rows = again[begin[t] : begin[t + 1]]
        spread(p, rates, q, t, on, day, 0)
        settle(p, rates, q, t, memory[t], day)
        for r in range(R):
            for z in range(Z):
                dresponse[r, z] = -day.response[r] * (tangents[5][q, z] * memory[t, r] + rates[5][q] * dA[r, z])
        carry(p, rates, tangents, q, t, on, W, mean, dV, dF)
        everywhere(p, rates, tangents, q, t, day, dresponse, dF, table)
        beta, dbeta = rates[2][q, :, t], tangents[2][q, :, t]
        sections(p, beta, dbeta, day, dresponse, dV, dreach, loud)
        households(
            p, (rho, sigma, beta, after), (drho, dsigma, dbeta, dafter), t, on, rows, day, table, dreach, loud, W, mean, total
        )  # fmt: skip
        for r in range(R):
            for z in range(Z):
                mean[r, z] = total[r, z] / p.households_in_region[r]
        for e in range(len(rows)):
            on[rows[e, 0]] = t
        for block in range(0, len(on), BLOCK):
            for e in range(infected_between(on, block, min(block + BLOCK, len(on)), t, t, chosen)):
                h, g = p.place[chosen[e], HOME], p.cell_group[p.place[chosen[e], CELL]]
                for z in range(Z):
                    out[t, g, z] += W[h, z] - mean[p.household_region[h], z]
        recall(p, rates, tangents, q, incidence[t], memory[t], out[t], dA)


@jit
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


@jit
def carry(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, on: np.ndarray, W: np.ndarray, mean: np.ndarray,
    dV: np.ndarray, dF: np.ndarray,
) -> None:  # fmt: skip
    """Tangents of the pressures in larger groups: the scores of the infectious carry the change."""
    rho, drho, D, Z = rates[0][q], tangents[0][q], rates[0].shape[2], W.shape[1]
    dV[:] = 0.0
    dF[:] = 0.0
    chosen, change = np.empty(BLOCK + 8, dtype=np.int32), np.zeros(Z)
    for block in range(0, len(on), BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, len(on)), t - D, t - 1, chosen)):
            j = chosen[e]
            h, c, since = p.place[j, HOME], p.place[j, CELL], t - 1 - on[j]
            k, r = p.cell_archetype[c], p.household_region[h]
            for z in range(Z):
                change[z] = drho[k, since, z] + rho[k, since] * (W[h, z] - mean[r, z])
                dF[p.cell_group[c], z] += change[z] / p.group_size[p.cell_group[c]]
            for v in range(SECTIONS, p.place.shape[1]):
                if p.place[j, v] < len(p.section_venue):
                    s = p.section_venue[p.place[j, v]]
                    for z in range(Z):
                        dV[s, z] += p.venue_weight[s] * change[z]


@jit
def everywhere(
    p: Packed,
    rates: tuple,
    tangents: tuple,
    q: int,
    t: int,
    day: Day,
    dresponse: np.ndarray,
    dF: np.ndarray,
    table: np.ndarray,
) -> None:
    """Tangents of the hazard from community and importation, by cell."""
    G, Z, b, db = len(dF), table.shape[1], rates[2][q, COMMUNITY, t], tangents[2][q, COMMUNITY, t]
    dbase, dC = np.zeros((G, Z)), np.zeros(Z)
    for g in range(G):
        r = p.region_of_group[g]
        dC[:] = 0.0
        for k in range(G):
            for z in range(Z):
                dC[z] += tangents[3][q, g, k, z] * day.F[k] + rates[3][q, g, k] * dF[k, z]
        for z in range(Z):
            dQ = db[z] * day.C[g] + b * dC[z]
            dbase[g, z] = dresponse[r, z] * day.outside[g] + day.response[r] * dQ + tangents[4][q, t, g, z]
    for c in range(len(table)):
        g, k = p.cell_group[c], p.cell_archetype[c]
        for z in range(Z):
            table[c, z] = tangents[1][q, k, z] * day.base[g] + rates[1][q, k] * dbase[g, z]


@jit
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


@jit
def households(
    p: Packed, rates: tuple, tangents: tuple, t: int, on: np.ndarray, rows: np.ndarray, day: Day, table: np.ndarray,
    dreach: np.ndarray, loud: np.ndarray, W: np.ndarray, mean: np.ndarray, total: np.ndarray,
) -> None:  # fmt: skip
    """Add to every household's score, and to the regions' totals of them, what a day changes.

    One loop: a call a household would cost more than most households.
    """
    rho, sigma, beta, after = rates
    drho, dsigma, dbeta, dafter = tangents
    start, place, archetype, kin, region = p.household_start, p.place, p.cell_archetype, p.has_kin, p.household_region
    group, venue, section_region, weights, home_weight = (
        p.cell_group, p.section_venue, p.section_region, p.venue_weight, p.household_weight,
    )  # fmt: skip
    H, base, reach, response, is_near = day.H, day.base, day.reach, day.response, day.near
    D, Z, M, lasting = rho.shape[1], W.shape[1], len(venue), after.shape[1] > 0
    dhome, change = np.zeros(Z), np.zeros(Z)
    for h in range(len(W)):
        first, last, near, at_home = start[h], start[h + 1], is_near[h], beta[HOUSEHOLD] * H[h]
        touched = near or at_home != 0.0 or lasting
        for i in range(first, last):
            for v in range(SECTIONS, place.shape[1]):
                touched = touched or loud[place[i, v]]
        if (
            not touched
        ):  # only the community reaches this home: the score itself is not read, and may change member by member
            for i in range(first, last):
                if on[i] >= t:
                    c, w = place[i, CELL], -1.0
                    if on[i] == t:
                        w = 1.0 / np.expm1(max(sigma[archetype[c]] * base[group[c]], 1e-300))
                    for z in range(Z):
                        W[h, z] += w * table[c, z]
                        total[region[h], z] += w * table[c, z]
            continue
        for z in range(Z):
            dhome[z] = dbeta[HOUSEHOLD, z] * H[h]
            change[z] = 0.0
        if near:
            for j in range(first, last):
                if 0 <= t - 1 - on[j] < D:
                    weight, k, since = (
                        beta[HOUSEHOLD] * home_weight[h],
                        archetype[place[j, CELL]],
                        t - 1 - on[j],
                    )
                    for z in range(Z):
                        dhome[z] += weight * drho[k, since, z]
        for i in range(first, last):
            if on[i] < t and not lasting:
                continue
            c = place[i, CELL]
            k, relative, w, since = archetype[c], 1.0, -1.0, -1
            if on[i] < t:
                since = min(t - 1 - on[i], after.shape[1] - 1)
                relative = after[k, since]
            felt, quiet = at_home, not near
            for v in range(SECTIONS, place.shape[1]):
                felt += reach[place[i, v]]
                quiet = quiet and not loud[place[i, v]]
            infected = on[i] == t
            for e in range(len(rows)):
                infected = infected or rows[e, 0] == i
            X = felt + base[group[c]]
            if infected:
                w = 1.0 / np.expm1(max(relative * sigma[k] * X, 1e-300))
            s = w * relative
            if since >= D:
                for z in range(Z):
                    change[z] += w * dafter[k, since, z] * sigma[k] * X
            for z in range(Z):
                change[z] += s * table[c, z]
            if quiet and felt == 0.0:
                continue
            for z in range(Z):
                change[z] += s * (dsigma[k, z] * felt + sigma[k] * dhome[z])
            for v in range(SECTIONS, place.shape[1]):
                m, own = place[i, v], 0.0
                if not loud[m]:
                    continue
                for z in range(Z):
                    change[z] += s * sigma[k] * dreach[m, z]
                if not kin[h]:
                    continue
                n = venue[m]
                for j in range(first, last):
                    other = place[j, v]
                    if other < M and venue[other] == n and 0 <= t - 1 - on[j] < D:
                        own += weights[n] * rho[archetype[place[j, CELL]], t - 1 - on[j]]
                if own != 0.0:  # the household's own score holds what its members gave
                    own *= s * sigma[k] * response[section_region[m]] * beta[VENUES + v - SECTIONS]
                    for z in range(Z):
                        change[z] -= own * (W[h, z] - mean[region[h], z])
        # the day's pressures were made from yesterday's scores: W changes only when the household is done
        for z in range(Z):
            W[h, z] += change[z]
            total[region[h], z] += change[z]
