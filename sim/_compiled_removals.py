"""The world without one infection in compiled loops: `_removals_reference.replay`, following only those for whom it differs.

An agent is as in the run until something about it changes: all attempts that infected it are gone, or one infects it that did not. From
then on its infections are its own, and the attempts that it makes move with them. Days are walked through a list of attempts by day;
where behaviour responds, the day's attempts are looked up whose limit lies between the memory of the run and that of the world.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim._compiled_attempts import NO_SPELL, Attempts, contacts, empty
from sim._compiled_day import jit, lean
from sim._compiled_people import Past, People, after, clock, last_before, level, unit
from sim._compiled_web import Web, time_of
from sim._removals_reference import TURN

CHECK, FROM_OTHERS, MOVED, FRESH, IN_RUN = 0, 1, 2, 3, 4
"""What an event is about: a spell that lost an attempt, an attempt on a changed agent, one of a changed agent, a new one, an infection of
the run of a changed agent."""
EVENTS, CHANGED, UNDO, ENTRIES, TODAY, FULL, REGIONS, LATEST = range(8)
"""Entries of `Work.number`."""


class Work(NamedTuple):
    """Working memory of a thread.

    Attributes:
        number: `[8]`, see above. state: `[N]` 0, or 1 + which of the changed. mark: `[N]` 1: listed today, 2: with an attempt that infects.
        left: `[M]` attempts left that infect. head: `[T]` first event of each day; code, height, next: events.
        agent, last, infections, base: of the changed: last infection, how many, and the first spell that is no longer as in the run.
        undo: spells whose `left` was changed. cell, sign: infections that the run has more (1) or less (-1), as day * G + group.
        today: agents. more: `[R]` infections of the day in the world less those in the run; change: `[R]` of the memory.
        touched: `[R]` regions where something differs.
        made: room for contacts. turn: `[1]` by how much heights are turned in this world.
    """

    number: np.ndarray
    state: np.ndarray
    mark: np.ndarray
    left: np.ndarray
    head: np.ndarray
    code: np.ndarray
    height: np.ndarray
    next: np.ndarray
    agent: np.ndarray
    last: np.ndarray
    infections: np.ndarray
    base: np.ndarray
    undo: np.ndarray
    cell: np.ndarray
    sign: np.ndarray
    today: np.ndarray
    more: np.ndarray
    change: np.ndarray
    touched: np.ndarray
    made: Attempts
    turn: np.ndarray


@jit
def new_work(c: People, w: Past, web: Web, size: int) -> Work:
    """Working memory with room for `size` events."""
    N, T, R = len(c.group), len(w.importation), len(c.region_size)
    return Work(
        np.zeros(8, dtype=np.int64),
        np.zeros(N, dtype=np.int32),
        np.zeros(N, dtype=np.int8),
        web.supports.copy(),
        np.full(T, -1, dtype=np.int64),
        np.empty(size, dtype=np.int64),
        np.empty(size),
        np.empty(size, dtype=np.int64),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.int32),
        np.empty(2 * size, dtype=np.int32),
        np.empty(2 * size, dtype=np.int8),
        np.empty(size, dtype=np.int32),
        np.zeros(R),
        np.zeros(R),
        np.zeros(R, dtype=np.int32),
        empty(size),
        np.zeros(1),
    )


@lean
def full(m: Work, used: int, room: int) -> bool:
    """Whether a list has no room left; then the world is begun anew with more."""
    if used >= room:
        m.number[FULL] = 1
        return True
    return False


@lean
def push(m: Work, t: int, code: int, height: float) -> None:
    """Enter an event of a day."""
    if full(m, m.number[EVENTS], len(m.code)):
        return
    e = m.number[EVENTS]
    m.number[EVENTS] += 1
    m.code[e], m.height[e], m.next[e] = code, height, m.head[t]
    m.head[t] = e
    m.number[LATEST] = max(m.number[LATEST], t)


@lean
def enter(c: People, m: Work, t: int, i: int, sign: int) -> None:
    """Note an infection that the run has more (1) or the world has (-1)."""
    if full(m, m.number[ENTRIES], len(m.cell)):
        return
    n = m.number[ENTRIES]
    m.number[ENTRIES] += 1
    m.cell[n], m.sign[n] = t * len(c.group_size) + c.group[i], sign
    m.more[c.region_of_group[c.group[i]]] -= sign


@lean
def note(m: Work, i: int, infects: bool) -> None:
    """List an agent for the day's end."""
    if m.mark[i] == 0:
        if full(m, m.number[TODAY], len(m.today)):
            return
        m.today[m.number[TODAY]] = i
        m.number[TODAY] += 1
        m.mark[i] = 1
    if infects:
        m.mark[i] = 2


