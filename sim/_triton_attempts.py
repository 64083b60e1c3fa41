"""Attempts of a run on a GPU: `_compiled_attempts.draw`, the same random numbers; a lane takes a spell.

The kernel is run twice: it counts the attempts of each spell, then writes them where those of the spells before it end.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from sim._removals_reference import CONTACT, LATER, SUPPORT
from sim._triton_contacts import step
from sim._triton_people import (
    after,
    clock,
    expm1,
    exponential,
    from_day,
    kernel,
    last_before,
    level,
    log1p,
    opened,
    region_of,
    some,
    spells_of,
    unit,
    unused,
)

FIRST, SECOND, THIRD = tl.constexpr(SUPPORT), tl.constexpr(CONTACT), tl.constexpr(LATER)


class Attempts(NamedTuple):
    """Attempts `[E]` as `_compiled_attempts.Attempts`; source and spell are numbered through the particles, -1 for none."""

    source: Any
    target: Any
    age: Any
    channel: Any
    height: Any
    spell: Any


@triton.jit
def put(a, at, ok, source, target, age, channel, height, spell, FILL: tl.constexpr):
    """Write attempts, if they are to be written, each at its place; the places of the next."""
    if FILL:
        tl.store(a.source + at, source, mask=ok)
        tl.store(a.target + at, target, mask=ok)
        tl.store(a.age + at, age.to(tl.int16), mask=ok)
        tl.store(a.channel + at, channel.to(tl.int8), mask=ok)
        tl.store(a.height + at, height, mask=ok)
        tl.store(a.spell + at, spell, mask=ok)
    return at + ok.to(tl.int64)


@triton.jit
def take(a, at, ok, k, i, s, age, channel, hazard, lvl, key, count, gap, FILL: tl.constexpr):
    """Pass by a source of hazard: where the gap ends within it, it infected."""
    hit = ok & (hazard > 0.0) & (gap < hazard)
    height = gap / tl.where(hit, hazard, 1.0) * lvl
    at = put(a, at, hit, k, i, age, channel, height, s, FILL)
    count += hit.to(tl.int32)
    return at, count, tl.where(hit, exponential(key, count), tl.where(ok, gap - hazard, gap))


@triton.jit
def infectious_from(c, w, p, s_day, k, ok):
    """Infectiousness of spell k on a day, and its age."""
    age = s_day - 1 - tl.load(w.day + k, mask=ok, other=0)
    here = ok & (age >= 0) & (age < w.D)
    kind = tl.load(c.archetype + tl.load(w.agent + k, mask=here, other=0), mask=here, other=0)
    return tl.load(w.rho + (p * w.K + kind) * w.D + age, mask=here, other=0.0), age


@triton.jit
def small_groups(c, w, a, p, i, s, day, relative, response, at, total, key, count, gap, ok,
                 SELECT: tl.constexpr, FILL: tl.constexpr):  # fmt: skip
    """Go through the spells of household and venues that bore on an infection: add up their hazards, or SELECT those that infected."""
    h = tl.load(c.household + i, mask=ok, other=0)
    lvl = relative * level(c, w, p, i * 0, day, i, response, ok)
    scale = lvl * tl.load(c.household_weight + h, mask=ok, other=0.0)
    first, last = tl.load(c.household_start + h, mask=ok, other=0), tl.load(c.household_start + h + 1, mask=ok, other=0)
    k = tl.load(w.first + p * c.N + first, mask=ok, other=0)
    stop = tl.load(w.first + p * c.N + last, mask=ok, other=0)
    go = ok & (k < stop)
    while some(go):
        rho, age = infectious_from(c, w, p, day, k, go)
        if SELECT:
            at, count, gap = take(a, at, go, k, i, s, age, age * 0, scale * rho, lvl, key, count, gap, FILL)
        else:
            total += scale * rho
        k += 1
        go = go & (k < stop)
    for layer in range(c.V):
        v = tl.load(c.venue + i.to(tl.int64) * c.V + layer, mask=ok, other=-1)
        there = ok & (v >= 0)
        lvl = relative * level(c, w, p, i * 0 + 2 + layer, day, i, response, ok)
        scale = lvl * tl.load(c.venue_weight + v, mask=there, other=0.0)
        list_of = w.venue_first + p * c.S + v
        end = tl.load(list_of + 1, mask=there, other=0)
        e = from_day(w, tl.load(list_of, mask=there, other=0), end, day - w.D, there)
        go = there & (e < end)
        while some(go):
            k = tl.load(w.venue_spell + e, mask=go, other=0)
            go = go & (tl.load(w.day + k, mask=go, other=0) < day)
            rho, age = infectious_from(c, w, p, day, k, go)
            if SELECT:
                at, count, gap = take(
                    a, at, go, k, i, s, age, age * 0 + 2 + layer, scale * rho, lvl, key, count, gap, FILL
                )
            else:
                total += scale * rho
            e += 1
            go = go & (e < end)
    return at, total, count, gap


@triton.jit
def community(c, w, a, p, g, i, s, day, lvl, at, key, count, gap, ok, FILL: tl.constexpr):
    """Those of the community who infected: by group, then by day of their infection, then one by one."""
    for g2 in range(c.G):
        size = tl.load(c.group_size + g2)
        each = lvl * tl.load(w.mixing + (p * c.G + g) * c.G + g2, mask=ok, other=0.0) / size
        block = each * tl.load(w.infectious + (p * w.T + day) * c.G + g2, mask=ok, other=0.0)
        inside = ok & (gap < block)
        gap = tl.where(ok & (inside == 0), gap - block, gap)
        if some(inside):
            for back in range(w.D):
                age = w.D - 1 - back
                on = day - 1 - age
                row = (p * c.G + g2) * w.T + on
                known = inside & (on >= 0)
                shed = each * tl.load(w.shed + row * w.D + age, mask=known, other=0.0)
                e = tl.load(w.cohort + row, mask=known, other=0)
                end = tl.load(w.cohort + row + 1, mask=known, other=0)
                go = known & (gap < shed) & (e < end)
                gap = tl.where(known & (go == 0), gap - shed, gap)
                while some(go):
                    k = tl.load(w.cohort_spell + e, mask=go, other=0)
                    rho, _ = infectious_from(c, w, p, day, k, go)
                    at, count, gap = take(
                        a, at, go, k, i, s, i * 0 + age, i * 0 + 1, each * rho, lvl, key, count, gap, FILL
                    )
                    e += 1
                    go = go & (e < end)
    return at


@triton.jit
def supports(c, w, a, p, i, s, order, day, at, ok, FILL: tl.constexpr):
    """The attempts that infected on the day of an infection."""
    g = tl.load(c.group + i, mask=ok, other=0)
    relative = after(c, w, p, day, i, last_before(c, w, p, i, day, ok), ok)
    response = tl.load(w.response + (p * w.T + day) * c.R + region_of(c, i, ok), mask=ok, other=0.0)
    outside = relative * level(c, w, p, i * 0 - 1, day, i, response, ok)
    lvl = relative * level(c, w, p, i * 0 + 1, day, i, response, ok)
    key = clock(tl.load(w.key + p), FIRST, i, order, i * 0, i * 0)
    count = i * 0 + 1
    _, total, _, _ = small_groups(
        c, w, a, p, i, s, day, relative, response, at, outside, key, count, outside, ok, False, FILL
    )
    total += lvl * tl.load(w.pressure + (p * w.T + day) * c.G + g, mask=ok, other=0.0)
    gap = -log1p(unit(key, count) * expm1(-total))
    at, count, gap = take(a, at, ok, i * 0 - 1, i, s, day, i * 0 - 1, outside, outside, key, count, gap, FILL)
    at, _, count, gap = small_groups(
        c, w, a, p, i, s, day, relative, response, at, outside, key, count, gap, ok, True, FILL
    )
    return community(c, w, a, p, g, i, s, day, lvl, at, key, count, gap, ok, FILL)


@triton.jit
def later(c, w, a, p, i, day, at, ok, FILL: tl.constexpr):
    """Attempts from outside on an agent after its first infection."""
    g, top = tl.load(c.group + i, mask=ok, other=0), tl.load(w.top + p)
    key = clock(tl.load(w.key + p), THIRD, i, i * 0, i * 0, i * 0)
    count, t = i * 0 + 1, day + 1
    gap, none = exponential(key, count), i * 0 - 1
    go = ok & (t < w.T)
    while some(go):
        low = gap * 0.0
        if w.E > 0:
            low = unused(c, w, p, none, t, i, go)
        rate = top * tl.load(w.importation + (p * w.T + t) * c.G + g, mask=go, other=0.0) - low
        hit = go & (gap < rate)
        at = put(a, at, hit, none, i, t, none, low + gap, none, FILL)
        count += hit.to(tl.int32)
        gap = tl.where(hit, exponential(key, count), tl.where(go, gap - rate, gap))
        t += 1
        go = go & (t < w.T)
    return at


@kernel
def draw(c, w, a, begin, FILL: tl.constexpr, BLOCK: tl.constexpr):
    """Attempts on and by spells: their number into `begin` `[M]`, or written from `begin` on."""
    c, w = opened(c, w)
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = s < w.M
    p = tl.load(w.particle + s, mask=ok, other=0).to(tl.int64)
    i, day = tl.load(w.agent + s, mask=ok, other=0), tl.load(w.day + s, mask=ok, other=0)
    spell, _ = spells_of(c, w, p, i, ok)
    order = s - spell
    at = p * 0
    if FILL:
        at = tl.load(begin + s, mask=ok, other=0)
    at = supports(c, w, a, p, i, s, order, day, at, ok, FILL)

    key = clock(tl.load(w.key + p), SECOND, i, order, day, i * 0)
    age, channel, count, before = i * 0, i * 0, i * 0 + 1, i * 0 - 1
    gap = exponential(key, count)
    place, go = gap * 0.0, ok & (day + 1 < w.T)
    while some(go):
        age, channel, place, gap, count, go, found, j, j_age, j_channel, height = step(
            c, w, p, i, key, day, before, age, channel, place, gap, count, go, True
        )
        at = put(a, at, found, s, j, j_age, j_channel, height, before, FILL)
    at = later(c, w, a, p, i, day, at, ok & (order == 0), FILL)
    if FILL == 0:
        tl.store(begin + s, at, mask=ok)
