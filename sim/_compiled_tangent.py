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
    W, mean, dA = np.zeros((len(p.household_weight), Z)), np.zeros((R, Z)), np.zeros((R, Z))
    dV, dF, dresponse = np.zeros((len(p.venue_weight), Z)), np.zeros((len(p.group_size), Z)), np.zeros((R, Z))
    for t in range(len(out)):
        rows = again[begin[t] : begin[t + 1]]
        spread(p, rates, q, t, on, day, 0)
        settle(p, rates, q, t, memory[t], day)
        for r in range(R):
            for z in range(Z):
                dresponse[r, z] = -day.response[r] * (tangents[5][q, z] * memory[t, r] + rates[5][q] * dA[r, z])
        carry(p, rates, tangents, q, t, on, W, mean, dV, dF)
        everywhere(p, rates, tangents, q, t, day, dresponse, dF, table)
        for h in range(len(W)):
            household(p, rates, tangents, q, t, h, on, rows, day, table, dresponse, dV, W, mean)

        mean[:] = 0.0
        for h in range(len(W)):
            for z in range(Z):
                mean[p.household_region[h], z] += W[h, z] / p.households_in_region[p.household_region[h]]
        for e in range(len(rows)):
            on[rows[e, 0]] = t
        for block in range(0, len(on), BLOCK):
            for e in range(infected_between(on, block, min(block + BLOCK, len(on)), t, t, chosen)):
                h, g = p.place[chosen[e], HOME], p.cell_group[p.place[chosen[e], CELL]]
                for z in range(Z):
                    out[t, g, z] += W[h, z] - mean[p.household_region[h], z]
        for r in range(R):
            for z in range(Z):
                dA[r, z] -= tangents[6][q, z] * memory[t, r] + rates[6][q] * dA[r, z]
        for g in range(len(dF)):
            r = p.region_of_group[g]
            for z in range(Z):
                step = tangents[6][q, z] * incidence[t, g] + rates[6][q] * out[t, g, z]
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
def household(
    p: Packed, rates: tuple, tangents: tuple, q: int, t: int, h: int, on: np.ndarray, rows: np.ndarray, day: Day,
    table: np.ndarray, dresponse: np.ndarray, dV: np.ndarray, W: np.ndarray, mean: np.ndarray,
) -> None:  # fmt: skip
    """Change of a household's score on a day."""
    rho, sigma, beta, after, D, Z = (
        rates[0][q],
        rates[1][q],
        rates[2][q, :, t],
        rates[7][q],
        rates[0].shape[2],
        W.shape[1],
    )
    drho, dsigma, dbeta, dafter = tangents[0][q], tangents[1][q], tangents[2][q, :, t], tangents[7][q]
    first, last, M = p.household_start[h], p.household_start[h + 1], len(p.section_venue)
    dhome, change = dbeta[HOUSEHOLD] * day.H[h], np.zeros(Z)
    if day.near[h]:
        for j in range(first, last):
            if 0 <= t - 1 - on[j] < D:
                weight = beta[HOUSEHOLD] * p.household_weight[h]
                dhome += weight * drho[p.cell_archetype[p.place[j, CELL]], t - 1 - on[j]]
    for i in range(first, last):
        if on[i] < t and after.shape[1] == 0:
            continue
        c = p.place[i, CELL]
        k, relative, w, since = p.cell_archetype[c], 1.0, -1.0, -1
        if on[i] < t:
            since = min(t - 1 - on[i], after.shape[1] - 1)
            relative = after[k, since]
        X = beta[HOUSEHOLD] * day.H[h] + day.base[p.cell_group[c]]
        for v in range(SECTIONS, p.place.shape[1]):
            X += day.reach[p.place[i, v]]
        infected = on[i] == t
        for e in range(len(rows)):
            infected = infected or rows[e, 0] == i
        if infected:
            w = 1.0 / np.expm1(max(relative * sigma[k] * X, 1e-300))
        s = w * relative
        if since >= D:
            for z in range(Z):
                change[z] += w * dafter[k, since, z] * sigma[k] * X
        for z in range(Z):
            change[z] += s * (table[c, z] + dsigma[k, z] * beta[HOUSEHOLD] * day.H[h] + sigma[k] * dhome[z])
        for v in range(p.place.shape[1] - SECTIONS):
            m, own = p.place[i, SECTIONS + v], 0.0
            if m == M:
                continue
            n, r, b, db = p.section_venue[m], p.section_region[m], beta[VENUES + v], dbeta[VENUES + v]
            if p.has_kin[h]:
                for j in range(first, last):
                    other = p.place[j, SECTIONS + v]
                    if other < M and p.section_venue[other] == n and 0 <= t - 1 - on[j] < D:
                        own += p.venue_weight[n] * rho[p.cell_archetype[p.place[j, CELL]], t - 1 - on[j]]
            for z in range(Z):
                dVm = dV[n, z] - own * (W[h, z] - mean[p.household_region[h], z])
                change[z] += s * dsigma[k, z] * day.reach[m]
                change[z] += s * sigma[k] * dresponse[r, z] * b * day.V[n]
                change[z] += s * sigma[k] * day.response[r] * (db[z] * day.V[n] + b * dVm)
    # the day's pressures were made from yesterday's scores: W changes only when the household is done
    for z in range(Z):
        W[h, z] += change[z]