@lean
def lose(m: Work, s: int) -> bool:
    """Take away one of the attempts that infected in spell s; whether it was the last."""
    if full(m, m.number[UNDO], len(m.undo)):
        return False
    m.left[s] -= 1
    m.undo[m.number[UNDO]] = s
    m.number[UNDO] += 1
    return bool(m.left[s] == 0)


@lean
def moved(w: Past, m: Work, s: int) -> bool:
    """Whether a spell is no longer as in the run."""
    if s < 0:
        return False
    i = w.agent[s]
    return m.state[i] > 0 and s - w.first[i] >= m.base[m.state[i] - 1]


@lean
def diverge(c: People, w: Past, a: Attempts, web: Web, m: Work, i: int, t: int, base: int, last: int) -> None:
    """From day t on, and from its spell `base` on, an agent is not as in the run."""
    if full(m, m.number[CHANGED], len(m.agent)):
        return
    n = m.number[CHANGED]
    m.number[CHANGED] += 1
    m.state[i], m.agent[n], m.last[n], m.infections[n], m.base[n] = n + 1, i, last, base, base
    for s in range(w.first[i] + base, w.first[i + 1]):
        if w.day[s] > t:
            push(m, w.day[s], i * 8 + IN_RUN, 0.0)
        for o in range(web.out_first[s], web.out_first[s + 1]):
            e = web.out[o]
            support = a.spell[e]
            if support != NO_SPELL and m.state[w.agent[support]] == 0 and lose(m, support):
                push(m, w.day[support], support * 8 + CHECK, 0.0)
    for o in range(web.into_first[i], web.into_first[i + 1]):
        e = web.into[o]
        later = time_of(w, a, e)
        if later > t:
            push(m, later, e * 8 + FROM_OTHERS, 0.0)


@lean
def immune(w: Past, m: Work, j: int, t: int) -> bool:
    """Whether nothing can infect an agent after day t: it was infected before that day, and nobody is infected again."""
    if w.reinfection.shape[1] > 0:
        return False
    if m.state[j] > 0:
        return m.last[m.state[j] - 1] >= 0
    return w.first[j] < w.first[j + 1] and w.day[w.first[j]] < t


@lean
def infect(c: People, w: Past, a: Attempts, web: Web, m: Work, i: int, t: int, x: int) -> None:
    """Infect a changed agent on day t: its attempts move with it, and it makes those that the rates of the time add."""
    n, T = m.state[i] - 1, len(w.importation)
    order = m.infections[n]
    m.last[n], m.infections[n] = t, order + 1
    enter(c, m, t, i, -1)
    s, known = w.first[i] + order, w.first[i] + order < w.first[i + 1]
    if known:
        for o in range(web.out_first[s], web.out_first[s + 1]):
            e = web.out[o]
            now = t + 1 + a.age[e]
            if now < T and not immune(w, m, a.target[e], t):
                push(m, now, e * 8 + MOVED, 0.0)
    before = w.day[s] if known else -1
    if known and w.steady and t >= before:
        return
    number, made = contacts(c, w, i, order, t, before, NO_SPELL, x + 1, m.made, 0), m.made
    if full(m, number, len(made.source) + 1):
        return
    for e in range(number):
        code = (np.int64(made.target[e]) * 64 + made.channel[e]) * 8 + FRESH
        push(m, t + 1 + made.age[e], code, made.height[e])


@lean
def consider(c: People, w: Past, m: Work, t: int, j: int, channel: int, height: float) -> None:
    """List an agent whom an attempt infects if it is not infected yet."""
    last = m.last[m.state[j] - 1] if m.state[j] > 0 else last_before(w, j, t)
    relative, r = after(c, w, t, j, last), c.region_of_group[c.group[j]]
    if relative > 0.0:
        response = np.exp(-w.aversion * (w.memory[t, r] + m.change[r])) if m.change[r] != 0.0 else w.response[t, r]
        if height < relative * level(c, w, channel, t, j, response):
            note(m, j, True)


