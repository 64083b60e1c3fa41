"""The epidemic forward in time, lazily: on most days most people meet nobody infectious close by.

A day marks who may be infected and looks at them alone: the members of households and venue groups whose pressure is high, one
by one; of all others those whose draw lies below what the day's hazard can be at most, found by one vectorised pass over the
random numbers that reads no column of the population. `1 - exp(-x) <= x` makes the hazard itself the bound.
"""

from __future__ import annotations

import numpy as np

from sim._columns import Packed
from sim._compiled_day import (
    BLOCK,
    CELL,
    HOME,
    SECTIONS,
    STEP,
    Day,
    add_pressures,
    apply_pressures,
    factor,
    inner,
    jit,
    mixed,
    new_day,
    period,
    uniform,
)
from sim._reference import NEVER
from sim.rates import HOUSEHOLD

LOUD = 2.0**-6
"""A venue group that adds more than this to a hazard has its members looked at one by one, like every infectious household."""


@jit
def run(
    p: Packed, rates: tuple, q: int, keys: np.ndarray, on: np.ndarray, incidence: np.ndarray, memory: np.ndarray
) -> np.ndarray:
    """Walk a particle from its first day to its last by one thread.

    Returns:
        `[L, 3]` reinfections: agent, day, and the day of the infection before it.
    """
    alone = np.int64(0)  # a literal would be compiled for itself
    N, day = len(p.place), new_day(p, rates, q, alone + 1)
    marks, caught = np.zeros((N + 7) // 8, dtype=np.uint64), np.zeros((1, len(p.group_size)))
    reinfections, number = np.empty((0, 3), dtype=np.int32), np.zeros(1, dtype=np.int64)
    for t in range(len(incidence)):
        reinfections = room(rates, reinfections, number, N)
        add_pressures(p, rates, q, t, on, day, alone)
        apply_pressures(p, rates, q, t, memory[t], day)
        table, loud, limit = bounds(p, rates, q, t, day, incidence)
        infect(p, rates, q, t, keys[t], day, table, loud, limit, marks, on, reinfections, number, caught[0], alone)
        remember(p, rates, q, t, caught, incidence, memory)
    return reinfections[: number[0]]


@jit
def room(rates: tuple, reinfections: np.ndarray, number: np.ndarray, agents: int) -> np.ndarray:
    """Room for a day's reinfections, should all agents be infected again."""
    if rates[7].shape[2] == 0 or number[0] + agents <= len(reinfections):
        return reinfections
    longer = np.empty((2 * len(reinfections) + agents, 3), dtype=np.int32)  # what is never written takes no memory
    longer[: len(reinfections)] = reinfections
    return longer


@jit
def bounds(
    p: Packed, rates: tuple, q: int, t: int, day: Day, incidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.uint64]:
    """Hazard from outside by cell, the loud sections, and the draw above which nobody outside loud places is infected."""
    sigma = rates[1][q, period(rates, t)]
    table, everywhere = np.empty(len(p.cell_group)), 0.0
    for c in range(len(table)):
        table[c] = sigma[p.cell_archetype[c]] * day.base[p.cell_group[c]]
        everywhere = max(everywhere, table[c])
    most = sigma.max()
    infectious = incidence[max(0, t - rates[0].shape[2]) : t].sum()
    quiet = np.zeros(p.place.shape[1] - SECTIONS)  # highest hazard that a quiet section adds, by layer
    loud, count, threshold = (
        np.empty(len(p.section_venue), dtype=np.int32),
        0,
        min(LOUD, 2.0 * infectious / len(p.place)),
    )
    for m in range(len(p.section_venue)):
        x, v = most * day.reach[m], p.section_layer[m]
        if x > threshold:
            loud[count] = m
            count += 1
        elif x > quiet[v]:
            quiet[v] = x
    after = rates[7][q]
    bound = (everywhere + quiet.sum()) * (max(1.0, after.max()) if after.size else 1.0) * (1.0 + 1e-9)
    return table, loud[:count], np.uint64(min(bound, 0.99) * 2.0**64) if bound < 0.99 else ~np.uint64(0)


@jit
def infect(
    p: Packed, rates: tuple, q: int, t: int, key: np.uint64, day: Day, table: np.ndarray, loud: np.ndarray,
    limit: np.uint64, marks: np.ndarray, on: np.ndarray, reinfections: np.ndarray, number: np.ndarray, caught: np.ndarray, a: int,
) -> None:  # fmt: skip
    """Draw a part's infections of the day; `caught` `[G]` counts them, reinfections are appended to `reinfections`."""
    sigma, home, after = rates[1][q, period(rates, t)], rates[2][q, HOUSEHOLD, t], rates[7][q]
    layers = p.place.shape[1] - SECTIONS
    first, last = p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    mark(p, day, loud, key, limit, marks.view(np.uint8), a)
    caught[:] = 0.0
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(first, last, BLOCK):
        for c in range(choose(marks, on, block, first, last, after.shape[1] > 0, chosen)):
            i = chosen[c]
            cell = p.place[i, CELL]
            k = p.cell_archetype[cell]
            X = home * day.H[p.place[i, HOME]]
            for v in range(layers):
                X += day.reach[p.place[i, SECTIONS + v]]
            hazard, u = table[cell] + sigma[k] * X, uniform(key, i)
            if on[i] != NEVER:
                hazard *= factor(after[k], t - 1 - on[i])
            # the exponential is needed only under the hazard
            if u < hazard and u < -np.expm1(-hazard):
                if on[i] != NEVER:
                    reinfections[number[0], 0], reinfections[number[0], 1], reinfections[number[0], 2] = i, t, on[i]
                    number[0] += 1
                on[i] = t
                caught[p.cell_group[cell]] += 1.0


@inner
def mark(p: Packed, day: Day, loud: np.ndarray, key: np.uint64, limit: np.uint64, marks: np.ndarray, a: int) -> None:
    """Mark the agents of a part who may be infected: a low draw, an infectious household, a loud section."""
    first, last = p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    start = key + np.uint64(first + 1) * STEP
    for j in range(last - first):
        marks[j] = mixed(start + np.uint64(j) * STEP) <= limit
    for h in range(day.part[a], day.part[a + 1]):
        if day.near[h]:
            for i in range(p.household_start[h], p.household_start[h + 1]):
                marks[i - first] = 1
    for m in loud:
        for e in range(p.member_start[m], p.member_start[m + 1]):
            if first <= p.member[e] < last:
                marks[p.member[e] - first] = 1


@inner
def choose(
    marks: np.ndarray, on: np.ndarray, block: int, first: int, last: int, everyone: bool, chosen: np.ndarray
) -> int:
    """List the marked agents of a block, without the infected unless `everyone`; returns their number."""
    count = 0
    for w in range((block - first) // 8, (min(block + BLOCK, last) - first + 7) // 8):
        if marks[w] != 0:
            for j in range(8):  # no branch that the processor could mispredict
                i = first + 8 * w + j
                chosen[count] = i
                count += int((marks[w] >> np.uint64(8 * j)) & np.uint64(1)) & int(
                    everyone or on[min(i, last - 1)] == NEVER
                )
    return count


@jit
def remember(
    p: Packed, rates: tuple, q: int, t: int, caught: np.ndarray, incidence: np.ndarray, memory: np.ndarray
) -> None:
    """Incidence of the day, and the remembered incidence of the next."""
    forgetting = rates[6][q]
    for a in range(len(caught)):
        incidence[t] += caught[a]
    if t + 1 < len(memory):
        memory[t + 1] = memory[t] * (1.0 - forgetting)
        for g in range(caught.shape[1]):
            r = p.region_of_group[g]
            memory[t + 1, r] += forgetting * 100.0 * incidence[t, g] / p.region_size[r]
