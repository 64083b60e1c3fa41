"""What the kernels of all removals read: the people by group, and the infections of one particle's run by agent, venue, group and day."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from sim._columns import Columns
from sim._compiled_day import STEP, jit, lean, mixed
from sim.rates import COMMUNITY, PERIOD


class People(NamedTuple):
    """Static columns. Venue groups of all layers are numbered through; `venue` `[N, V]` holds -1 where an agent has none."""

    household: np.ndarray
    household_start: np.ndarray
    household_weight: np.ndarray
    group: np.ndarray
    archetype: np.ndarray
    venue: np.ndarray
    venue_start: np.ndarray
    venue_member: np.ndarray
    venue_weight: np.ndarray
    group_start: np.ndarray
    group_member: np.ndarray
    group_size: np.ndarray
    region_of_group: np.ndarray
    region_size: np.ndarray


class Past(NamedTuple):
    """One particle: its rates, and its run.

    Axes: `M` spells (infections) in order of agent and day, `S` venue groups, others as in `sim.Rates`.

    Attributes:
        key: `[1]` of its random numbers.
        first: `[N + 1]` first spell of each agent. venue_first, venue_spell: spells of each venue group by day.
        cohort, cohort_spell: `[G * T + 1]` and spells by group and day. infectious: `[T, G]` sum of infectiousness in a group.
        pressure: `[T, G]` what reaches a group from all. reach: `[G, G + 1]` running sum over the groups whom an infectious agent
            of a group meets. response: `[T, R]`. best: `[2 + V]` highest rate of each channel. own: `[K]` highest susceptibility.
        top: the highest of all. steady: whether no rate of a channel changes in time.
    """

    key: np.ndarray
    rho: np.ndarray
    susceptible: np.ndarray
    transmission: np.ndarray
    mixing: np.ndarray
    importation: np.ndarray
    aversion: float
    forgetting: float
    reinfection: np.ndarray
    memory: np.ndarray
    response: np.ndarray
    agent: np.ndarray
    day: np.ndarray
    first: np.ndarray
    venue_first: np.ndarray
    venue_spell: np.ndarray
    cohort: np.ndarray
    cohort_spell: np.ndarray
    infectious: np.ndarray
    pressure: np.ndarray
    reach: np.ndarray
    best: np.ndarray
    own: np.ndarray
    top: float
    steady: bool


_CACHE: WeakKeyDictionary[Columns, People] = WeakKeyDictionary()


def people(c: Columns) -> People:
    """The columns of a population, made once."""
    if c not in _CACHE:
        _CACHE[c] = _people(c)
    return _CACHE[c]


def _people(c: Columns) -> People:
    p = c.packed
    group, venues = p.cell_group[p.place[:, 1]], len(p.venue_weight)
    venue = np.append(p.section_venue, np.int32(-1))[p.place[:, 2:]]
    layers = [venue[:, v] for v in range(venue.shape[1])]
    members = [np.flatnonzero(x >= 0) for x in layers]
    of = np.concatenate([x[m] for x, m in zip(layers, members, strict=True)] or [np.zeros(0, dtype=np.int32)])
    member = np.concatenate([*members, np.zeros(0, dtype=np.int64)])[np.argsort(of, kind="stable")]
    return People(
        np.ascontiguousarray(p.place[:, 0]),
        p.household_start,
        p.household_weight,
        np.ascontiguousarray(group),
        np.ascontiguousarray(p.cell_archetype[p.place[:, 1]]),
        np.ascontiguousarray(venue, dtype=np.int32),
        np.concatenate([[0], np.cumsum(np.bincount(of, minlength=venues))]).astype(np.int64),
        member.astype(np.int32),
        p.venue_weight,
        np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(p.group_size)))]).astype(np.int64),
        np.argsort(group, kind="stable").astype(np.int32),
        p.group_size,
        p.region_of_group,
        p.region_size,
    )


@jit
def past(
    c: People, rates: tuple, q: int, key: np.ndarray, memory: np.ndarray, agent: np.ndarray, day: np.ndarray
) -> Past:
    """A particle's run, from the memory `[T, R]` and its spells in order of agent and day; `rates` as in `_compiled._arrays`."""
    rho, susceptible, beta, mixing, importation, aversion, forgetting, reinfection = rates
    N, G, D, T, M, S = len(c.group), len(c.group_size), rho.shape[2], beta.shape[2], len(agent), len(c.venue_weight)
    first = np.zeros(N + 1, dtype=np.int32)
    for s in range(M):
        first[agent[s] + 1] += 1
    for i in range(N):
        first[i + 1] += first[i]
    by_day, begin = np.empty(M, dtype=np.int32), np.zeros(T + 1, dtype=np.int64)
    for s in range(M):
        begin[day[s] + 1] += 1
    for t in range(T):
        begin[t + 1] += begin[t]
    for s in range(M):
        by_day[begin[day[s]]] = s
        begin[day[s]] += 1
    venue_first, cohort = np.zeros(S + 1, dtype=np.int64), np.zeros(G * T + 1, dtype=np.int64)
    for s in range(M):
        cohort[c.group[agent[s]] * T + day[s] + 1] += 1
        for v in c.venue[agent[s]]:
            if v >= 0:
                venue_first[v + 1] += 1
    for v in range(S):
        venue_first[v + 1] += venue_first[v]
    for n in range(G * T):
        cohort[n + 1] += cohort[n]
    venue_spell, cohort_spell = np.empty(venue_first[S], dtype=np.int32), np.empty(M, dtype=np.int32)
    at_venue, at_cohort, infectious = venue_first.copy(), cohort.copy(), np.zeros((T, G))
    for e in range(M):
        s = by_day[e]
        i = agent[s]
        n = c.group[i] * T + day[s]
        cohort_spell[at_cohort[n]] = s
        at_cohort[n] += 1
        for v in c.venue[i]:
            if v >= 0:
                venue_spell[at_venue[v]] = s
                at_venue[v] += 1
        for a in range(min(D, T - 1 - day[s])):
            infectious[day[s] + 1 + a, c.group[i]] += rho[q, c.archetype[i], a]
    pressure, reach = np.zeros((T, G)), np.zeros((G, G + 1))
    for t in range(T):
        for g in range(G):
            for h in range(G):
                pressure[t, g] += mixing[q, g, h] * infectious[t, h] / c.group_size[h]
    for h in range(G):
        for g in range(G):
            number = c.group_start[g + 1] - c.group_start[g]
            reach[h, g + 1] = reach[h, g] + mixing[q, g, h] / c.group_size[h] * number
    best, own, steady = np.zeros(beta.shape[1]), np.zeros(rho.shape[1]), True
    for k in range(len(best)):
        best[k] = beta[q, k].max()
        steady = steady and best[k] == beta[q, k].min()
    for k in range(len(own)):
        own[k] = susceptible[q, :, k].max()
    return Past(
        key, rho[q], susceptible[q], beta[q], mixing[q], importation[q], aversion[q], forgetting[q], reinfection[q], memory,
        np.exp(-aversion[q] * memory), agent, day, first, venue_first, venue_spell, cohort, cohort_spell, infectious, pressure,
        reach, best, own, own.max(), steady,
    )  # fmt: skip