@lean
def turned(c: People, w: Past, a: Attempts, web: Web, m: Work, e: int) -> float:
    """Height of an attempt in this world, as `_removals_reference.turned`."""
    if len(web.share) == 0 or web.share[e] < 0.0:
        return a.height[e]
    share, response = web.share[e], w.response[time_of(w, a, e), c.region_of_group[c.group[a.target[e]]]]
    if a.spell[e] != NO_SPELL:
        return (share / response + m.turn[0]) % 1.0 * response / share * a.height[e] if share > 0.0 else 0.0
    return (
        (response + ((share - response) / (1.0 - response) + m.turn[0]) % 1.0 * (1.0 - response)) / share * a.height[e]
    )


@lean
def first_from(web: Web, low: int, high: int, place: float) -> int:
    """The first of the attempts `low..high` of a bin at a place or later."""
    while low < high:
        middle = (low + high) // 2
        if web.place[middle] < place:
            low = middle + 1
        else:
            high = middle
    return low


@lean
def respond(w: Past, a: Attempts, web: Web, m: Work, t: int, r: int) -> None:
    """Attempts of a day on a region that infect in the run and not in the world, or the other way about."""
    n, turn = t * len(m.more) + r, m.turn[0]
    more = m.change[r] < 0.0
    low, high = (web.bin_first[n], web.cut[n]) if more else (web.cut[n], web.bin_first[n + 1])
    if low == high:
        return
    kept, response = np.exp(-w.aversion * m.change[r]), w.response[t, r]
    # turned, those that change are the first in place (more) or the last (fewer)
    at = first_from(web, low, high, 1.0 - turn)
    for step in range(high - low):
        p = low + (at - low + (step if more else high - low - 1 - step)) % (high - low)
        place = (web.place[p] + turn) % 1.0
        if (place >= response * (kept - 1.0) / (1.0 - response)) if more else place < kept:
            break
        e = web.bins[p]
        if m.state[a.target[e]] == 0 and not moved(w, m, a.source[e]):
            if more:
                note(m, a.target[e], True)
            elif lose(m, a.spell[e]):
                note(m, a.target[e], False)


@lean
def remember(c: People, w: Past, m: Work) -> None:
    """The change of memory on the next day."""
    for n in range(m.number[REGIONS]):
        r = m.touched[n]
        m.change[r] = (1.0 - w.forgetting) * m.change[r] + w.forgetting * 100.0 * m.more[r] / c.region_size[r]
        m.more[r] = 0.0


@lean
def touch(c: People, m: Work, i: int) -> None:
    """Put an agent's region on the list of those that differ."""
    r = c.region_of_group[c.group[i]]
    for n in range(m.number[REGIONS]):
        if m.touched[n] == r:
            return
    m.touched[m.number[REGIONS]] = r
    m.number[REGIONS] += 1


