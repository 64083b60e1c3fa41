"""The epidemic and its derivatives as compiled CPU kernels: `_reference` line by line, one thread a particle.

A particle is walked by one thread from its first day to its last, so the result does not depend on the number of threads.
Only households and venues that somebody infectious belongs to are touched; the others are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from sim._columns import Columns, Packed
from sim._random import GOLDEN, MIX_1, MIX_2, day_key, stream_key
from sim._reference import NEVER, Epidemic
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES, Rates

_jit: Callable[..., Any] = njit(cache=True, error_model="numpy")
_jit_parallel: Callable[..., Any] = njit(cache=True, parallel=True, error_model="numpy")
_GOLDEN, _MIX_1, _MIX_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)


def run(c: Columns, rates: Rates, seed: int, streams: Tensor) -> Epidemic:
    """As `_reference.run`."""
    p = c.packed
    P, T, N = rates.particles, rates.days, len(p.group)
    keys = np.array([[day_key(stream_key(seed, int(s)), t) for t in range(T)] for s in streams], dtype=np.uint64)
    infected_on = np.full((P, N), NEVER, dtype=np.int16)
    incidence = np.zeros((P, T, len(p.group_size)))
    memory = np.zeros((P, T, len(p.region_size)))
    _run(p, _arrays(rates), keys, infected_on, incidence, memory)
    like = rates.mixing.dtype
    return Epidemic(
        torch.from_numpy(incidence).to(like), torch.from_numpy(infected_on), torch.from_numpy(memory).to(like)
    )


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_reference.vjp`."""
    bar = tuple(np.zeros(tuple(x.shape)) for x in rates.tensors())
    past = (_double(epidemic.incidence), epidemic.infected_on.numpy(), _double(epidemic.memory))
    _vjp(c.packed, _arrays(rates), *past, _double(cotangent), bar)
    return Rates(*(torch.from_numpy(x).to(rates.mixing.dtype) for x in bar))


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_reference.jvp`."""
    past = (_double(epidemic.incidence), epidemic.infected_on.numpy(), _double(epidemic.memory))
    out = np.zeros((*epidemic.incidence.shape, tangents.mixing.shape[-1]))
    _jvp(c.packed, _arrays(rates), _arrays(tangents), *past, out)
    return torch.from_numpy(out).to(tangents.mixing.dtype)


def _double(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().to(torch.float64).numpy())


def _arrays(rates: Rates) -> tuple[np.ndarray, ...]:
    return tuple(_double(x) for x in rates.tensors())


@_jit
def _uniform(key: np.uint64, agent: int) -> float:
    z = key + np.uint64(agent + 1) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@_jit
def _ordered(infected_on: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Infected agents sorted by day, and where each day begins."""
    begin = np.zeros(T + 1, dtype=np.int64)
    for day in infected_on:
        if day < T:
            begin[day + 1] += 1
    begin = np.cumsum(begin)
    cursor, events = begin.copy(), np.empty(begin[T], dtype=np.int32)
    for i in range(len(infected_on)):
        if infected_on[i] < T:
            events[cursor[infected_on[i]]] = i
            cursor[infected_on[i]] += 1
    return events, begin


@_jit
def _spread(
    p: Packed,
    rho: np.ndarray,
    t: int,
    infected_on: np.ndarray,
    active: np.ndarray,
    H: np.ndarray,
    V: np.ndarray,
    touched: np.ndarray,
    highest: np.ndarray,
    F: np.ndarray,
) -> None:
    """Pressures of the infectious of a day.

    `H` households (-1 where nobody is infectious), `V` venue groups and which of them are `touched`, the `highest` venue
    pressure of each layer, `F` community groups.
    """
    F[:] = 0.0
    highest[:] = 0.0
    for i in active:
        x = rho[p.archetype[i], t - 1 - infected_on[i]]
        h = p.household[i]
        H[h] = max(H[h], 0.0) + x * p.household_weight[h]
        for v in range(p.venue.shape[0]):
            m = p.venue[v, i]
            if m >= 0:
                V[m] += x * p.venue_weight[m]
                touched[m] = 1
                highest[v] = max(highest[v], V[m])
        F[p.group[i]] += x
    F /= p.group_size


@_jit
def _clear(p: Packed, active: np.ndarray, H: np.ndarray, V: np.ndarray, touched: np.ndarray) -> None:
    for i in active:
        H[p.household[i]] = -1.0
        for v in range(p.venue.shape[0]):
            if p.venue[v, i] >= 0:
                V[p.venue[v, i]] = 0.0
                touched[p.venue[v, i]] = 0


@_jit
def _everywhere(
    p: Packed,
    mixing: np.ndarray,
    F: np.ndarray,
    aversion: float,
    memory: np.ndarray,
    C: np.ndarray,
    response: np.ndarray,
) -> None:
    """Community pressure `C` by group and the response of each region."""
    for g in range(len(C)):
        s = 0.0
        for k in range(len(F)):
            s += mixing[g, k] * F[k]
        C[g] = s
    for r in range(len(response)):
        response[r] = np.exp(-aversion * memory[r])


@_jit_parallel
def _run(
    p: Packed,
    rates: tuple,
    keys: np.ndarray,
    infected_on: np.ndarray,
    incidence: np.ndarray,
    memory: np.ndarray,
) -> None:
    rho, sigma, beta, mixing, importation, aversion, forgetting = rates
    T, G, R, D, layers = beta.shape[2], len(p.group_size), len(p.region_size), rho.shape[2], p.venue.shape[0]
    for q in prange(rho.shape[0]):
        on, b = infected_on[q], beta[q]
        H, V = np.full(len(p.household_weight), -1.0), np.zeros(len(p.venue_weight))
        F, C, response, base = np.zeros(G), np.zeros(G), np.zeros(R), np.zeros(G)
        touched, highest = np.zeros(len(V), dtype=np.uint8), np.zeros(layers)
        table, most = np.zeros(len(p.cell_group)), sigma[q].max()
        events, begin = np.empty(len(on), dtype=np.int32), np.zeros(T + 1, dtype=np.int64)
        for t in range(T):
            active = events[begin[max(0, t - D)] : begin[t]]
            _spread(p, rho[q], t, on, active, H, V, touched, highest, F)
            _everywhere(p, mixing[q], F, aversion[q], memory[q, t], C, response)
            for g in range(G):
                base[g] = response[p.region_of_group[g]] * b[COMMUNITY, t] * C[g] + importation[q, t, g]
            everywhere = 0.0
            for cell in range(len(table)):
                table[cell] = sigma[q, p.cell_archetype[cell]] * base[p.cell_group[cell]]
                everywhere = max(everywhere, table[cell])
            venues = 0.0
            for v in range(layers):
                venues += b[VENUES + v, t] * highest[v]
            count, key = begin[t], keys[q, t]
            for h in range(len(H)):
                at_home = b[HOUSEHOLD, t] * max(H[h], 0.0)
                there = response[p.household_region[h]]
                # nobody here has a higher hazard: most draws are above it, and their groups need not be looked up
                bound = everywhere + most * (at_home + there * venues)
                for i in range(p.household_start[h], p.household_start[h + 1]):
                    if on[i] != NEVER:
                        continue
                    u = _uniform(key, i)
                    if u >= bound:
                        continue
                    X = at_home
                    for v in range(layers):
                        m = p.venue[v, i]
                        if m >= 0 and touched[m]:
                            X += there * b[VENUES + v, t] * V[m]
                    hazard = table[p.cell[i]] + sigma[q, p.archetype[i]] * X
                    # 1 - exp(-x) <= x: the exponential is needed only under the hazard
                    if u < hazard and u < -np.expm1(-hazard):
                        on[i] = t
                        events[count] = i
                        count += 1
                        incidence[q, t, p.group[i]] += 1.0
            begin[t + 1] = count
            _clear(p, active, H, V, touched)
            if t + 1 < T:
                memory[q, t + 1] = memory[q, t] * (1.0 - forgetting[q])
                for g in range(G):
                    r = p.region_of_group[g]
                    memory[q, t + 1, r] += forgetting[q] * 100.0 * incidence[q, t, g] / p.region_size[r]


@_jit_parallel
def _vjp(
    p: Packed,
    rates: tuple,
    incidence: np.ndarray,
    infected_on: np.ndarray,
    memory: np.ndarray,
    cotangent: np.ndarray,
    bar: tuple,
) -> None:
    rho, sigma, beta, mixing, importation, aversion, forgetting = rates
    rhoG, sigmaG, betaG, mixingG, importationG, aversionG, forgettingG = bar
    T, G, R, D, layers = beta.shape[2], len(p.group_size), len(p.region_size), rho.shape[2], p.venue.shape[0]
    for q in prange(rho.shape[0]):
        on, b, bG = infected_on[q], beta[q], betaG[q]
        H, V = np.full(len(p.household_weight), -1.0), np.zeros(len(p.venue_weight))
        HG, VG = np.zeros(len(H)), np.zeros(len(V))
        F, C, response, base, outside = np.zeros(G), np.zeros(G), np.zeros(R), np.zeros(G), np.zeros(G)
        xG, XG_group, FG, responseG = np.zeros(G), np.zeros(G), np.zeros(G), np.zeros(R)
        WG, centre, AG, XG = np.zeros(len(H)), np.zeros(R), np.zeros(R), np.zeros(len(on))
        cellG, bvG = np.zeros(len(p.cell_group)), np.zeros(layers)
        touched, highest = np.zeros(len(V), dtype=np.uint8), np.zeros(layers)
        events, begin = _ordered(on, T)
        for t in range(T - 1, -1, -1):
            A = memory[q, t]
            active = events[begin[max(0, t - D)] : begin[t]]
            _spread(p, rho[q], t, on, active, H, V, touched, highest, F)
            _everywhere(p, mixing[q], F, aversion[q], A, C, response)
            for g in range(G):
                r = p.region_of_group[g]
                outside[g] = b[COMMUNITY, t] * C[g]
                base[g] = response[r] * outside[g] + importation[q, t, g]
                # memory of the next day, then the read-out of this one
                forgettingG[q] += AG[r] * 100.0 * incidence[q, t, g] / p.region_size[r]
                xG[g] = cotangent[q, t, g] + forgetting[q] * AG[r] * 100.0 / p.region_size[r]
                centre[r] -= xG[g] * incidence[q, t, g] / p.households_in_region[r]
                XG_group[g] = 0.0
            for r in range(R):
                forgettingG[q] -= AG[r] * A[r]
                AG[r] *= 1.0 - forgetting[q]
                responseG[r] = 0.0
            for i in events[begin[t] : begin[t + 1]]:
                WG[p.household[i]] += xG[p.group[i]]

            cellG[:] = 0.0
            bvG[:] = 0.0
            for h in range(len(H)):
                first, last, r = p.household_start[h], p.household_start[h + 1], p.household_region[h]
                score, here, kin = WG[h] + centre[r], response[r], p.has_kin[h]
                at_home = b[HOUSEHOLD, t] * max(H[h], 0.0)
                home, Q_home = 0.0, 0.0
                for i in range(first, last):
                    if on[i] < t:
                        if kin:
                            XG[i] = 0.0
                        continue
                    cell, k = p.cell[i], p.archetype[i]
                    Q = 0.0  # venues; the community's part is added cell by cell below
                    for v in range(layers):
                        m = p.venue[v, i]
                        if m >= 0 and touched[m]:
                            Q += b[VENUES + v, t] * V[m]
                    X = at_home + here * Q
                    a = -score
                    if on[i] == t:
                        a = score / np.expm1(max(sigma[q, k] * (X + base[p.cell_group[cell]]), 1e-300))
                    cellG[cell] += a
                    sigmaG[q, k] += a * X
                    x = a * sigma[q, k]
                    home += x
                    Q_home += x * Q
                    if kin:
                        XG[i] = x
                    for v in range(layers):
                        m = p.venue[v, i]
                        if m >= 0 and touched[m]:
                            bvG[v] += x * here * V[m]
                            VG[m] += x * here * b[VENUES + v, t] * p.venue_weight[m]
                responseG[r] += Q_home
                if H[h] >= 0.0:
                    HG[h] = home
                    bG[HOUSEHOLD, t] += home * H[h]
            for v in range(layers):
                bG[VENUES + v, t] = bvG[v]
            for cell in range(len(cellG)):
                g, k = p.cell_group[cell], p.cell_archetype[cell]
                sigmaG[q, k] += cellG[cell] * base[g]
                XG_group[g] += cellG[cell] * sigma[q, k]
                responseG[p.region_of_group[g]] += cellG[cell] * sigma[q, k] * outside[g]

            FG[:] = 0.0
            for r in range(R):
                aversionG[q] -= responseG[r] * response[r] * A[r]
                AG[r] -= responseG[r] * response[r] * aversion[q]
            for g in range(G):
                importationG[q, t, g] = XG_group[g]
                CG = XG_group[g] * response[p.region_of_group[g]]
                bG[COMMUNITY, t] += CG * C[g]
                CG *= b[COMMUNITY, t]
                for k in range(G):
                    mixingG[q, g, k] += CG * F[k]
                    FG[k] += mixing[q, g, k] * CG
            FG /= p.group_size

            # to the infectious: rho enters every pressure directly, the score only the larger groups
            for j in active:
                h, k, since = p.household[j], p.archetype[j], t - 1 - on[j]
                r = p.household_region[h]
                send, kin = FG[p.group[j]], 0.0
                for v in range(layers):
                    m = p.venue[v, j]
                    if m >= 0:
                        send += VG[m]
                        if p.has_kin[h]:
                            for i in range(p.household_start[h], p.household_start[h + 1]):
                                if p.venue[v, i] == m:
                                    kin += XG[i] * response[r] * b[VENUES + v, t] * p.venue_weight[m]
                rhoG[q, k, since] += send + b[HOUSEHOLD, t] * p.household_weight[h] * HG[h]
                carried = rho[q, k, since] * (send - kin)
                WG[h] += carried
                centre[r] -= carried / p.households_in_region[r]
            for j in active:
                for v in range(layers):
                    if p.venue[v, j] >= 0:
                        VG[p.venue[v, j]] = 0.0
            _clear(p, active, H, V, touched)


@_jit_parallel
def _jvp(
    p: Packed,
    rates: tuple,
    tangents: tuple,
    incidence: np.ndarray,
    infected_on: np.ndarray,
    memory: np.ndarray,
    out: np.ndarray,
) -> None:
    rho, sigma, beta, mixing, importation, aversion, forgetting = rates
    drho, dsigma, dbeta, dmixing, dimportation, daversion, dforgetting = tangents
    T, G, R, D, layers = beta.shape[2], len(p.group_size), len(p.region_size), rho.shape[2], p.venue.shape[0]
    Z = out.shape[3]
    for q in prange(rho.shape[0]):
        on, b, db = infected_on[q], beta[q], dbeta[q]
        H, V = np.full(len(p.household_weight), -1.0), np.zeros(len(p.venue_weight))
        F, C, response = np.zeros(G), np.zeros(G), np.zeros(R)
        W, mean, dA, dresponse = np.zeros((len(H), Z)), np.zeros((R, Z)), np.zeros((R, Z)), np.zeros((R, Z))
        dV, dF, dC = np.zeros((len(V), Z)), np.zeros((G, Z)), np.zeros(Z)
        table, dbase, dhome, change = (
            np.zeros((len(p.cell_group), Z)),
            np.zeros((G, Z)),
            np.zeros(Z),
            np.zeros(Z),
        )
        touched, highest = np.zeros(len(V), dtype=np.uint8), np.zeros(layers)
        events, begin = _ordered(on, T)
        for t in range(T):
            A = memory[q, t]
            active = events[begin[max(0, t - D)] : begin[t]]
            _spread(p, rho[q], t, on, active, H, V, touched, highest, F)
            _everywhere(p, mixing[q], F, aversion[q], A, C, response)
            dF[:] = 0.0
            for j in active:
                k, since, h = p.archetype[j], t - 1 - on[j], p.household[j]
                r = p.household_region[h]
                for z in range(Z):
                    change[z] = drho[q, k, since, z] + rho[q, k, since] * (W[h, z] - mean[r, z])
                for v in range(layers):
                    m = p.venue[v, j]
                    if m >= 0:
                        for z in range(Z):
                            dV[m, z] += p.venue_weight[m] * change[z]
                for z in range(Z):
                    dF[p.group[j], z] += change[z]
            for r in range(R):
                for z in range(Z):
                    dresponse[r, z] = -response[r] * (daversion[q, z] * A[r] + aversion[q] * dA[r, z])
            for g in range(G):
                for z in range(Z):
                    dF[g, z] /= p.group_size[g]
            for g in range(G):
                r = p.region_of_group[g]
                dC[:] = 0.0
                for k in range(G):
                    for z in range(Z):
                        dC[z] += dmixing[q, g, k, z] * F[k] + mixing[q, g, k] * dF[k, z]
                for z in range(Z):
                    dQ = db[COMMUNITY, t, z] * C[g] + b[COMMUNITY, t] * dC[z]
                    dbase[g, z] = dresponse[r, z] * b[COMMUNITY, t] * C[g] + response[r] * dQ + dimportation[q, t, g, z]
            for cell in range(len(p.cell_group)):
                g, k = p.cell_group[cell], p.cell_archetype[cell]
                base = response[p.region_of_group[g]] * b[COMMUNITY, t] * C[g] + importation[q, t, g]
                for z in range(Z):
                    table[cell, z] = dsigma[q, k, z] * base + sigma[q, k] * dbase[g, z]

            for h in range(len(H)):
                first, last, r = p.household_start[h], p.household_start[h + 1], p.household_region[h]
                if H[h] >= 0.0:
                    for z in range(Z):
                        dhome[z] = db[HOUSEHOLD, t, z] * H[h]
                    for j in range(first, last):
                        since = t - 1 - on[j]
                        if since >= 0 and since < D:
                            for z in range(Z):
                                dhome[z] += b[HOUSEHOLD, t] * p.household_weight[h] * drho[q, p.archetype[j], since, z]
                change[:] = 0.0
                for i in range(first, last):
                    if on[i] < t:
                        continue
                    k, g, cell = p.archetype[i], p.group[i], p.cell[i]
                    X = b[HOUSEHOLD, t] * max(H[h], 0.0) + response[r] * b[COMMUNITY, t] * C[g] + importation[q, t, g]
                    for v in range(layers):
                        m = p.venue[v, i]
                        if m >= 0 and touched[m]:
                            X += response[r] * b[VENUES + v, t] * V[m]
                    w = 1.0 / np.expm1(max(sigma[q, k] * X, 1e-300)) if on[i] == t else -1.0
                    for z in range(Z):
                        change[z] += w * table[cell, z]
                    if H[h] >= 0.0:
                        for z in range(Z):
                            change[z] += w * (dsigma[q, k, z] * b[HOUSEHOLD, t] * H[h] + sigma[q, k] * dhome[z])
                    for v in range(layers):
                        m = p.venue[v, i]
                        if m < 0 or not touched[m]:
                            continue
                        own = 0.0
                        if p.has_kin[h]:
                            for j in range(first, last):
                                since = t - 1 - on[j]
                                if p.venue[v, j] == m and since >= 0 and since < D:
                                    own += p.venue_weight[m] * rho[q, p.archetype[j], since]
                        bv, s = b[VENUES + v, t], w * sigma[q, k]
                        for z in range(Z):
                            dVm = dV[m, z] - own * (W[h, z] - mean[r, z])
                            change[z] += w * dsigma[q, k, z] * response[r] * bv * V[m]
                            change[z] += s * dresponse[r, z] * bv * V[m]
                            change[z] += s * response[r] * (db[VENUES + v, t, z] * V[m] + bv * dVm)
                # the day's pressures were made from yesterday's scores: W changes only when the household is done
                for z in range(Z):
                    W[h, z] += change[z]

            mean[:] = 0.0
            for h in range(len(H)):
                r = p.household_region[h]
                for z in range(Z):
                    mean[r, z] += W[h, z] / p.households_in_region[r]
            for i in events[begin[t] : begin[t + 1]]:
                h, g = p.household[i], p.group[i]
                for z in range(Z):
                    out[q, t, g, z] += W[h, z] - mean[p.household_region[h], z]
            for r in range(R):
                for z in range(Z):
                    dA[r, z] -= dforgetting[q, z] * A[r] + forgetting[q] * dA[r, z]
            for g in range(G):
                r = p.region_of_group[g]
                for z in range(Z):
                    dA[r, z] += (
                        100.0
                        / p.region_size[r]
                        * (dforgetting[q, z] * incidence[q, t, g] + forgetting[q] * out[q, t, g, z])
                    )
            for j in active:
                for v in range(layers):
                    if p.venue[v, j] >= 0:
                        dV[p.venue[v, j], :] = 0.0
            _clear(p, active, H, V, touched)
