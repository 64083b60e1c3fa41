"""The kernel that follows alternative worlds day by day on a GPU, one in each lane: `_compiled_removals.remove`; see `_triton_worlds`."""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

import triton
import triton.language as tl

from sim._removals_reference import CONTACT
from sim._triton_contacts import step
from sim._triton_people import clock, exponential, kernel, last_before, opened, some, spells_of
from sim._triton_web import time_of
from sim._triton_worlds import (
    AS_IN_RUN,
    AWAY,
    GIVEN,
    LANES,
    LOST,
    NEW,
    OF_OTHERS,
    base_of,
    consider,
    differ,
    enter,
    forget,
    immune,
    lose,
    moved,
    note,
    push,
    room_of,
    turn_of,
    turned,
)

CONTACTS = tl.constexpr(CONTACT)


@triton.jit
def leave(c, w, a, web, m, table, room, p, i, t, base, at, events, latest, used, ok):
    """From day t on, and from their spell `base` on, agents are not as in the run: what follows for others. `at`: their entries."""
    tl.store(m.last + at * LANES, last_before(c, w, p, i, t, ok), mask=ok)
    tl.store(m.infections + at * LANES, base, mask=ok)
    tl.store(m.base + at * LANES, base, mask=ok)
    s, stop = spells_of(c, w, p, i, ok)
    s += base
    o = tl.load(web.out_first + s, mask=ok, other=0)
    end = tl.load(web.out_first + stop, mask=ok, other=0)
    go = ok & (s < stop)
    while some(go):
        day = tl.load(w.day + s, mask=go, other=0)
        code = i.to(tl.int64) * 8 + GIVEN
        events, latest = push(m, room, events, latest, day, code, day * 0.0, go & (day > t))
        s += 1
        go = go & (s < stop)
    go = ok & (o < end)
    while some(go):
        support = tl.load(a.spell + tl.load(web.out + o, mask=go, other=0), mask=go, other=-1)
        lost = go & (support >= 0)
        other, _ = base_of(m, table, tl.load(w.agent + support, mask=lost, other=0), lost)
        last, used = lose(web, m, table, room, support, used, lost & (other == AS_IN_RUN))
        day = tl.load(w.day + support, mask=last, other=0)
        events, latest = push(m, room, events, latest, day, support.to(tl.int64) * 8 + LOST, day * 0.0, last)
        o += 1
        go = go & (o < end)
    o = tl.load(web.into_first + p * c.N + i, mask=ok, other=0)
    end = tl.load(web.into_first + p * c.N + i + 1, mask=ok, other=0)
    go = ok & (o < end)
    while some(go):
        e = tl.load(web.into + o, mask=go, other=0)
        day = time_of(w, a, e, go)
        events, latest = push(m, room, events, latest, day, e.to(tl.int64) * 8 + OF_OTHERS, day * 0.0, go & (day > t))
        o += 1
        go = go & (o < end)
    return events, latest, used


@triton.jit
def infect(c, w, a, web, m, table, room, p, i, t, at, number, events, latest, ok):
    """Infect agents that differ: their attempts move with them, and they make those that the rates of the time add."""
    order = tl.load(m.infections + at * LANES, mask=ok, other=0)
    tl.store(m.infections + at * LANES, order + 1, mask=ok)
    tl.store(m.last + at * LANES, t, mask=ok)
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
        events, latest = push(m, room, events, latest, now, e.to(tl.int64) * 8 + AWAY, now * 0.0, new)
        o += 1
        go = go & (o < end)
    moves = (known == 0) | (tl.load(w.steady + p) == 0) | (t < before)
    go = ok & moves & (t + 1 < w.T)
    if some(go):
        key = clock(tl.load(w.key + p), CONTACTS, i, order, t, number + 1)
        age, channel, count = t * 0, t * 0, t * 0 + 1
        gap = exponential(key, count)
        place = gap * 0.0
        while some(go):
            age, channel, place, gap, count, go, found, j, j_age, j_channel, height = step(
                c, w, p, i, key, t, before, age, channel, place, gap, count, go, False
            )
            code = (j.to(tl.int64) * 64 + j_channel) * 8 + NEW
            events, latest = push(m, room, events, latest, t + 1 + j_age, code, height, found)
    return events, latest


