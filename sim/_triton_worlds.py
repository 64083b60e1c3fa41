"""The world without one infection on a GPU: `_compiled_removals.remove`, a program for each infection, its lanes for what happens on a day.

Within a day the order does not matter: whoever is infected on it infects others on later days alone. So the lanes of a program go side by
side through the events of a day, then through the agents whom these concern. What a world has apart from the run lies in global
memory: a list of events, and a table (open addressing) of agents that differ or are looked at. A world that outgrows its room is
left, marked, and followed anew with more room.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from sim._compiled_removals import CHECK, FRESH, FROM_OTHERS, IN_RUN, MOVED
from sim._removals_reference import CONTACT, TURN
from sim._triton_contacts import step
from sim._triton_people import after, clock, exponential, last_before, level, region_of, some, spells_of
from sim._triton_web import time_of

LOST, OF_OTHERS, AWAY, NEW, GIVEN = (tl.constexpr(x) for x in (CHECK, FROM_OTHERS, MOVED, FRESH, IN_RUN))
CONTACTS, TURNED = tl.constexpr(CONTACT), tl.constexpr(TURN)
AS_IN_RUN = tl.constexpr(2**31 - 1)


class Room(NamedTuple):
    """Memory of the programs, `[programs, ...]`; two sizes of it, `table` (a power of two) and `room`.

    Attributes:
        key: `[table + 1]` 0, or 1 + an agent, or -1 - a spell; the last is nobody's.
        base, last, infections: `[table]` of an agent, as `_compiled_removals.Work`; base is AS_IN_RUN unless it differs. Of a spell,
            infections counts the attempts it lost. mark: `[table]` 2 + twice the last day on which an agent was listed, plus 1 where
            something infects it.
        today: `[room]` entries listed today. when, code, height: `[room]` events.
        entry: `[2 * room]` entries of a world, for forward mode. more, change: `[R]` as `Work`.
    """

    key: Any
    base: Any
    last: Any
    infections: Any
    mark: Any
    today: Any
    when: Any
    code: Any
    height: Any
    entry: Any
    more: Any
    change: Any


@triton.jit
def place_of(key, table):
    """Where to look for a key first."""
    x = key.to(tl.uint32) * 0x9E3779B1
    return ((x ^ (x >> 15)) & (table - 1).to(tl.uint32)).to(tl.int32)


@triton.jit
def look_up(m, table, key, ok):
    """Entries of keys, and which there are."""
    at = place_of(key, table)
    found = tl.load(m.key + at, mask=ok, other=0)
    go = ok & (found != key) & (found != 0)
    while some(go):
        at = tl.where(go, (at + 1) & (table - 1), at)
        found = tl.load(m.key + at, mask=go, other=0)
        go = go & (found != key) & (found != 0)
    there = ok & (tl.load(m.key + at, mask=ok, other=0) == key)
    return at, there


@triton.jit
def roomy(table, used, ok):
    """Lanes for which a table is sure to have room."""
    return ok & (ok.to(tl.int32) * 0 + used + ok.shape[0] < table)


@triton.jit
def enter(m, table, key, used, ok):
    """Entries of keys, made where there are none, and how many are used then; none is made where the table would be full."""
    ok = roomy(table, used, ok)
    at, go = place_of(key, table), ok
    while some(go):
        # who does not go looks at the entry that is nobody's
        old = tl.atomic_cas(m.key + tl.where(go, at, table), key * 0, tl.where(go, key, 0), sem="relaxed")
        used += tl.sum((go & (old == 0)).to(tl.int32), 0)
        go = go & (old != 0) & (old != key)
        at = tl.where(go, (at + 1) & (table - 1), at)
    return at, used


@triton.jit
def base_of(m, table, i, ok):
    """First spell of an agent that is not as in the run (its order), or AS_IN_RUN; and the agent's entry."""
    at, there = look_up(m, table, i + 1, ok)
    return tl.load(m.base + at, mask=there, other=AS_IN_RUN), at


@triton.jit
def moved(c, w, m, table, p, s, ok):
    """Whether a spell is no longer as in the run."""
    ok = ok & (s >= 0)
    i = tl.load(w.agent + s, mask=ok, other=0)
    base, _ = base_of(m, table, i, ok)
    return ok & (s - tl.load(w.first + p * c.N + i, mask=ok, other=0) >= base)


@triton.jit
def push(m, room, events, soon, t, code, height, ok):
    """Add events; their number and the first day of them that is still to come. What finds no room counts, and is lost."""
    at = events + tl.cumsum(ok.to(tl.int32), 0) - 1
    fits = ok & (at < room)
    tl.store(m.when + at, t, mask=fits)
    tl.store(m.code + at, code, mask=fits)
    tl.store(m.height + at, height, mask=fits)
    return events + tl.sum(ok.to(tl.int32), 0), tl.minimum(soon, tl.min(tl.where(ok, t, AS_IN_RUN), 0))