@lean
def level(c: People, w: Past, channel: int, t: int, i: int, response: float) -> float:
    """Hazard per unit of contact of an agent never infected; from outside (channel -1), its hazard."""
    own = w.susceptible[min(t // PERIOD, len(w.susceptible) - 1), c.archetype[i]]
    if channel < 0:
        return own * w.importation[t, c.group[i]]
    return w.transmission[channel, t] * own * (response if channel >= COMMUNITY else 1.0)


@lean
def after(c: People, w: Past, t: int, i: int, last: int) -> float:
    """Susceptibility on a day after an infection on day `last`, relative to one never infected (`last` < 0)."""
    E = w.reinfection.shape[1]
    if last < 0:
        return 1.0
    return w.reinfection[c.archetype[i], min(t - 1 - last, E - 1)] if E else 0.0


@lean
def last_before(w: Past, i: int, t: int) -> int:
    """Day of an agent's last infection before a day in the run, or -1."""
    last = -1
    for s in range(w.first[i], w.first[i + 1]):
        if w.day[s] >= t:
            break
        last = w.day[s]
    return last


@lean
def unused(c: People, w: Past, channel: int, t: int, i: int) -> float:
    """Height from which on an attempt would not have infected an agent on a day of the run."""
    relative = after(c, w, t, i, last_before(w, i, t))
    if relative == 0.0:
        return 0.0
    return relative * level(c, w, channel, t, i, w.response[t, c.region_of_group[c.group[i]]])


@lean
def clock(w: Past, purpose: int, agent: int, spell: int, day: int, removed: int) -> np.uint64:
    """Key of the random numbers of one (purpose, agent, spell, day, alternative); as `_removals_reference.Clock`."""
    state = mixed((w.key[0] ^ mixed(np.uint64(purpose))) + np.uint64(agent + 1) * STEP)
    state = mixed(state + np.uint64((spell << 16) + day + 1) * STEP)
    return mixed(state + np.uint64(removed) * STEP)


@lean
def unit(key: np.uint64, count: int) -> float:
    """The uniform number `count` (from 1) of a clock."""
    return float(mixed(key + np.uint64(count) * STEP) >> np.uint64(11)) * 2.0**-53


@lean
def exponential(key: np.uint64, count: int) -> float:
    """As `unit`, exponential with mean one."""
    return -np.log1p(-unit(key, count))
