"""What an alternative world on a GPU keeps apart from the run: `_compiled_removals.Work`, one world in each lane of a program.

Most worlds have few events, so each lane goes through a world of its own, as a thread of the CPU
does. What a world has apart from the run lies in global memory: events in lists by day, and a table (open addressing) of agents that
differ or are looked at. Entry n of all lanes of a program lie side by side. A world that outgrows its room is left, marked, and followed
anew with more room.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from sim._compiled_removals import CHECK, FRESH, FROM_OTHERS, IN_RUN, MOVED
from sim._removals_reference import TURN
from sim._triton_people import after, clock, last_before, level, region_of, some, spells_of, unit
from sim._triton_web import time_of

WORLDS = 32
"""Worlds of a program: the lanes of one warp, so that lanes need not wait for one another."""
LANES = tl.constexpr(WORLDS)
LOST, OF_OTHERS, AWAY, NEW, GIVEN = (tl.constexpr(x) for x in (CHECK, FROM_OTHERS, MOVED, FRESH, IN_RUN))
TURNED = tl.constexpr(TURN)
AS_IN_RUN = tl.constexpr(2**31 - 1)


class Room(NamedTuple):
    """Memory of the worlds, `[programs, size, LANES]`; sizes are `room` of events, `table` (a power of two, at least twice `room`), T and R.

    Where a world begins, `key`, `head`, `flag`, `more` and `change` are zero.

    Attributes:
        key: `[table]` 0, or 1 + an agent, or -1 - a spell.
        base, last, infections: `[table]` of an agent, as `_compiled_removals.Work`; base is AS_IN_RUN unless it differs. Of a spell,
            infections counts the attempts it lost. mark: `[table]` 2 + twice the last day on which an agent was listed, plus 1 where
            something infects it.
        filled: `[room]` entries of the table. today: `[room]` entries of agents listed today.
        head: `[T]` 1 + first event of each day; next, code, height: `[room]` events.
        touched: `[R]` regions where something differs, flag: `[R]` whether it does. more, change: `[R]` as `Work`.
        entry: `[2 * room]` entries of a world, for forward mode.
    """

    key: Any
    base: Any
    last: Any
    infections: Any
    mark: Any
    filled: Any
    today: Any
    head: Any
    next: Any
    code: Any
    height: Any
    touched: Any
    flag: Any
    more: Any
    change: Any
    entry: Any


@triton.jit
def room_of(m, table, room, T, R, program, lane):
    """The part of the memory of each lane of a program."""
    wide, narrow, days, regions = program * table, program * room, program * T, program * R
    wide, narrow, days, regions = (
        wide * LANES + lane,
        narrow * LANES + lane,
        days * LANES + lane,
        regions * LANES + lane,
    )
    return Room(
        m.key + wide, m.base + wide, m.last + wide, m.infections + wide, m.mark + wide, m.filled + narrow,
        m.today + narrow, m.head + days, m.next + narrow, m.code + narrow, m.height + narrow, m.touched + regions,
        m.flag + regions, m.more + regions, m.change + regions, m.entry + 2 * program * room * LANES + lane,
    )  # fmt: skip


@triton.jit
def look_up(m, table, key, ok):
    """Entries of keys, and which there are."""
    x = key.to(tl.uint32) * 0x9E3779B1
    at = ((x ^ (x >> 15)) & (table - 1).to(tl.uint32)).to(tl.int32)
    found = tl.load(m.key + at * LANES, mask=ok, other=0)
    go = ok & (found != key) & (found != 0)
    while some(go):
        at = tl.where(go, (at + 1) & (table - 1), at)
        found = tl.where(go, tl.load(m.key + at * LANES, mask=go, other=0), found)
        go = go & (found != key) & (found != 0)
    return at, ok & (found == key)


@triton.jit
def enter(m, table, room, key, used, ok):
    """Entries of keys, made where there are none; how many are used or would be; and the lanes that found room."""
    at, there = look_up(m, table, key, ok)
    new = ok & (there == 0)
    fits = new & (used < room)
    tl.store(m.key + at * LANES, key, mask=fits)
    tl.store(m.base + at * LANES, AS_IN_RUN, mask=fits)
    tl.store(m.infections + at * LANES, 0, mask=fits)
    tl.store(m.mark + at * LANES, 0, mask=fits)
    tl.store(m.filled + used * LANES, at, mask=fits)
    return at, used + new.to(tl.int32), there | fits


@triton.jit
def base_of(m, table, i, ok):
    """First spell of an agent that is not as in the run (its order), or AS_IN_RUN; and the agent's entry."""
    at, there = look_up(m, table, i + 1, ok)
    return tl.load(m.base + at * LANES, mask=there, other=AS_IN_RUN), at


@triton.jit
def moved(c, w, m, table, p, s, ok):
    """Whether a spell is no longer as in the run."""
    ok = ok & (s >= 0)
    i = tl.load(w.agent + s, mask=ok, other=0)
    base, _ = base_of(m, table, i, ok)
    return ok & (s - tl.load(w.first + p * c.N + i, mask=ok, other=0) >= base)


