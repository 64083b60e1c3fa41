"""GPU kernels of a day: names and order of steps as in `_reference`.

Pressures of households and venue groups are sums of whole quanta, kept from day to day: an infectious agent adds the
difference between today's and yesterday's quanta, so nothing is cleared, the order of atomics does not matter, and a group
holds zero exactly when nobody in it is infectious (every infectious agent counts at least one quantum, 2**-30 of the
highest pressure). Community groups need no sum over agents: infections by cell and day say it all.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types: pointers to the tensors of `Layout`, sizes, constants.

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from sim.rates import PERIOD

SIZES = (
    "P",
    "n",
    "agents",
    "members",
    "number",
    "households",
    "venues",
    "pairs",
    "events",
    "length",
    "T",
    "C",
    "periods",
)
"""What differs from population to population and from run to run: a kernel is compiled once for all, and not anew where one of them is 1
or happens to be a multiple of sixteen. The number of directions `Z` is not among them: rows of scores are read faster where it is one."""
kernel: Any = triton.jit(do_not_specialize=SIZES)
NEVER = tl.constexpr(32_767)
LENGTH = tl.constexpr(PERIOD)
TOP = tl.constexpr(1.08e9)  # above the quanta that any household can hold


@triton.jit
def expm1(x):
    """`exp(x) - 1` without cancellation near zero."""
    near = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6)))))
    return tl.where(tl.abs(x) < 0.25, near, tl.exp(x) - 1)


@triton.jit
def uniform(key, agent):
    """splitmix64 as in `_random.uniform`: 53 random bits, rounded to single precision (relative error 2**-24)."""
    z = key + (agent + 1).to(tl.uint64) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = z ^ (z >> 31)
    return (z >> 11).to(tl.int64).to(tl.float32) * 1.1102230246251565e-16


@triton.jit
def quanta(x, count):
    """Whole quanta of a contribution, at least one where `count`, else none."""
    return tl.where(count, tl.floor(x).to(tl.int32) + 1, 0)


@triton.jit
def susceptibility(sigma, p, k, t, periods, K):
    """Of an archetype on a day; `sigma` is `Rates.susceptible` `[P, periods, K]`."""
    return tl.load(sigma + (p * periods + tl.minimum(t // LENGTH, periods - 1)) * K + k)


@triton.jit
def part_of(low, last, BLOCK: tl.constexpr):
    """First and last event of this program's share of a day's events; axis 1 of the grid numbers the shares.

    Shares of different days lie in the same part of the population: neighbours in the grid meet in the cache.
    """
    share = tl.cdiv(tl.cdiv(last - low, tl.num_programs(1)), BLOCK) * BLOCK
    first = low + tl.program_id(1) * share
    return first, tl.minimum(first + share, last)


@kernel
def add_pressures(day_at, begin, event, event_cell, cell_archetype, household, venue, household_weight, venue_weight, rho,
           per_home, per_venue, H, V, events, households, venues, K, D, T,
           LAYERS: tl.constexpr, WIDE: tl.constexpr, AFRESH: tl.constexpr, REINFECTION: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Bring the pressures to the day: from those of the day before, or AFRESH from none.

    Grid: days since infection (D + 1), shares, particles; all events of a program were infected on one day. `H` takes
    every WIDE-th number: in the reverse pass the adjoint of the household's score lies beside it.
    """
    t = tl.load(day_at)
    d, p = tl.program_id(0), tl.program_id(2).to(tl.int64)
    s = t - 1 - d
    if s >= 0:
        opens, closes = tl.load(begin + p * (T + 1) + s), tl.load(begin + p * (T + 1) + s + 1)
        if REINFECTION:  # the list may be too short: the run is then made again with a longer one
            opens, closes = tl.minimum(opens, events), tl.minimum(closes, events)
        low, last = part_of(opens, closes, BLOCK)
        last_now = tl.where(d < D, last, 0)
        last_old = tl.where(d > 0, last, 0)
        if AFRESH:
            last_old = last_old * 0
        home, there = tl.load(per_home + p), tl.load(per_venue + p)
        for e in range(low, last, BLOCK):
            lane = e + tl.arange(0, BLOCK)
            ok, has, had = lane < last, lane < last_now, lane < last_old
            j = tl.load(event + p * events + lane, mask=ok, other=0).to(tl.int64)
            k = tl.load(cell_archetype + tl.load(event_cell + p * events + lane, mask=ok, other=0), mask=ok, other=0)
            row = rho + (p * K + k) * D + d
            now, old = tl.load(row, mask=has, other=0.0), tl.load(row - 1, mask=had, other=0.0)
            h = tl.load(household + j, mask=ok, other=0)
            w = tl.load(household_weight + h, mask=ok, other=0.0) * home
            step = quanta(now * w, has) - quanta(old * w, had)
            tl.atomic_add(H + (p * households + h) * WIDE, step, mask=ok & (step != 0), sem="relaxed")
            for v in tl.static_range(LAYERS):
                m = tl.load(venue + j * LAYERS + v, mask=ok, other=-1)
                w = tl.load(venue_weight + m, mask=m >= 0, other=0.0) * there
                step = quanta(now * w, has) - quanta(old * w, had)
                tl.atomic_add(V + p * venues + m, step, mask=(m >= 0) & (step != 0), sem="relaxed")


