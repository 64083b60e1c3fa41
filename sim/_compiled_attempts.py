"""Attempts of a run in compiled loops: `_removals_reference.attempts`, the same random numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim._compiled_day import inner, jit
from sim._compiled_people import (
    Past,
    People,
    after,
    clock,
    exponential,
    last_before,
    level,
    unit,
    unused,
)
from sim._removals_reference import CONTACT, LATER, OUTSIDE, SUPPORT
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES

NO_SPELL = -1


class Attempts(NamedTuple):
    """Attempts `[E]`: see `_removals_reference.Attempt`; `spell`: the infection it took part in, or NO_SPELL."""

    source: np.ndarray
    target: np.ndarray
    age: np.ndarray
    channel: np.ndarray
    height: np.ndarray
    spell: np.ndarray


@inner
def room(a: Attempts, used: int, more: int) -> Attempts:
    """The same attempts, with room for more."""
    size = len(a.source)
    if used + more <= size:
        return a
    size = max(2 * size, used + more)
    b = empty(size)
    b.source[:used], b.target[:used], b.age[:used] = a.source[:used], a.target[:used], a.age[:used]
    b.channel[:used], b.height[:used], b.spell[:used] = a.channel[:used], a.height[:used], a.spell[:used]
    return b


@jit
def empty(size: int) -> Attempts:
    """Room for attempts."""
    return Attempts(
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.int16),
        np.empty(size, dtype=np.int8),
        np.empty(size),
        np.empty(size, dtype=np.int32),
    )


@inner
def put(a: Attempts, n: int, source: int, target: int, age: int, channel: int, height: float, spell: int) -> None:
    """Write one attempt."""
    a.source[n], a.target[n], a.age[n] = source, target, age
    a.channel[n], a.height[n], a.spell[n] = channel, height, spell


@inner
def contacts(
    c: People, w: Past, i: int, spell: int, day: int, before: int, in_run: bool, a: Attempts
) -> tuple[int, Attempts]:
    """Contacts of an infection of agent i, written from the start of a; their number. As in the reference; `before` < 0: none."""
    T, D, k, g0, h = len(w.importation), w.rho.shape[1], c.archetype[i], c.group[i], c.household[i]
    key, count, n = clock(w, CONTACT, i, spell, day), 1, 0
    gap = exponential(key, count)
    for age in range(D):
        now, then, rho = day + 1 + age, before + 1 + age, w.rho[k, age]
        if now >= T:
            break
        if rho == 0.0:
            continue
        for channel in range(len(w.best)):
            high = w.transmission[channel, now] * w.top
            low = w.transmission[channel, then] * w.top if before >= 0 and then < T else 0.0
            if high <= low:
                continue
            first, number, weight, v = 0, 0, 0.0, -1
            if channel == HOUSEHOLD:
                first, weight = c.household_start[h], c.household_weight[h]
                number = c.household_start[h + 1] - first
            elif channel >= VENUES:
                v = c.venue[i, channel - VENUES]
                if v < 0:
                    continue
                first, weight = c.venue_start[v], c.venue_weight[v]
                number = c.venue_start[v + 1] - first
            scale = rho * (high - low)
            rate = scale * weight
            end = scale * w.reach[g0, -1] if channel == COMMUNITY else rate * number
            at = 0.0
            while at + gap < end:
                at += gap
                begin = 0.0
                if channel == COMMUNITY:
                    g = min(np.searchsorted(w.reach[g0], at / scale, side="right") - 1, len(w.reach) - 1)
                    first, number = c.group_start[g], c.group_start[g + 1] - c.group_start[g]
                    begin, rate = scale * w.reach[g0, g], scale * w.mixing[g, g0] / c.group_size[g0]
                slot = min(int((at - begin) / rate), number - 1)
                x = min(max((at - begin) / rate - slot, 0.0), 1.0)
                j = first + slot
                if channel == COMMUNITY:
                    j = c.group_member[j]
                elif channel >= VENUES:
                    j = c.venue_member[j]
                floor = (unused(c, w, channel, now, j) - low) / (high - low) if in_run else 0.0
                if x < floor:
                    at = begin + (slot + min(floor, 1.0)) * rate
                else:
                    height = low + x * (high - low)
                    if j != i and height < w.best[channel] * w.own[c.archetype[j]]:  # else it infects in no world
                        a = room(a, n, 1)
                        put(a, n, 0, j, age, channel, height, NO_SPELL)
                        n += 1
                    at = begin + (slot + 1) * rate
                count += 1
                gap = exponential(key, count)
            gap = max(gap - (end - at), 0.0)
    return n, a


@inner
def hazard_from(
    c: People, w: Past, s: int, k: int, scale: float, candidate: np.ndarray, hazard: np.ndarray, n: int
) -> int:
    """Enter spell k among the candidates where it is infectious on the day of spell s; their number."""
    age = w.day[s] - 1 - w.day[k]
    if 0 <= age < w.rho.shape[1]:
        x = scale * w.rho[c.archetype[w.agent[k]], age]
        if x > 0.0:
            candidate[n], hazard[n] = k, x
            return n + 1
    return n


@inner
def from_day(w: Past, v: int, day: int) -> int:
    """The first entry of a venue group's spells on a day or later."""
    low, high = w.venue_first[v], w.venue_first[v + 1]
    while low < high:
        middle = (low + high) // 2
        if w.day[w.venue_spell[middle]] < day:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def draw(c: People, w: Past, start: int, stop: int, limit: int) -> Attempts:
    """Attempts on and by the spells `start..stop`; none at all if there were more than `limit`."""
    G, T, D = len(c.group_size), len(w.importation), w.rho.shape[1]
    a, made, n, widest = empty(16 * (stop - start) + 64), empty(64), 0, 64
    for v in range(len(c.venue_weight)):
        widest = max(widest, w.venue_first[v + 1] - w.venue_first[v])
    for h in range(len(c.household_weight)):
        widest = max(widest, w.first[c.household_start[h + 1]] - w.first[c.household_start[h]])
    layers = c.venue.shape[1]
    candidate, hazard = np.empty((layers + 1) * widest, dtype=np.int64), np.empty((layers + 1) * widest)
    upto, levels = np.empty(layers + 1, dtype=np.int64), np.empty(layers + 1)
    for s in range(start, stop):
        i, day = w.agent[s], w.day[s]
        h, g, order = c.household[i], c.group[i], s - w.first[i]
        relative, response = after(c, w, day, i, last_before(w, i, day)), w.response[day, c.region_of_group[g]]
        # what infected it
        outside = relative * level(c, w, OUTSIDE, day, i, response)
        total, found = outside, 0
        levels[0] = relative * level(c, w, HOUSEHOLD, day, i, response)
        for k in range(w.first[c.household_start[h]], w.first[c.household_start[h + 1]]):
            found = hazard_from(c, w, s, k, levels[0] * c.household_weight[h], candidate, hazard, found)
        upto[0] = found
        for layer in range(layers):
            v = c.venue[i, layer]
            levels[1 + layer] = relative * level(c, w, VENUES + layer, day, i, response)
            if v >= 0:
                for e in range(from_day(w, v, day - D), w.venue_first[v + 1]):
                    k = w.venue_spell[e]
                    if w.day[k] >= day:
                        break
                    found = hazard_from(c, w, s, k, levels[1 + layer] * c.venue_weight[v], candidate, hazard, found)
            upto[1 + layer] = found
        for e in range(found):
            total += hazard[e]
        community = relative * level(c, w, COMMUNITY, day, i, response)
        total += community * w.pressure[day, g]
        key, count = clock(w, SUPPORT, i, order, 0), 1
        gap = -np.log1p(unit(key, count) * np.expm1(-total))
        a = room(a, n, found + 1)
        if outside > 0.0:
            if gap < outside:
                put(a, n, OUTSIDE, i, day, OUTSIDE, gap, s)
                n, count = n + 1, count + 1
                gap = exponential(key, count)
            else:
                gap -= outside
        part = 0
        for e in range(found):
            while e >= upto[part]:
                part += 1
            if gap < hazard[e]:
                k = candidate[e]
                put(a, n, k, i, day - 1 - w.day[k], part + (part > 0), gap / hazard[e] * levels[part], s)
                n, count = n + 1, count + 1
                gap = exponential(key, count)
            else:
                gap -= hazard[e]
        for g2 in range(G):
            each = community * w.mixing[g, g2] / c.group_size[g2]
            block = each * w.infectious[day, g2]
            if block == 0.0:
                continue
            if gap >= block:
                gap -= block
                continue
            for e in range(w.cohort[g2 * T + max(day - D, 0)], w.cohort[g2 * T + day]):
                k = w.cohort_spell[e]
                x = each * w.rho[c.archetype[w.agent[k]], day - 1 - w.day[k]]
                if x == 0.0:
                    continue
                if gap < x:
                    a = room(a, n, 1)
                    put(a, n, k, i, day - 1 - w.day[k], COMMUNITY, gap / x * community, s)
                    n, count = n + 1, count + 1
                    gap = exponential(key, count)
                else:
                    gap -= x
        # whom it met
        number, made = contacts(c, w, i, order, day, -1, True, made)
        a = room(a, n, number)
        for e in range(number):
            put(a, n, s, made.target[e], made.age[e], made.channel[e], made.height[e], NO_SPELL)
            n += 1
        # what came from outside after its agent's first infection
        if order == 0:
            key, count = clock(w, LATER, i, 0, 0), 1
            gap = exponential(key, count)
            for t in range(day + 1, T):
                low, rate = unused(c, w, OUTSIDE, t, i), w.top * w.importation[t, g]
                if gap < rate - low:
                    a = room(a, n, 1)
                    put(a, n, OUTSIDE, i, t, OUTSIDE, low + gap, NO_SPELL)
                    n, count = n + 1, count + 1
                    gap = exponential(key, count)
                else:
                    gap -= rate - low
        if n > limit:
            return empty(0)
    return Attempts(a.source[:n], a.target[:n], a.age[:n], a.channel[:n], a.height[:n], a.spell[:n])
