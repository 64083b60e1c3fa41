"""Attempts of a run in compiled loops: `_removals_reference.attempts`, the same random numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim._compiled_day import jit, lean
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


@jit
def copied(a: Attempts, used: int, size: int) -> Attempts:
    """The first attempts, with room for `size`."""
    b = empty(size)
    b.source[:used], b.target[:used], b.age[:used] = a.source[:used], a.target[:used], a.age[:used]
    b.channel[:used], b.height[:used], b.spell[:used] = a.channel[:used], a.height[:used], a.spell[:used]
    return b


@lean
def put(a: Attempts, n: int, source: int, target: int, age: int, channel: int, height: float, spell: int) -> int:
    """Write an attempt at n, if there is room; the number of attempts then, which grows in any case."""
    if n < len(a.source):
        a.source[n], a.target[n], a.age[n] = source, target, age
        a.channel[n], a.height[n], a.spell[n] = channel, height, spell
    return n + 1


@lean
def contacts(
    c: People, w: Past, i: int, order: int, day: int, before: int, source: int, removed: int, a: Attempts, n: int
) -> int:
    """Contacts of an infection of agent i, as in the reference (`before` < 0: none), put from n on; the number of attempts then.

    `source`: the spell in the run, for contacts that infected nobody there and may elsewhere; NO_SPELL for those of another world, where
    `removed` is 1 + the spell that it lacks.
    """
    T, D, k, g0, h = len(w.importation), w.rho.shape[1], c.archetype[i], c.group[i], c.household[i]
    key, count = clock(w, CONTACT, i, order, day, removed), 1
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
                floor = (unused(c, w, channel, now, j) - low) / (high - low) if source >= 0 else 0.0
                if x < floor:
                    at = begin + (slot + min(floor, 1.0)) * rate
                else:
                    height = low + x * (high - low)
                    if j != i and height < w.best[channel] * w.own[c.archetype[j]]:  # else it infects in no world
                        n = put(a, n, source, j, age, channel, height, NO_SPELL)
                    at = begin + (slot + 1) * rate
                count += 1
                gap = exponential(key, count)
            gap = max(gap - (end - at), 0.0)
    return n


@lean
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


@lean
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


class Bearing(NamedTuple):
    """Room for spells that bore on an infection: who, the hazard from each, and by channel (household, venues) where it ends and its level."""

    spell: np.ndarray
    hazard: np.ndarray
    upto: np.ndarray
    level: np.ndarray


@lean
def supports(c: People, w: Past, s: int, b: Bearing, a: Attempts, n: int) -> int:
    """The attempts that infected in spell s, put from n on; the number of attempts then."""
    i, day, D, layers = w.agent[s], w.day[s], w.rho.shape[1], c.venue.shape[1]
    h, g = c.household[i], c.group[i]
    relative, response = after(c, w, day, i, last_before(w, i, day)), w.response[day, c.region_of_group[g]]
    outside = relative * level(c, w, OUTSIDE, day, i, response)
    community = relative * level(c, w, COMMUNITY, day, i, response)
    total, found = outside, 0
    b.level[0] = relative * level(c, w, HOUSEHOLD, day, i, response)
    for k in range(w.first[c.household_start[h]], w.first[c.household_start[h + 1]]):
        found = hazard_from(c, w, s, k, b.level[0] * c.household_weight[h], b.spell, b.hazard, found)
    b.upto[0] = found
    for layer in range(layers):
        v = c.venue[i, layer]
        b.level[1 + layer] = relative * level(c, w, VENUES + layer, day, i, response)
        if v >= 0:
            scale = b.level[1 + layer] * c.venue_weight[v]
            for e in range(from_day(w, v, day - D), w.venue_first[v + 1]):
                k = w.venue_spell[e]
                if w.day[k] >= day:
                    break
                found = hazard_from(c, w, s, k, scale, b.spell, b.hazard, found)
        b.upto[1 + layer] = found
    for e in range(found):
        total += b.hazard[e]
    total += community * w.pressure[day, g]
    key, count, part = clock(w, SUPPORT, i, s - w.first[i], 0, 0), 1, 0
    gap = -np.log1p(unit(key, count) * np.expm1(-total))
    if gap < outside:
        n = put(a, n, OUTSIDE, i, day, OUTSIDE, gap, s)
        count += 1
        gap = exponential(key, count)
    else:
        gap -= outside
    for e in range(found):
        while e >= b.upto[part]:
            part += 1
        if gap < b.hazard[e]:
            k = b.spell[e]
            n = put(a, n, k, i, day - 1 - w.day[k], part + (part > 0), gap / b.hazard[e] * b.level[part], s)
            count += 1
            gap = exponential(key, count)
        else:
            gap -= b.hazard[e]
    for g2 in range(len(c.group_size)):
        each = community * w.mixing[g, g2] / c.group_size[g2]
        block = each * w.infectious[day, g2]
        if gap >= block:
            gap -= block
            continue
        begin = g2 * len(w.importation)
        for e in range(w.cohort[begin + max(day - D, 0)], w.cohort[begin + day]):
            k = w.cohort_spell[e]
            x = each * w.rho[c.archetype[w.agent[k]], day - 1 - w.day[k]]
            if gap < x:
                n = put(a, n, k, i, day - 1 - w.day[k], COMMUNITY, gap / x * community, s)
                count += 1
                gap = exponential(key, count)
            else:
                gap -= x
    return n


@lean
def later(c: People, w: Past, s: int, a: Attempts, n: int) -> int:
    """Attempts from outside on the agent of its first spell s after it, put from n on; the number of attempts then."""
    i, g = w.agent[s], c.group[w.agent[s]]
    key, count = clock(w, LATER, i, 0, 0, 0), 1
    gap, reinfections = exponential(key, count), w.reinfection.shape[1] > 0
    for t in range(w.day[s] + 1, len(w.importation)):
        low = unused(c, w, OUTSIDE, t, i) if reinfections else 0.0
        rate = w.top * w.importation[t, g] - low
        if gap < rate:
            n = put(a, n, OUTSIDE, i, t, OUTSIDE, low + gap, NO_SPELL)
            count += 1
            gap = exponential(key, count)
        else:
            gap -= rate
    return n


@lean
def of_spell(c: People, w: Past, s: int, b: Bearing, a: Attempts, n: int) -> int:
    """All attempts drawn for spell s, put from n on; the number of attempts then."""
    i = w.agent[s]
    order = s - w.first[i]
    n = contacts(c, w, i, order, w.day[s], -1, s, 0, a, supports(c, w, s, b, a, n))
    return later(c, w, s, a, n) if order == 0 else n


@jit
def draw(c: People, w: Past, start: int, stop: int, limit: int) -> tuple[Attempts, bool]:
    """Attempts on and by the spells `start..stop`, and whether they are at most `limit`; none at all if not."""
    widest, layers = 1, c.venue.shape[1]
    for v in range(len(c.venue_weight)):
        widest = max(widest, w.venue_first[v + 1] - w.venue_first[v])
    for h in range(len(c.household_weight)):
        widest = max(widest, w.first[c.household_start[h + 1]] - w.first[c.household_start[h]])
    size = (layers + 1) * widest
    b = Bearing(
        np.empty(size, dtype=np.int64), np.empty(size), np.empty(layers + 1, dtype=np.int64), np.empty(layers + 1)
    )
    a, n = empty(4 * (stop - start) + 64), 0
    for s in range(start, stop):
        put_to = of_spell(c, w, s, b, a, n)
        if put_to > limit:
            return empty(0), False
        if put_to > len(a.source):  # the same numbers again, where there is room
            a = copied(a, n, 2 * put_to)
            put_to = of_spell(c, w, s, b, a, n)
        n = put_to
    return copied(a, n, n), True