@kernel
def force(day_at, counts, rho, cell_start, cell_archetype, group_size, F, K, D, T, C, G,
          CELLS: tl.constexpr, DAYS: tl.constexpr):  # fmt: skip
    """Mean infectiousness `F` of each community group. Grid: groups, particles."""
    t = tl.load(day_at)
    g, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.load(cell_start + g) + tl.arange(0, CELLS)[:, None]
    d = tl.arange(0, DAYS)[None, :]
    s = t - 1 - d
    ok = (c < tl.load(cell_start + g + 1)) & (d < D) & (s >= 0)
    number = tl.load(counts + (p * T + s) * C + c, mask=ok, other=0).to(tl.float32)
    k = tl.load(cell_archetype + c, mask=ok, other=0)
    x = number * tl.load(rho + (p * K + k) * D + d, mask=ok, other=0.0)
    tl.store(F + p * G + g, tl.sum(tl.sum(x, 1), 0) / tl.load(group_size + g))


@kernel
def everywhere(day_at, counts, cell_region, region_of_group, region_size, mixing, importation, beta, aversion,
               forgetting, F, memory, response, base, highest, begin, rows, T, C, G, R,
               CELLS: tl.constexpr, GROUPS: tl.constexpr, LAYERS: tl.constexpr):  # fmt: skip
    """Memory, response and the hazard that reaches a whole group. Grid: groups, particles."""
    t = tl.load(day_at)
    g, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    r = tl.load(region_of_group + g)
    A = 0.0
    if t > 0:
        c = tl.arange(0, CELLS)
        mine = (c < C) & (tl.load(cell_region + c, mask=c < C, other=-1) == r)
        infected = tl.sum(tl.load(counts + (p * T + t - 1) * C + c, mask=mine, other=0), 0).to(tl.float32)
        A = tl.load(memory + (p * T + t - 1) * R + r)
        A += tl.load(forgetting + p) * (100 * infected / tl.load(region_size + r) - A)
    tl.store(memory + (p * T + t) * R + r, A)
    k = tl.arange(0, GROUPS)
    row = tl.load(mixing + (p * G + g) * G + k, mask=k < G, other=0.0)
    pressure = tl.sum(row * tl.load(F + p * G + k, mask=k < G, other=0.0), 0)
    answer = tl.exp(-tl.load(aversion + p) * A)
    all_in = answer * tl.load(beta + (p * rows + 1) * T + t) * pressure + tl.load(importation + (p * T + t) * G + g)
    tl.store(response + p * G + g, answer)
    tl.store(base + p * G + g, all_in)
    if g == 0:  # the events of the day are appended after those of the days before
        tl.store(begin + p * (T + 1) + t + 1, tl.load(begin + p * (T + 1) + t))
        for v in tl.static_range(LAYERS):
            tl.store(highest + p * LAYERS + v, 0)


@kernel
def peak(V, venue_start, highest, venues, LAYERS: tl.constexpr, BLOCK: tl.constexpr):
    """Highest pressure in each venue layer: the bound by which `infect` passes over most agents. Grid: blocks, particles."""
    p = tl.program_id(1).to(tl.int64)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(V + p * venues + m, mask=m < venues, other=0)
    for v in tl.static_range(LAYERS):
        inside = (m >= tl.load(venue_start + v)) & (m < tl.load(venue_start + v + 1))
        top = tl.max(tl.where(inside, x, 0), 0)
        if top > 0:
            tl.atomic_max(highest + p * LAYERS + v, top, sem="relaxed")