@triton.jit
def respond(c, w, a, web, m, table, room, p, t, turn, regions, listed, used, ok):
    """The change of memory on a day, and the attempts that behaviour lets infect in the run and not in the world, or the other way about."""
    k, some_left = regions * 0, ok & (regions > 0)
    while some(some_left):
        r = tl.load(m.touched + k * LANES, mask=some_left, other=0)
        forgetting = tl.load(w.forgetting + p)
        more = 100.0 * tl.load(m.more + r * LANES, mask=some_left, other=0.0) / tl.load(c.region_size + r)
        change = (1.0 - forgetting) * tl.load(m.change + r * LANES, mask=some_left, other=0.0) + forgetting * more
        tl.store(m.change + r * LANES, change, mask=some_left)
        tl.store(m.more + r * LANES, 0.0, mask=some_left)

        n, fewer = (p * w.T + t) * c.R + r, change < 0.0  # fewer cases, and more contacts
        go = some_left & (change != 0.0)
        cut = tl.load(web.cut + n, mask=go, other=0)
        low = tl.where(fewer, tl.load(web.bin_first + n, mask=go, other=0), cut)
        high = tl.where(fewer, cut, tl.load(web.bin_first + n + 1, mask=go, other=0))
        size = high - low
        go = go & (size > 0)
        kept = tl.exp(-tl.load(w.aversion + p) * change)
        response = tl.load(w.response + n, mask=go, other=0.5)
        limit = tl.where(fewer, response * (kept - 1.0) / tl.where(fewer, 1.0 - response, 1.0), kept)
        # turned, those that change are the first in place (fewer cases) or the last
        first, last, search = low, high, go
        while some(search):
            middle = (first + last) // 2
            early = search & (tl.load(web.place + middle, mask=search, other=0.0) < 1.0 - turn)
            first = tl.where(early, middle + 1, first)
            last = tl.where(search & (early == 0), middle, last)
            search = search & (first < last)
        at, walked = first - low, k * 0
        size = tl.where(go, size, 1)
        while some(go):
            here = low + (at + tl.where(fewer, walked, size - 1 - walked)) % size
            place = tl.load(web.place + here, mask=go, other=0.0) + turn
            place -= tl.floor(place)
            go = go & tl.where(fewer, place < limit, place >= limit)
            e = tl.load(web.bins + here, mask=go, other=0)
            j = tl.load(a.target + e, mask=go, other=0)
            base, _ = base_of(m, table, j, go)
            hit = go & (base == AS_IN_RUN)
            hit = hit & (moved(c, w, m, table, p, tl.load(a.source + e, mask=hit, other=-1), hit) == 0)
            lost, used = lose(web, m, table, room, tl.load(a.spell + e, mask=hit, other=0), used, hit & (fewer == 0))
            listed, used = note(m, table, room, j, t, fewer, listed, used, (hit & fewer) | lost)
            walked += 1
            go = go & (walked < size)
        k += 1
        some_left = some_left & (k < regions)
    return listed, used


