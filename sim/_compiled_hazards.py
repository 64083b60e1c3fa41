"""Hazards of the infections of a run on their day, and how they change with the rates, the past held fixed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim._compiled_attempts import from_day
from sim._compiled_day import jit, lean
from sim._compiled_people import Past, People, after, last_before
from sim.rates import COMMUNITY, HOUSEHOLD, PERIOD, VENUES


class Parts(NamedTuple):
    """What the hazard of an infection is made of: `relative * own * (b_H household + response * outside + importation)`."""

    period: int
    last: int
    relative: float
    own: float
    household: float
    outside: float
    response: float
    hazard: float


@lean
def infectious_from(w: Past, c: People, s: int, k: int) -> float:
    """Infectiousness of spell k on the day of spell s."""
    age = w.day[s] - 1 - w.day[k]
    return w.rho[c.archetype[w.agent[k]], age] if 0 <= age < w.rho.shape[1] else 0.0


@lean
def household_spells(c: People, w: Past, i: int) -> tuple[int, int]:
    """First spell of an agent's household and the first after it."""
    h = c.household[i]
    return w.first[c.household_start[h]], w.first[c.household_start[h + 1]]


@lean
def venue_pressure(c: People, w: Past, s: int, v: int) -> float:
    """Pressure in a venue group on the day of spell s."""
    total = 0.0
    for e in range(from_day(w, v, w.day[s] - w.rho.shape[1]), w.venue_first[v + 1]):
        if w.day[w.venue_spell[e]] >= w.day[s]:
            break
        total += infectious_from(w, c, s, w.venue_spell[e])
    return total * c.venue_weight[v]