@kernel
def infect(day_at, tile_first, tile_count, tile_cell, cell_group, cell_archetype, order, household, venue, keys, sigma,
           reinfection, beta, base, response, home_unit, venue_unit, H, V, highest, on, counts, begin, event, event_cell,
           event_before, P, n, events, households, venues, rows, K, E, T, C, G, periods,
           LAYERS: tl.constexpr, REINFECTION: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Draw the infections of the day. Grid: tiles x particles, so that the particles of a tile meet in the cache.

    REINFECTION: also of those infected before; `event_before` keeps the day of the infection that an event replaces.
    """
    t = tl.load(day_at)
    tile, p = tl.program_id(0) // P, (tl.program_id(0) % P).to(tl.int64)
    c = tl.load(tile_cell + tile)
    g, k = tl.load(cell_group + c), tl.load(cell_archetype + c)
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(tile_count + tile)
    j = tl.multiple_of(tl.load(tile_first + tile), 16) + lane
    before = tl.load(on + p * n + j, mask=inside, other=0)
    free = before == NEVER

    s, there = susceptibility(sigma, p, k, t, periods, K), tl.load(response + p * G + g) * tl.load(venue_unit + p)
    if REINFECTION:
        since = tl.minimum(t - 1 - before.to(tl.int32), E - 1)
        relative = tl.load(reinfection + (p * K + k) * E + since, mask=inside & (before != NEVER), other=0.0)
        s = s * tl.where(free, 1.0, relative)
        free = free | (relative > 0)
    X = tl.load(base + p * G + g)
    most = X
    for v in tl.static_range(LAYERS):
        top = tl.load(highest + p * LAYERS + v).to(tl.float32)
        most += there * tl.load(beta + (p * rows + 2 + v) * T + t) * top
    home = tl.load(beta + p * rows * T + t) * tl.load(home_unit + p)
    u = uniform(tl.load(keys + p * T + t).to(tl.uint64, bitcast=True), tl.load(order + j, mask=free, other=0))

    # 1 - exp(-x) <= x: a draw above the highest hazard that the day allows needs no look at the household, and one above
    # the highest with this household none at the venues
    near = free & (u <= s * (home * TOP + most) * 1.00001)
    h = tl.load(household + j, mask=near, other=0)
    own = home * tl.load(H + p * households + h, mask=near, other=0).to(tl.float32)
    near = near & (u <= s * (own + most) * 1.00001)
    X += own
    for v in tl.static_range(LAYERS):
        m = tl.load(venue + j.to(tl.int64) * LAYERS + v, mask=near, other=-1)
        x = tl.load(V + p * venues + m, mask=near & (m >= 0), other=0).to(tl.float32)
        X += there * tl.load(beta + (p * rows + 2 + v) * T + t) * x
    caught = near & (u < -expm1(-s * X))
    number = tl.sum(caught.to(tl.int32), 0)
    if number > 0:
        tl.store(on + p * n + j, t.to(tl.int16), mask=caught)
        tl.atomic_add(counts + (p * T + t) * C + c, number, sem="relaxed")
        slot = tl.atomic_add(begin + p * (T + 1) + t + 1, number, sem="relaxed")
        slot += tl.cumsum(caught.to(tl.int32), 0) - 1
        if REINFECTION:
            caught = caught & (slot < events)
            tl.store(event_before + p * events + slot, before, mask=caught)
        tl.store(event + p * events + slot, j, mask=caught)
        tl.store(event_cell + p * events + slot, c.to(tl.int16), mask=caught)


@kernel
def deliver(tile_first, tile_count, order, on, infected_on, n, agents, BLOCK: tl.constexpr):
    """Days of infection in the order of the population. Grid: tiles, particles."""
    tile, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(tile_count + tile)
    j = tl.load(tile_first + tile) + lane
    day = tl.load(on + p * n + j, mask=inside, other=0)
    tl.store(infected_on + p * agents + tl.load(order + j, mask=inside, other=0), day, mask=inside)