@triton.jit
def push(m, room, events, latest, t, code, height, ok):
    """Enter events of a day; their number, and the latest day of them. What finds no room counts, and is lost."""
    fits, at = ok & (events < room), events * LANES
    tl.store(m.next + at, tl.load(m.head + t * LANES, mask=fits, other=0), mask=fits)
    tl.store(m.code + at, code, mask=fits)
    tl.store(m.height + at, height, mask=fits)
    tl.store(m.head + t * LANES, events + 1, mask=fits)
    return events + ok.to(tl.int32), tl.maximum(latest, tl.where(fits, t, 0))


@triton.jit
def note(m, table, room, i, t, infects, listed, used, ok):
    """List agents for the day's end, each once."""
    at, used, ok = enter(m, table, room, i + 1, used, ok)
    old, mark = tl.load(m.mark + at * LANES, mask=ok, other=0), 2 * t + 2 + infects.to(tl.int32)
    new = ok & (old < 2 * t + 2)
    tl.store(m.mark + at * LANES, tl.maximum(old, mark), mask=ok)
    tl.store(m.today + listed * LANES, at, mask=new & (listed < room))
    return listed + new.to(tl.int32), used


@triton.jit
def lose(web, m, table, room, s, used, ok):
    """Take away one of the attempts that infected in spells; of which it was the last."""
    number = tl.load(web.supports + s, mask=ok, other=0)
    several, last = ok & (number > 1), ok & (number == 1)
    if some(several):
        at, used, several = enter(m, table, room, -1 - s, used, several)
        lost = tl.load(m.infections + at * LANES, mask=several, other=0) + 1
        tl.store(m.infections + at * LANES, lost, mask=several)
        last = last | (several & (lost == number))
    return last, used


@triton.jit
def turned(c, w, a, web, p, turn, e, j, ok):
    """Height of attempts in this world; whether they infected is of the day that they have in the run."""
    t, height = time_of(w, a, e, ok), tl.load(a.height + e, mask=ok, other=0.0)
    share = tl.load(web.share + e, mask=ok, other=-1.0)
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
def turn_of(w, p, removed, order):
    """By how much heights are turned in the world without an agent's infection."""
    return unit(clock(tl.load(w.key + p), TURNED, removed, order, order * 0, order * 0), order * 0 + 1)


@triton.jit
def consider(c, w, m, table, p, t, j, channel, height, ok):
    """Which attempts infect their agents, if these are not infected yet."""
    base, at = base_of(m, table, j, ok)
    apart = ok & (base != AS_IN_RUN)
    last = tl.load(m.last + at * LANES, mask=apart, other=-1)
    in_run = last_before(c, w, p, j, t, ok & (apart == 0))
    last = tl.where(apart, last, in_run)
    relative, r = after(c, w, p, t, j, last, ok), region_of(c, j, ok)
    ok = ok & (relative > 0.0)
    change = tl.load(m.change + r * LANES, mask=ok, other=0.0)
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
        last = tl.load(m.last + at * LANES, mask=apart, other=-1)
        s, stop = spells_of(c, w, p, j, ok)
        day = tl.load(w.day + s, mask=ok & (s < stop), other=AS_IN_RUN)
        out = ok & tl.where(apart, last >= 0, day < t)
    return out


@triton.jit
def differ(c, w, m, room, p, i, t, cotangent, delta, entries, regions, ok, SIGN: tl.constexpr, ENTRIES: tl.constexpr):
    """Infections that the run has more (SIGN 1) or the world has (-1): by a cotangent, or as ENTRIES; and regions that differ."""
    g = tl.load(c.group + i, mask=ok, other=0)
    r = tl.load(c.region_of_group + g, mask=ok, other=0)
    tl.store(m.more + r * LANES, tl.load(m.more + r * LANES, mask=ok, other=0.0) - SIGN, mask=ok)
    new = ok & (tl.load(m.flag + r * LANES, mask=ok, other=1) == 0)
    tl.store(m.flag + r * LANES, 1, mask=new)
    tl.store(m.touched + regions * LANES, r, mask=new)
    cell = t.to(tl.int64) * c.G + g
    if ENTRIES:
        tl.store(m.entry + entries * LANES, 2 * cell + (SIGN < 0), mask=ok & (entries < 2 * room))
        entries += ok.to(tl.int32)
    else:
        delta += SIGN * tl.load(cotangent + p * w.T * c.G + cell, mask=ok, other=0.0)
    return delta, entries, regions + new.to(tl.int32)


@triton.jit
def forget(c, m, t, latest, used, regions, room, ok):
    """Make the memory of worlds that end zero again, where a world begins with zeros."""
    n, go = used * 0, ok & (used > 0)
    while some(go):
        tl.store(m.key + tl.load(m.filled + n * LANES, mask=go, other=0) * LANES, 0, mask=go)
        n += 1
        go = go & (n < tl.minimum(used, room))
    n, go = used * 0, ok & (regions > 0)
    while some(go):
        r = tl.load(m.touched + n * LANES, mask=go, other=0) * LANES
        tl.store(m.flag + r, 0, mask=go)
        tl.store(m.more + r, 0.0, mask=go)
        tl.store(m.change + r, 0.0, mask=go)
        n += 1
        go = go & (n < regions)
    go = ok & (t <= latest)
    while some(go):
        tl.store(m.head + t * LANES, 0, mask=go)
        t += 1
        go = go & (t <= latest)
