"""The kernel that follows alternative worlds day by day on a GPU: `_compiled_removals.remove`; see `_triton_worlds`."""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

import triton
import triton.language as tl

from sim._triton_people import clock, kernel, opened, some, spells_of, unit
from sim._triton_worlds import (
    AS_IN_RUN,
    AWAY,
    GIVEN,
    LOST,
    NEW,
    OF_OTHERS,
    TURNED,
    Room,
    base_of,
    consider,
    enter,
    infect,
    leave,
    moved,
    note,
    respond,
    turned,
)


@triton.jit
def room_of(m, table, room, R, program):
    """A program's part of the memory."""
    wide, narrow = program * table, program * room
    return Room(
        m.key + program * (table + 1), m.base + wide, m.last + wide, m.infections + wide, m.mark + wide, m.today + narrow,
        m.when + narrow, m.code + narrow, m.height + narrow, m.entry + 2 * narrow, m.more + program * R,
        m.change + program * R,
    )  # fmt: skip


@triton.jit
def clear(m, table, R, BLOCK: tl.constexpr, REGIONS: tl.constexpr):
    """Forget the world before."""
    for n in range(0, table + 1, BLOCK):
        at = n + tl.arange(0, BLOCK)
        tl.store(m.key + at, 0, mask=at <= table)
        tl.store(m.mark + at, 0, mask=at < table)
        tl.store(m.base + at, AS_IN_RUN, mask=at < table)
        tl.store(m.infections + at, 0, mask=at < table)
    r = tl.arange(0, REGIONS)
    tl.store(m.more + r, 0.0, mask=r < R)
    tl.store(m.change + r, 0.0, mask=r < R)
    tl.debug_barrier()


@triton.jit
def remember(c, w, m, p, REGIONS: tl.constexpr):
    """The change of memory on the next day."""
    tl.debug_barrier()
    r, forgetting = tl.arange(0, REGIONS), tl.load(w.forgetting + p)
    ok = r < c.R
    share = 100.0 * tl.load(m.more + r, mask=ok, other=0.0) / tl.load(c.region_size + r, mask=ok, other=1.0)
    change = tl.load(m.change + r, mask=ok, other=0.0)
    tl.store(m.change + r, (1.0 - forgetting) * change + forgetting * share, mask=ok)
    tl.store(m.more + r, 0.0, mask=ok)
    tl.debug_barrier()


@triton.jit
def differ(c, w, m, p, i, t, sign, cotangent, delta, entries, room, ok, ENTRIES: tl.constexpr):
    """Infections that the run has more (sign 1) or the world has (-1): by a cotangent, or as ENTRIES."""
    g = tl.load(c.group + i, mask=ok, other=0)
    tl.atomic_add(m.more + tl.load(c.region_of_group + g, mask=ok, other=0), -1.0 * sign, mask=ok, sem="relaxed")
    cell = t * c.G + g
    if ENTRIES:
        at = entries + tl.cumsum(ok.to(tl.int32), 0) - 1
        tl.store(m.entry + at, 2 * cell + (sign < 0).to(tl.int32), mask=ok & (at < 2 * room))
        entries += tl.sum(ok.to(tl.int32), 0)
    else:
        delta += sign * tl.load(cotangent + p * w.T * c.G + cell, mask=ok, other=0.0)
    return delta, entries


