"""What the GPU kernels of all removals read, and small functions on it: `_compiled_people` name by name, for lanes of agents or spells.

All arithmetic is double precision: which contact infects is decided by comparing numbers, and the kernels of the CPU must decide alike.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types: pointers to the tensors of `People` and `Past`, sizes, constants.

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from sim.rates import PERIOD

SIZES = ("number", "table", "room", "capacity", "first", "directions")
"""Arguments for whose values a kernel is not compiled anew; sizes of `People` and `Past` come from memory for the same reason (`opened`)."""
kernel: Any = triton.jit(do_not_specialize=SIZES)
LENGTH = tl.constexpr(PERIOD)


class People(NamedTuple):
    """The columns of `_compiled_people.People` on a device; sizes, `[1]` each: agents, venue layers, venue groups, groups, regions."""

    household: Any
    household_start: Any
    household_weight: Any
    group: Any
    archetype: Any
    venue: Any
    venue_start: Any
    venue_member: Any
    venue_weight: Any
    group_start: Any
    group_member: Any
    group_size: Any
    region_of_group: Any
    region_size: Any
    N: Any
    V: Any
    S: Any
    G: Any
    R: Any


class Past(NamedTuple):
    """Rates and runs of all particles, as `_compiled_people.Past` of one.

    Spells of all particles are numbered through, in order of particle, agent and day: M of them.

    Attributes:
        key: `[P]`. Rates `[P, ...]` as in `sim.Rates`, `susceptible` `[P, periods, K]`; memory, response `[P, T, R]`.
        particle, agent, day: `[M]`. first: `[P * N + 1]` first spell of each agent.
        venue_first, venue_spell: `[P * S + 1]` and spells of each venue group by day. cohort, cohort_spell: `[P * G * T + 1]` and spells by
            group and day.
        shed: `[P, G, T, D]` infectiousness, by age, of the infections of a group and day.
        infectious, pressure: `[P, T, G]`. reach: `[P, G, G + 1]`. best: `[P, rows]`. own: `[P, K]`. top: `[P]`.
        steady: `[P]` 1 where no rate of a channel changes in time. begins: the day before which infections are given, and the sizes: `[1]`.
    """

    key: Any
    rho: Any
    susceptible: Any
    transmission: Any
    mixing: Any
    importation: Any
    aversion: Any
    forgetting: Any
    reinfection: Any
    memory: Any
    response: Any
    particle: Any
    agent: Any
    day: Any
    first: Any
    venue_first: Any
    venue_spell: Any
    cohort: Any
    cohort_spell: Any
    shed: Any
    infectious: Any
    pressure: Any
    reach: Any
    best: Any
    own: Any
    top: Any
    steady: Any
    begins: Any
    M: Any
    K: Any
    D: Any
    T: Any
    E: Any
    periods: Any
    rows: Any


class Sizes(NamedTuple):
    """The sizes of `People` and `Past`, as whole numbers."""

    N: int
    V: int
    S: int
    G: int
    R: int
    M: int
    K: int
    D: int
    T: int
    E: int
    periods: int
    rows: int


def sizes(c: People, w: Past) -> Sizes:
    """Read off the shapes of the columns, without waiting for the device."""
    (K, D), (rows, T) = w.rho.shape[1:], w.transmission.shape[1:]
    people = (len(c.household), c.venue.shape[1], len(c.venue_weight), len(c.group_size), len(c.region_size))
    return Sizes(*people, len(w.day), K, D, T, w.reinfection.shape[2], w.susceptible.shape[1], rows)


@triton.jit
def opened(c, w):
    """People and past with their sizes read, as all other functions take them."""
    c = People(
        c.household, c.household_start, c.household_weight, c.group, c.archetype, c.venue, c.venue_start,
        c.venue_member, c.venue_weight, c.group_start, c.group_member, c.group_size, c.region_of_group,
        c.region_size, tl.load(c.N), tl.load(c.V), tl.load(c.S), tl.load(c.G), tl.load(c.R),
    )  # fmt: skip
    w = Past(
        w.key, w.rho, w.susceptible, w.transmission, w.mixing, w.importation, w.aversion, w.forgetting,
        w.reinfection, w.memory, w.response, w.particle, w.agent, w.day, w.first, w.venue_first, w.venue_spell,
        w.cohort, w.cohort_spell, w.shed, w.infectious, w.pressure, w.reach, w.best, w.own, w.top, w.steady,
        tl.load(w.begins), tl.load(w.M), tl.load(w.K), tl.load(w.D), tl.load(w.T), tl.load(w.E),
        tl.load(w.periods), tl.load(w.rows),
    )  # fmt: skip
    return c, w


@triton.jit
def some(ok):
    """Whether any lane is set."""
    return tl.max(ok.to(tl.int32), 0) > 0


@triton.jit
def log1p(x):
    """`log(1 + x)` without cancellation near zero (the quotient corrects what `1 + x` rounds away)."""
    y = 1.0 + x
    return tl.where(y == 1.0, x, tl.log(y) * (x / tl.where(y == 1.0, 1.0, y - 1.0)))


@triton.jit
def expm1(x):
    """`exp(x) - 1` without cancellation near zero, likewise."""
    y = tl.exp(x)
    near = (y != 1.0) & (y - 1.0 != -1.0) & (y < 4.0)
    corrected = (y - 1.0) * (x / tl.where(near, tl.log(tl.where(near, y, 2.0)), 1.0))
    return tl.where(y == 1.0, x, tl.where(near, corrected, y - 1.0))


@triton.jit
def mixed(z):
    """Output of splitmix64 for a state."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def clock(key, purpose: tl.constexpr, agent, spell, day, removed):
    """Key of the random numbers of one (purpose, agent, spell, day, alternative); `key` `uint64`."""
    named = mixed((key * 0).to(tl.uint64) + purpose)
    state = mixed((key ^ named) + (agent + 1).to(tl.uint64) * 0x9E3779B97F4A7C15)
    state = mixed(state + ((spell.to(tl.int64) << 16) + day + 1).to(tl.uint64) * 0x9E3779B97F4A7C15)
    return mixed(state + removed.to(tl.uint64) * 0x9E3779B97F4A7C15)