@lean
def parts(c: People, w: Past, s: int, venues: np.ndarray) -> Parts:
    """Parts of the hazard of spell s; into `venues` `[V]` the pressures of its venue groups."""
    i, t = w.agent[s], w.day[s]
    g, last = c.group[i], last_before(w, i, t)
    response = w.response[t, c.region_of_group[g]]
    period = min(t // PERIOD, len(w.susceptible) - 1)
    household, (first, stop) = 0.0, household_spells(c, w, i)
    for k in range(first, stop):
        household += infectious_from(w, c, s, k)
    household *= c.household_weight[c.household[i]]
    outside = w.transmission[COMMUNITY, t] * w.pressure[t, g]
    for layer in range(len(venues)):
        v = c.venue[i, layer]
        venues[layer] = venue_pressure(c, w, s, v) if v >= 0 else 0.0
        outside += w.transmission[VENUES + layer, t] * venues[layer]
    relative, own = after(c, w, t, i, last), w.susceptible[period, c.archetype[i]]
    X = w.transmission[HOUSEHOLD, t] * household + response * outside + w.importation[t, g]
    return Parts(period, last, relative, own, household, outside, response, relative * own * X)


@jit
def memory_by_forgetting(w: Past, c: People, incidence: np.ndarray) -> np.ndarray:
    """Derivative of the memory `[T, R]` by forgetting, the incidence `[T, G]` held fixed."""
    out, share = np.zeros_like(w.memory), np.zeros(w.memory.shape[1])
    for t in range(len(w.memory) - 1):
        share[:] = 0.0
        for g in range(incidence.shape[1]):
            r = c.region_of_group[g]
            share[r] += 100.0 * incidence[t, g] / c.region_size[r]
        out[t + 1] = (1.0 - w.forgetting) * out[t] + share - w.memory[t]
    return out


@jit
def pull(c: People, w: Past, change: np.ndarray, drift: np.ndarray, bar: tuple, q: int) -> None:
    """Add to the adjoints of particle q what `change[s] / expm1(hazard)` of each spell says about its hazard.

    `drift`: `memory_by_forgetting`; `bar`: as the rates in `_compiled._arrays`.
    """
    rhoG, ownG, betaG, mixingG, importationG, aversionG, forgettingG, reinfectionG = bar
    T, G, D, V = len(w.importation), len(c.group_size), w.rho.shape[1], c.venue.shape[1]
    XG, venues = np.zeros((T, G)), np.zeros(V)
    for s in range(len(w.agent)):
        if change[s] == 0.0:
            continue
        i, t, x = w.agent[s], w.day[s], parts(c, w, s, venues)
        g, k, h = c.group[i], c.archetype[i], c.household[i]
        hazardG = change[s] / np.expm1(x.hazard)
        if hazardG == 0.0:
            continue
        pressure = w.transmission[HOUSEHOLD, t] * x.household + x.response * x.outside + w.importation[t, g]
        ownG[q, x.period, k] += hazardG * x.relative * pressure
        if x.last >= 0:
            reinfectionG[q, k, min(t - 1 - x.last, w.reinfection.shape[1] - 1)] += hazardG * x.own * pressure
        each = hazardG * x.relative * x.own
        XG[t, g] += each
        A, r = each * x.response * x.outside, c.region_of_group[g]
        aversionG[q] -= A * w.memory[t, r]
        forgettingG[q] -= A * w.aversion * drift[t, r]
        betaG[q, HOUSEHOLD, t] += each * x.household
        unit, (first, stop) = each * w.transmission[HOUSEHOLD, t] * c.household_weight[h], household_spells(c, w, i)
        for n in range(first, stop):
            age = t - 1 - w.day[n]
            if 0 <= age < D:
                rhoG[q, c.archetype[w.agent[n]], age] += unit
        for layer in range(V):
            v = c.venue[i, layer]
            if v >= 0:
                betaG[q, VENUES + layer, t] += each * x.response * venues[layer]
                unit = each * x.response * w.transmission[VENUES + layer, t] * c.venue_weight[v]
                for e in range(from_day(w, v, t - D), w.venue_first[v + 1]):
                    n = w.venue_spell[e]
                    if w.day[n] >= t:
                        break
                    rhoG[q, c.archetype[w.agent[n]], t - 1 - w.day[n]] += unit
    FG = np.zeros((T, G))
    for t in range(T):
        for g in range(G):
            importationG[q, t, g] += XG[t, g]
            CG = XG[t, g] * w.response[t, c.region_of_group[g]]
            if CG != 0.0:
                betaG[q, COMMUNITY, t] += CG * w.pressure[t, g]
                CG *= w.transmission[COMMUNITY, t]
                for h in range(G):
                    mixingG[q, g, h] += CG * w.infectious[t, h] / c.group_size[h]
                    FG[t, h] += CG * w.mixing[g, h] / c.group_size[h]
    for n in range(len(w.agent)):
        for age in range(min(D, T - 1 - w.day[n])):
            rhoG[q, c.archetype[w.agent[n]], age] += FG[w.day[n] + 1 + age, c.group[w.agent[n]]]


@jit
def infectious_tangent(c: People, w: Past, drho: np.ndarray) -> np.ndarray:
    """Tangents `[T, G, Q]` of the mean infectiousness of the groups."""
    T, G, D = len(w.importation), len(c.group_size), w.rho.shape[1]
    out = np.zeros((T, G, drho.shape[2]))
    for n in range(len(w.agent)):
        i = w.agent[n]
        for age in range(min(D, T - 1 - w.day[n])):
            out[w.day[n] + 1 + age, c.group[i]] += drho[c.archetype[i], age] / c.group_size[c.group[i]]
    return out


@jit
def push(
    c: People, w: Past, drift: np.ndarray, pressure: np.ndarray, along: tuple, q: int, first: int, stop: int
) -> np.ndarray:
    """Of the spells `first..stop`: tangents of the hazard over expm1 of it, `[stop - first, Q]`.

    `pressure`: `[T, G, Q]` tangents of what reaches a group from all; `along`: directions, as in `_compiled._directions`.
    """
    drho, down, dbeta, _, dimportation, daversion, dforgetting, dreinfection = along
    D, V, Q = w.rho.shape[1], c.venue.shape[1], dbeta.shape[3]
    out, venues, inside, dX, dQ = np.zeros((stop - first, Q)), np.zeros(V), np.zeros(Q), np.zeros(Q), np.zeros(Q)
    for s in range(first, stop):
        i, t, x = w.agent[s], w.day[s], parts(c, w, s, venues)
        scale = np.expm1(x.hazard)
        if scale == np.inf:
            continue
        g, k = c.group[i], c.archetype[i]
        r = c.region_of_group[g]
        X = w.transmission[HOUSEHOLD, t] * x.household + x.response * x.outside + w.importation[t, g]
        dQ[:] = dbeta[q, COMMUNITY, t] * w.pressure[t, g] + w.transmission[COMMUNITY, t] * pressure[t, g]
        for layer in range(V):
            v = c.venue[i, layer]
            if v >= 0 and venues[layer] >= 0.0:
                inside[:] = 0.0
                for e in range(from_day(w, v, t - D), w.venue_first[v + 1]):
                    n = w.venue_spell[e]
                    if w.day[n] >= t:
                        break
                    inside += drho[q, c.archetype[w.agent[n]], t - 1 - w.day[n]]
                dQ += dbeta[q, VENUES + layer, t] * venues[layer]
                dQ += w.transmission[VENUES + layer, t] * c.venue_weight[v] * inside
        inside[:] = 0.0
        begin, end = household_spells(c, w, i)
        for n in range(begin, end):
            age = t - 1 - w.day[n]
            if 0 <= age < D:
                inside += drho[q, c.archetype[w.agent[n]], age]
        dX[:] = dbeta[q, HOUSEHOLD, t] * x.household + dimportation[q, t, g] + x.response * dQ
        dX += w.transmission[HOUSEHOLD, t] * c.household_weight[c.household[i]] * inside
        dX -= x.response * x.outside * (daversion[q] * w.memory[t, r] + w.aversion * drift[t, r] * dforgetting[q])
        out[s - first] = x.relative * (down[q, x.period, k] * X + x.own * dX)
        if x.last >= 0:
            out[s - first] += dreinfection[q, k, min(t - 1 - x.last, w.reinfection.shape[1] - 1)] * x.own * X
        out[s - first] /= scale
    return out


@jit
def add(begin: np.ndarray, cell: np.ndarray, sign: np.ndarray, score: np.ndarray, out: np.ndarray) -> None:
    """Into `out` `[T * G, Q]`: the entries of each spell times its scores `[spell, Q]`."""
    for x in range(len(score)):
        for n in range(begin[x], begin[x + 1]):
            for d in range(score.shape[1]):
                out[cell[n], d] += sign[n] * score[x, d]