@triton.jit
def note(m, table, room, i, t, infects, listed, used, ok):
    """List agents for the day's end, each once."""
    at, used = enter(m, table, i + 1, used, ok)
    ok = roomy(table, used, ok)
    mark = 2 * t + 2 + infects.to(tl.int32)
    old = tl.atomic_max(m.mark + at, mark, mask=ok, sem="relaxed")
    new = ok & (old < 2 * t + 2)
    to = listed + tl.cumsum(new.to(tl.int32), 0) - 1
    tl.store(m.today + to, at, mask=new & (to < room))
    return listed + tl.sum(new.to(tl.int32), 0), used


@triton.jit
def lose(web, m, table, s, used, ok):
    """Take away one of the attempts that infected in spells; of which it was the last."""
    number = tl.load(web.supports + s, mask=ok, other=0)
    several = ok & (number > 1)
    last = ok & (number == 1)
    if some(several):
        at, used = enter(m, table, -1 - s, used, several)
        several = roomy(table, used, several)
        lost = tl.atomic_add(m.infections + at, 1, mask=several, sem="relaxed") + 1
        last = last | (several & (lost == number))
    return last, used


@triton.jit
def turned(c, w, a, web, p, turn, e, t, j, ok):
    """Height of attempts in this world."""
    height, share = tl.load(a.height + e, mask=ok, other=0.0), tl.load(web.share + e, mask=ok, other=-1.0)
    turns = ok & (share > 0.0)
    response = tl.load(w.response + (p * w.T + t) * c.R + region_of(c, j, turns), mask=turns, other=0.5)
    infected = tl.load(a.spell + e, mask=turns, other=-1) >= 0
    kept = share / response + turn
    above = (share - response) / tl.where(infected, 1.0, 1.0 - response) + turn
    new = tl.where(
        infected, (kept - tl.floor(kept)) * response, response + (above - tl.floor(above)) * (1.0 - response)
    )
    return tl.where(turns, new / tl.where(turns, share, 1.0) * height, tl.where(share == 0.0, 0.0, height))


@triton.jit
def consider(c, w, m, table, p, t, j, channel, height, ok):
    """Which attempts infect their agents, if these are not infected yet."""
    base, at = base_of(m, table, j, ok)
    apart = ok & (base != AS_IN_RUN)
    last = tl.load(m.last + at, mask=apart, other=-1)
    in_run = last_before(c, w, p, j, t, ok & (apart == 0))
    last = tl.where(apart, last, in_run)
    relative, r = after(c, w, p, t, j, last, ok), region_of(c, j, ok)
    ok = ok & (relative > 0.0)
    change = tl.load(m.change + r, mask=ok, other=0.0)
    response = tl.load(w.response + (p * w.T + t) * c.R + r, mask=ok, other=0.0)
    memory = tl.load(w.memory + (p * w.T + t) * c.R + r, mask=ok, other=0.0)
    response = tl.where(change != 0.0, tl.exp(-tl.load(w.aversion + p) * (memory + change)), response)
    return ok & (height < relative * level(c, w, p, channel, t, j, response, ok))


@triton.jit
def immune(c, w, m, table, p, j, t, ok):
    """Whether nothing can infect agents after day t: infected before that day, and nobody is infected again."""
    if w.E > 0:
        out = ok & (j < 0)
    else:
        base, at = base_of(m, table, j, ok)
        apart = ok & (base != AS_IN_RUN)
        last = tl.load(m.last + at, mask=apart, other=-1)
        s, stop = spells_of(c, w, p, j, ok)
        day = tl.load(w.day + s, mask=ok & (s < stop), other=AS_IN_RUN)
        out = ok & tl.where(apart, last >= 0, day < t)
    return out


@triton.jit
def leave(c, w, a, web, m, table, room, p, i, t, base, at, events, soon, used, ok):
    """From day t on, and from their spell `base` on, agents are not as in the run: what follows for others. `at`: their entries."""
    tl.store(m.last + at, last_before(c, w, p, i, t, ok), mask=ok)
    tl.store(m.infections + at, base, mask=ok)
    tl.store(m.base + at, base, mask=ok)
    tl.debug_barrier()
    s, stop = spells_of(c, w, p, i, ok)
    s += base
    o = tl.load(web.out_first + s, mask=ok, other=0)
    end = tl.load(web.out_first + stop, mask=ok, other=0)
    go = ok & (s < stop)
    while some(go):
        day = tl.load(w.day + s, mask=go, other=0)
        code = i.to(tl.int64) * 8 + GIVEN
        events, soon = push(m, room, events, soon, day, code, day * 0.0, go & (day > t))
        s += 1
        go = go & (s < stop)
    go = ok & (o < end)
    while some(go):
        support = tl.load(a.spell + tl.load(web.out + o, mask=go, other=0), mask=go, other=-1)
        lost = go & (support >= 0)
        base, _ = base_of(m, table, tl.load(w.agent + support, mask=lost, other=0), lost)
        last, used = lose(web, m, table, support, used, lost & (base == AS_IN_RUN))
        day = tl.load(w.day + support, mask=last, other=0)
        events, soon = push(m, room, events, soon, day, support.to(tl.int64) * 8 + LOST, day * 0.0, last)
        o += 1
        go = go & (o < end)
    o = tl.load(web.into_first + p * c.N + i, mask=ok, other=0)
    end = tl.load(web.into_first + p * c.N + i + 1, mask=ok, other=0)
    go = ok & (o < end)
    while some(go):
        e = tl.load(web.into + o, mask=go, other=0)
        day = time_of(w, a, e, go)
        events, soon = push(m, room, events, soon, day, e.to(tl.int64) * 8 + OF_OTHERS, day * 0.0, go & (day > t))
        o += 1
        go = go & (o < end)
    return events, soon, used