@triton.jit
def unit(key, count):
    """The uniform number `count` (from 1) of a clock."""
    z = mixed(key + count.to(tl.uint64) * 0x9E3779B97F4A7C15)
    return (z >> 11).to(tl.int64).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def exponential(key, count):
    """As `unit`, exponential with mean one; `1 - u` is exact."""
    return -tl.log(1.0 - unit(key, count))


@triton.jit
def level(c, w, p, channel, t, i, response, ok):
    """Hazard per unit of contact of an agent never infected; from outside (channel -1), its hazard."""
    k = tl.load(c.archetype + i, mask=ok, other=0)
    own = tl.load(
        w.susceptible + (p * w.periods + tl.minimum(t // LENGTH, w.periods - 1)) * w.K + k, mask=ok, other=0.0
    )
    outside = ok & (channel < 0)
    g = tl.load(c.group + i, mask=outside, other=0)
    rate = tl.load(w.importation + (p * w.T + t) * c.G + g, mask=outside, other=0.0)
    rate += tl.load(w.transmission + (p * w.rows + channel) * w.T + t, mask=ok & (channel >= 0), other=0.0)
    return rate * own * tl.where(channel >= 1, response, 1.0)


@triton.jit
def after(c, w, p, t, i, last, ok):
    """Susceptibility on a day after an infection on day `last`, relative to one never infected (`last` < 0)."""
    since = tl.minimum(t - 1 - last, w.E - 1)
    was = ok & (last >= 0) & (since >= 0)
    k = tl.load(c.archetype + i, mask=was, other=0)
    factor = tl.load(w.reinfection + (p * w.K + k) * w.E + since, mask=was, other=0.0)
    return tl.where(last < 0, 1.0, factor)


@triton.jit
def spells_of(c, w, p, i, ok):
    """First spell of an agent and the first after its last."""
    at = w.first + p * c.N + i
    return tl.load(at, mask=ok, other=0), tl.load(at + 1, mask=ok, other=0)


@triton.jit
def last_before(c, w, p, i, t, ok):
    """Day of an agent's last infection before a day in the run, or -1."""
    s, end = spells_of(c, w, p, i, ok)
    last = s * 0 - 1
    go = ok & (s < end)
    while some(go):
        day = tl.load(w.day + s, mask=go, other=0)
        go = go & (day < t)
        last = tl.where(go, day, last)
        s += 1
        go = go & (s < end)
    return last


@triton.jit
def region_of(c, i, ok):
    """Region of an agent's group."""
    return tl.load(c.region_of_group + tl.load(c.group + i, mask=ok, other=0), mask=ok, other=0)


@triton.jit
def unused(c, w, p, channel, t, i, ok):
    """Height from which on an attempt would not have infected an agent on a day of the run."""
    relative = after(c, w, p, t, i, last_before(c, w, p, i, t, ok), ok)
    ok = ok & (relative != 0.0)
    response = tl.load(w.response + (p * w.T + t) * c.R + region_of(c, i, ok), mask=ok, other=0.0)
    return tl.where(ok, relative * level(c, w, p, channel, t, i, response, ok), 0.0)


@triton.jit
def from_day(w, low, high, day, ok):
    """The first entry of a venue group's spells `low..high` on a day or later."""
    go = ok & (low < high)
    while some(go):
        middle = (low + high) // 2
        s = tl.load(w.venue_spell + middle, mask=go, other=0)
        early = go & (tl.load(w.day + s, mask=go, other=0) < day)
        low = tl.where(early, middle + 1, low)
        high = tl.where(go & (early == 0), middle, high)
        go = go & (low < high)
    return low