@lean
def follow(c: People, w: Past, a: Attempts, web: Web, m: Work, t: int) -> None:
    """Events of a day."""
    e = m.head[t]
    m.head[t] = -1
    while e >= 0:
        n, kind = m.code[e] >> 3, m.code[e] & 7
        if kind == CHECK:
            if m.state[w.agent[n]] == 0:
                note(m, w.agent[n], False)
        elif kind == FRESH:
            consider(c, w, m, t, n // 64, n % 64, m.height[e])
        elif kind == IN_RUN:
            enter(c, m, t, n, 1)
            touch(c, m, n)
        elif kind == MOVED or not moved(w, m, a.source[n]):
            consider(c, w, m, t, a.target[n], a.channel[n], turned(c, w, a, web, m, n))
        e = m.next[e]


@lean
def remove(c: People, w: Past, a: Attempts, web: Web, m: Work, x: int) -> None:
    """The world without infection x: leaves its entries in `cell` and `sign`."""
    T, start, behaves = len(w.importation), w.day[x], w.aversion > 0.0 and w.forgetting > 0.0
    for r in range(len(m.more)):
        m.change[r] = 0.0
        m.more[r] = 0.0
    for n in range(len(m.number)):
        m.number[n] = 0
    m.number[LATEST] = start
    m.turn[0] = unit(clock(w, TURN, w.agent[x], x - w.first[w.agent[x]], 0, 0), 1)
    diverge(c, w, a, web, m, w.agent[x], start, x - w.first[w.agent[x]], last_before(w, w.agent[x], start))
    enter(c, m, start, w.agent[x], 1)
    touch(c, m, w.agent[x])
    for t in range(start + 1, T):
        remember(c, w, m)
        if m.number[FULL] > 0 or (t > m.number[LATEST] and not behaves):
            break
        if behaves:
            for n in range(m.number[REGIONS]):
                if m.change[m.touched[n]] != 0.0:
                    respond(w, a, web, m, t, m.touched[n])
        elif m.head[t] < 0:
            continue
        follow(c, w, a, web, m, t)
        for n in range(m.number[TODAY]):
            j = m.today[n]
            infects = m.mark[j] == 2
            m.mark[j] = 0
            if m.state[j] == 0:
                s = w.first[j]
                while s < w.first[j + 1] and w.day[s] < t:
                    s += 1
                base, in_run = s - w.first[j], s < w.first[j + 1] and w.day[s] == t
                if infects and not in_run:
                    diverge(c, w, a, web, m, j, t, base, last_before(w, j, t))
                elif not infects and in_run and m.left[s] <= 0:
                    diverge(c, w, a, web, m, j, t, base, last_before(w, j, t))
                    enter(c, m, t, j, 1)
                    touch(c, m, j)
            if infects and m.state[j] > 0:
                infect(c, w, a, web, m, j, t, x)
                touch(c, m, j)
        m.number[TODAY] = 0
    for n in range(m.number[TODAY]):
        m.mark[m.today[n]] = 0
    for n in range(m.number[CHANGED]):
        m.state[m.agent[n]] = 0
    for n in range(m.number[UNDO]):
        m.left[m.undo[n]] = web.supports[m.undo[n]]
    for t in range(start, m.number[LATEST] + 1):
        m.head[t] = -1


@jit
def changes(
    c: People,
    w: Past,
    a: Attempts,
    web: Web,
    m: Work,
    first: int,
    step: int,
    weight: np.ndarray,
    cotangent: np.ndarray,
    out: np.ndarray,
) -> None:
    """Into `out` `[M]`, of every `step`-th spell from `first` on: what the run has more than the world without it, by a cotangent `[T * G]`.

    Each is multiplied by its `weight` `[M]`; where that is 0, no world is followed.
    """
    for x in range(first, len(w.agent), step):
        if weight[x] == 0.0:
            continue
        remove(c, w, a, web, m, x)
        while m.number[FULL] > 0:
            m = new_work(c, w, web, 4 * len(m.code))
            remove(c, w, a, web, m, x)
        for n in range(m.number[ENTRIES]):
            out[x] += weight[x] * m.sign[n] * cotangent[m.cell[n]]


@jit
def entries(
    c: People, w: Past, a: Attempts, web: Web, m: Work, first: int, stop: int, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the entries of each of the spells `first..stop` begin, their cells and signs; of those with a weight of 0 there are none."""
    begin = np.zeros(stop - first + 1, dtype=np.int64)
    cell, sign = np.empty(64 * (stop - first) + 64, dtype=np.int32), np.empty(64 * (stop - first) + 64, dtype=np.int8)
    for x in range(first, stop):
        if weight[x] == 0.0:
            begin[x - first + 1] = begin[x - first]
            continue
        remove(c, w, a, web, m, x)
        while m.number[FULL] > 0:
            m = new_work(c, w, web, 4 * len(m.code))
            remove(c, w, a, web, m, x)
        n, at = m.number[ENTRIES], begin[x - first]
        if at + n > len(cell):
            more = np.empty(2 * (at + n), dtype=np.int32), np.empty(2 * (at + n), dtype=np.int8)
            more[0][:at], more[1][:at] = cell[:at], sign[:at]
            cell, sign = more
        cell[at : at + n], sign[at : at + n] = m.cell[:n], m.sign[:n]
        begin[x - first + 1] = at + n
    return begin, cell, sign