@triton.jit
def infect(c, w, a, web, m, table, room, p, i, t, at, number, events, soon, ok):
    """Infect agents that differ: their attempts move with them, and they make those that the rates of the time add."""
    order = tl.load(m.infections + at, mask=ok, other=0)
    tl.store(m.infections + at, order + 1, mask=ok)
    tl.store(m.last + at, i * 0 + t, mask=ok)
    tl.debug_barrier()
    s, stop = spells_of(c, w, p, i, ok)
    s += order
    known = ok & (s < stop)
    before = tl.load(w.day + s, mask=known, other=-1)
    o = tl.load(web.out_first + s, mask=known, other=0)
    end = tl.load(web.out_first + s + 1, mask=known, other=0)
    go = known & (o < end)
    while some(go):
        e = tl.load(web.out + o, mask=go, other=0)
        now = t + 1 + tl.load(a.age + e, mask=go, other=0).to(tl.int32)
        j = tl.load(a.target + e, mask=go, other=0)
        new = go & (now < w.T)
        new = new & (immune(c, w, m, table, p, j, t, new) == 0)
        events, soon = push(m, room, events, soon, now, e.to(tl.int64) * 8 + AWAY, now * 0.0, new)
        o += 1
        go = go & (o < end)
    day = i * 0 + t
    moves = (known == 0) | (day * 0 + tl.load(w.steady + p) == 0) | (day < before)
    go = ok & moves & (day + 1 < w.T)
    if some(go):
        key = clock(tl.load(w.key + p), CONTACTS, i, order, day, day * 0 + number + 1)
        age, channel, count = day * 0, day * 0, day * 0 + 1
        gap = exponential(key, count)
        place = gap * 0.0
        while some(go):
            age, channel, place, gap, count, go, found, j, j_age, j_channel, height = step(
                c, w, p, i, key, day, before, age, channel, place, gap, count, go, False
            )
            code = (j.to(tl.int64) * 64 + j_channel) * 8 + NEW
            events, soon = push(m, room, events, soon, t + 1 + j_age, code, height, found)
    return events, soon


@triton.jit
def respond(c, w, a, web, m, table, room, p, t, turn, listed, used, REGIONS: tl.constexpr):
    """Attempts of a day that behaviour lets infect in the run and not in the world, or the other way about; a lane takes a region."""
    r = tl.arange(0, REGIONS)
    change = tl.load(m.change + r, mask=r < c.R, other=0.0)
    n, more = (p * w.T + t) * c.R + r, change < 0.0
    go = change != 0.0
    cut = tl.load(web.cut + n, mask=go, other=0)
    low = tl.where(more, tl.load(web.bin_first + n, mask=go, other=0), cut)
    high = tl.where(more, cut, tl.load(web.bin_first + n + 1, mask=go, other=0))
    size = high - low
    go = go & (size > 0)
    kept = tl.exp(-tl.load(w.aversion + p) * change)
    response = tl.load(w.response + n, mask=go, other=0.5)
    limit = tl.where(more, response * (kept - 1.0) / tl.where(more, 1.0 - response, 1.0), kept)
    # turned, those that change are the first in place (more) or the last (fewer)
    first, last, search = low, high, go
    while some(search):
        middle = (first + last) // 2
        early = search & (tl.load(web.place + middle, mask=search, other=0.0) < 1.0 - turn)
        first = tl.where(early, middle + 1, first)
        last = tl.where(search & (early == 0), middle, last)
        search = search & (first < last)
    at, walked = first - low, r * 0
    size = tl.where(go, size, 1)
    while some(go):
        here = low + (at + tl.where(more, walked, size - 1 - walked)) % size
        place = tl.load(web.place + here, mask=go, other=0.0) + turn
        place -= tl.floor(place)
        go = go & tl.where(more, place < limit, place >= limit)
        e = tl.load(web.bins + here, mask=go, other=0)
        j = tl.load(a.target + e, mask=go, other=0)
        base, _ = base_of(m, table, j, go)
        hit = go & (base == AS_IN_RUN)
        hit = hit & (moved(c, w, m, table, p, tl.load(a.source + e, mask=hit, other=-1), hit) == 0)
        lost, used = lose(web, m, table, tl.load(a.spell + e, mask=hit, other=0), used, hit & (more == 0))
        listed, used = note(m, table, room, j, t, more, listed, used, (hit & more) | lost)
        walked += 1
        go = go & (walked < size)
    return listed, used