@triton.jit
def follow(c, w, a, web, m, table, room, p, t, turn, cotangent, delta, entries, regions, listed, used, ok,
           ENTRIES: tl.constexpr):  # fmt: skip
    """Events of a day: who is to be looked at."""
    event = tl.load(m.head + t * LANES, mask=ok, other=0)
    tl.store(m.head + t * LANES, 0, mask=ok)
    go = ok & (event > 0)
    while some(go):
        at = (event - 1) * LANES
        code = tl.load(m.code + at, mask=go, other=0)
        n_of, kind = code >> 3, (code & 7).to(tl.int32)
        lost, given, new = go & (kind == LOST), go & (kind == GIVEN), go & (kind == NEW)
        away = go & (kind == OF_OTHERS)
        old = away | (go & (kind == AWAY))
        e = tl.where(old, n_of, 0).to(tl.int32)
        old = old & (moved(c, w, m, table, p, tl.load(a.source + e, mask=away, other=-1), away) == 0)
        j = tl.load(a.target + e, mask=old, other=0)
        j = tl.where(new, (n_of // 64).to(tl.int32), tl.where(given, n_of.to(tl.int32), j))
        spell = tl.where(lost, n_of, 0).to(tl.int32)
        j = tl.where(lost, tl.load(w.agent + spell, mask=lost, other=0), j)
        channel = tl.load(a.channel + e, mask=old, other=0).to(tl.int32)
        channel = tl.where(new, (n_of % 64).to(tl.int32), channel)
        height = turned(c, w, a, web, p, turn, e, j, old)
        height = tl.where(new, tl.load(m.height + at, mask=new, other=0.0), height)
        infects = consider(c, w, m, table, p, t, j, channel, height, old | new)
        base, _ = base_of(m, table, j, lost)
        lost = lost & (base == AS_IN_RUN)
        listed, used = note(m, table, room, j, t, infects, listed, used, infects | lost)
        delta, entries, regions = differ(c, w, m, room, p, j, t, cotangent, delta, entries, regions, given, 1, ENTRIES)
        event = tl.load(m.next + at, mask=go, other=0)
        go = go & (event > 0)
    return delta, entries, regions, listed, used


@triton.jit
def conclude(c, w, a, web, m, table, room, p, t, number, cotangent, delta, entries, regions, events, latest, listed, used,
             ENTRIES: tl.constexpr):  # fmt: skip
    """The end of a day: of the agents listed, who differs from now on, and who is infected."""
    n, ok = listed * 0, listed > 0
    while some(ok):
        at = tl.load(m.today + n * LANES, mask=ok, other=0)
        i = tl.load(m.key + at * LANES, mask=ok, other=1) - 1
        infects = ok & ((tl.load(m.mark + at * LANES, mask=ok, other=0) & 1) == 1)
        first, stop = spells_of(c, w, p, i, ok)
        as_in_run = ok & (tl.load(m.base + at * LANES, mask=ok, other=0) == AS_IN_RUN)
        s, go = first, as_in_run & (first < stop)
        while some(go):
            go = go & (tl.load(w.day + s, mask=go, other=0) < t)
            s += go.to(tl.int32)
            go = go & (s < stop)
        in_run = as_in_run & (s < stop)
        in_run = in_run & (tl.load(w.day + s, mask=in_run, other=0) == t)
        missing = in_run & (infects == 0)
        new = (as_in_run & infects & (in_run == 0)) | missing
        events, latest, used = leave(c, w, a, web, m, table, room, p, i, t, s - first, at, events, latest, used, new)
        delta, entries, regions = differ(
            c, w, m, room, p, i, t, cotangent, delta, entries, regions, missing, 1, ENTRIES
        )
        infects = infects & ((as_in_run == 0) | new)
        events, latest = infect(c, w, a, web, m, table, room, p, i, t, at, number, events, latest, infects)
        delta, entries, regions = differ(
            c, w, m, room, p, i, t, cotangent, delta, entries, regions, infects, -1, ENTRIES
        )
        n += 1
        ok = ok & (n < tl.minimum(listed, room))
    return delta, entries, regions, events, latest, used


@triton.jit
def finish(m, x, room, entries, entry, found, capacity, lost, done):
    """Write the entries of worlds that end; 2 where they find no room."""
    ok = done & (lost == 0)
    start = tl.atomic_add(found + entries * 0, entries.to(tl.int64), mask=ok, sem="relaxed")
    fits = ok & (start + entries <= capacity)
    n, go = entries * 0, fits & (entries > 0)
    while some(go):
        value = tl.load(m.entry + n * LANES, mask=go, other=0)
        tl.store(entry + start + n, (x.to(tl.int64) << 32) | value, mask=go)
        n += 1
        go = go & (n < entries)
    return tl.where(ok & (fits == 0), 2, lost)


@kernel
def worlds(c, w, a, web, m, queue, number, table, room, cotangent, out, full, entry, found, capacity, taken,
           ENTRIES: tl.constexpr):  # fmt: skip
    """What the run has more than the world without each spell of a queue, by a cotangent `[P, T * G]`, into `out` `[M]`; or as ENTRIES.

    An entry is `spell << 32 | cell << 1 | whether the world has it`; `found` `[1]` counts those of all worlds, and `entry` has room for
    `capacity`. `full` `[number]`: 1 where a world outgrew its room, 2 where its entries found none. `taken` `[1]`: the queue's next. A lane
    whose world ends takes the next of the queue. Grid: programs.
    """
    c, w = opened(c, w)
    program, lane = tl.program_id(0).to(tl.int64), tl.arange(0, LANES)
    m = room_of(m, table, room, w.T, c.R, program, lane)
    q, live = lane * 0, lane >= 0
    begins = live
    x, t, own, removed, latest = lane * 0, lane * 0, lane * 0, lane * 0, lane * 0
    p, turn, delta, behaves = lane.to(tl.int64) * 0, lane * 0.0, lane.to(tl.float64) * 0.0, lane < 0
    turn = turn.to(tl.float64)
    entries, events, used, regions = lane * 0, lane * 0, lane * 0, lane * 0
    while some(live):
        if some(begins):
            q = tl.where(begins, tl.atomic_add(taken + lane * 0, 1, mask=begins, sem="relaxed"), q)
            begins = begins & (q < number)
            live = (live & (q < number)) | begins
            x = tl.where(begins, tl.load(queue + q, mask=begins, other=0), x)
            p = tl.where(begins, tl.load(w.particle + x, mask=begins, other=0).to(tl.int64), p)
            removed = tl.where(begins, tl.load(w.agent + x, mask=begins, other=0), removed)
            t = tl.where(begins, tl.load(w.day + x, mask=begins, other=0), t)
            own = tl.where(begins, x - tl.load(w.first + p * c.N, mask=begins, other=0), own)
            order = x - tl.load(w.first + p * c.N + removed, mask=begins, other=0)
            turn = tl.where(begins, turn_of(w, p, removed, order), turn)
            behaves = (tl.load(w.aversion + p) > 0.0) & (tl.load(w.forgetting + p) > 0.0)
            delta, latest = tl.where(begins, 0.0, delta), tl.where(begins, t, latest)
            entries, events = tl.where(begins, 0, entries), tl.where(begins, 0, events)
            used, regions = tl.where(begins, 0, used), tl.where(begins, 0, regions)
            at, used, begins = enter(m, table, room, removed + 1, used, begins)
            events, latest, used = leave(
                c, w, a, web, m, table, room, p, removed, t, order, at, events, latest, used, begins
            )
            delta, entries, regions = differ(
                c, w, m, room, p, removed, t, cotangent, delta, entries, regions, begins, 1, ENTRIES
            )
        t += live.to(tl.int32)
        idle = live & (behaves == 0) & (t < latest)
        while some(idle):
            idle = idle & (tl.load(m.head + t * LANES, mask=idle, other=1) == 0)
            t += idle.to(tl.int32)
            idle = idle & (t < latest)
        today, listed = live & (t < w.T) & (behaves | (t <= latest)), lane * 0
        if some(today & behaves):
            listed, used = respond(c, w, a, web, m, table, room, p, t, turn, regions, listed, used, today & behaves)
        delta, entries, regions, listed, used = follow(
            c, w, a, web, m, table, room, p, t, turn, cotangent, delta, entries, regions, listed, used, today, ENTRIES
        )
        delta, entries, regions, events, latest, used = conclude(
            c, w, a, web, m, table, room, p, t, own, cotangent, delta, entries, regions, events, latest, listed, used, ENTRIES
        )  # fmt: skip
        over = (events > room) | (listed > room) | (used > room) | (entries > 2 * room)
        done = live & (over | (t >= w.T - 1) | ((behaves == 0) & (t >= latest)))
        if some(done):
            lost = over.to(tl.int32)
            if ENTRIES:
                lost = finish(m, x, room, entries, entry, found, capacity, lost, done)
            else:
                tl.store(out + x, delta, mask=done)
            tl.store(full + q, lost, mask=done)
            forget(c, m, t, latest, used, regions, room, done)
        begins = done
    # every lane has taken one more than there are