@triton.jit
def follow(c, w, a, web, m, table, room, p, t, turn, cotangent, delta, entries, events, listed, used,
           ENTRIES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Events of a day: who is to be looked at; and the first day with an event after it."""
    soon = AS_IN_RUN
    for n in range(0, tl.minimum(events, room), BLOCK):
        at = n + tl.arange(0, BLOCK)
        inside = at < tl.minimum(events, room)
        when = tl.load(m.when + at, mask=inside, other=-1)
        soon = tl.minimum(soon, tl.min(tl.where(when > t, when, AS_IN_RUN), 0))
        ok = inside & (when == t)
        if some(ok):
            code = tl.load(m.code + at, mask=ok, other=0)
            n_of, kind = code >> 3, (code & 7).to(tl.int32)
            lost, given, new = ok & (kind == LOST), ok & (kind == GIVEN), ok & (kind == NEW)
            old = ok & ((kind == AWAY) | (kind == OF_OTHERS))
            e = tl.where(old, n_of, 0).to(tl.int32)
            away = ok & (kind == OF_OTHERS)
            old = old & (moved(c, w, m, table, p, tl.load(a.source + e, mask=away, other=-1), away) == 0)
            j = tl.load(a.target + e, mask=old, other=0)
            j = tl.where(new, (n_of // 64).to(tl.int32), tl.where(given, n_of.to(tl.int32), j))
            spell = tl.where(lost, n_of, 0).to(tl.int32)
            j = tl.where(lost, tl.load(w.agent + spell, mask=lost, other=0), j)
            channel = tl.load(a.channel + e, mask=old, other=0).to(tl.int32)
            channel = tl.where(new, (n_of % 64).to(tl.int32), channel)
            height = turned(c, w, a, web, p, turn, e, t, j, old)
            height = tl.where(new, tl.load(m.height + at, mask=new, other=0.0), height)
            infects = consider(c, w, m, table, p, t, j, channel, height, old | new)
            base, _ = base_of(m, table, j, lost)
            lost = lost & (base == AS_IN_RUN)
            listed, used = note(m, table, room, j, t, infects, listed, used, infects | lost)
            delta, entries = differ(c, w, m, p, j, t, j * 0 + 1, cotangent, delta, entries, room, given, ENTRIES)
    return delta, entries, soon, listed, used


@triton.jit
def conclude(c, w, a, web, m, table, room, p, t, number, cotangent, delta, entries, events, soon, listed, used,
             ENTRIES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """The end of a day: of the agents listed, who differs from now on, and who is infected."""
    tl.debug_barrier()
    for n in range(0, tl.minimum(listed, room), BLOCK):
        lane = n + tl.arange(0, BLOCK)
        ok = lane < tl.minimum(listed, room)
        at = tl.load(m.today + lane, mask=ok, other=0)
        i = tl.load(m.key + at, mask=ok, other=1) - 1
        infects = ok & ((tl.load(m.mark + at, mask=ok, other=0) & 1) == 1)
        first, stop = spells_of(c, w, p, i, ok)
        base = tl.load(m.base + at, mask=ok, other=0)
        as_in_run = ok & (base == AS_IN_RUN)
        s, go = first, as_in_run & (first < stop)
        while some(go):
            go = go & (tl.load(w.day + s, mask=go, other=0) < t)
            s += go.to(tl.int32)
            go = go & (s < stop)
        in_run = as_in_run & (s < stop)
        in_run = in_run & (tl.load(w.day + s, mask=in_run, other=0) == t)
        missing = in_run & (infects == 0)
        new = (as_in_run & infects & (in_run == 0)) | missing
        events, soon, used = leave(c, w, a, web, m, table, room, p, i, t, s - first, at, events, soon, used, new)
        delta, entries = differ(c, w, m, p, i, t, i * 0 + 1, cotangent, delta, entries, room, missing, ENTRIES)
        infects = infects & ((as_in_run == 0) | new)
        events, soon = infect(c, w, a, web, m, table, room, p, i, t, at, number, events, soon, infects)
        delta, entries = differ(c, w, m, p, i, t, i * 0 - 1, cotangent, delta, entries, room, infects, ENTRIES)
    return delta, entries, events, soon, used


@kernel
def worlds(c, w, a, web, m, queue, number, table, room, cotangent, out, full, entry, found, capacity,
           ENTRIES: tl.constexpr, BLOCK: tl.constexpr, REGIONS: tl.constexpr):  # fmt: skip
    """What the run has more than the world without each spell of a queue, by a cotangent `[P, T * G]`, into `out` `[M]`; or as ENTRIES.

    An entry is `spell << 32 | cell << 1 | whether the world has it`; `found` `[1]` counts those of all worlds, and `entry` has room for
    `capacity`. `full` `[number]`: 1 where a world outgrew its room, 2 where its entries found none. Grid: programs.
    """
    c, w = opened(c, w)
    m = room_of(m, table, room, c.R, tl.program_id(0).to(tl.int64))
    lanes = tl.arange(0, BLOCK)
    for q in range(tl.program_id(0), number, tl.num_programs(0)):
        x = tl.load(queue + q)
        p, removed, t = tl.load(w.particle + x).to(tl.int64), tl.load(w.agent + x), tl.load(w.day + x)
        own, order = x - tl.load(w.first + p * c.N), x - tl.load(w.first + p * c.N + removed)
        turn = unit(clock(tl.load(w.key + p), TURNED, removed, order, order * 0, order * 0), order * 0 + 1)
        behaves = (tl.load(w.aversion + p) > 0.0) & (tl.load(w.forgetting + p) > 0.0)
        clear(m, table, c.R, BLOCK, REGIONS)

        ok, i = lanes == 0, lanes * 0 + removed
        delta, entries, events, soon, used = tl.zeros([BLOCK], tl.float64), 0, 0, AS_IN_RUN, 0
        at, used = enter(m, table, i + 1, used, ok)
        events, soon, used = leave(c, w, a, web, m, table, room, p, i, t, lanes * 0 + order, at, events, soon, used, ok)
        delta, entries = differ(c, w, m, p, i, t, i * 0 + 1, cotangent, delta, entries, room, ok, ENTRIES)
        t = tl.where(behaves, t + 1, soon)
        lost = 0
        while (t < w.T) & (lost == 0):
            tl.debug_barrier()
            listed = 0
            if behaves:
                remember(c, w, m, p, REGIONS)
                listed, used = respond(c, w, a, web, m, table, room, p, t, turn, listed, used, REGIONS)
            delta, entries, soon, listed, used = follow(
                c,
                w,
                a,
                web,
                m,
                table,
                room,
                p,
                t,
                turn,
                cotangent,
                delta,
                entries,
                events,
                listed,
                used,
                ENTRIES,
                BLOCK,
            )
            delta, entries, events, soon, used = conclude(
                c, w, a, web, m, table, room, p, t, own, cotangent, delta, entries, events, soon, listed, used,
                ENTRIES, BLOCK,
            )  # fmt: skip
            over = (events > room) | (listed > room) | (entries > 2 * room) | (used + BLOCK >= table)
            lost = (over | (used + REGIONS >= table)).to(tl.int32)
            t = tl.where(behaves, t + 1, soon)
        if ENTRIES:
            if lost == 0:
                start = tl.atomic_add(found, entries, sem="relaxed")
                tl.debug_barrier()
                if start + entries <= capacity:
                    for n in range(0, entries, BLOCK):
                        value = tl.load(m.entry + n + lanes, mask=n + lanes < entries, other=0)
                        into = entry + start + n + lanes
                        tl.store(into, (x.to(tl.int64) << 32) | value, mask=n + lanes < entries)
                else:
                    lost = 2
        else:
            tl.store(out + x, tl.sum(delta, 0))
        tl.store(full + q, lost)
        tl.debug_barrier()
