"""GPU kernels of the reverse pass over one day: the transpose of `_triton_forward`, as `_reference.vjp` line by line.

`WG` is the adjoint of a household's score (beside its pressure `H`, so that one access finds both), `centre` what the
subtracted regional mean adds to it, `HG` and `VG` the adjoints of household and venue pressures, `PG` the part of `VG` that
comes from the own household. Sums over agents of a cell go to float64; sums over the members of a household or venue are
single precision and repeat to rounding.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types: pointers to the tensors of `Layout`, sizes, constants.

from __future__ import annotations

import triton.language as tl

from sim._triton_forward import LENGTH, NEVER, expm1, kernel, part_of, quanta, susceptibility


@kernel
def recall(tile_first, tile_count, tile_cell, order, infected_on, on, counts, n, agents, T, C, BLOCK: tl.constexpr):
    """Days of infection in the order of places, and how many there are by day and cell. Grid: tiles, particles."""
    tile, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.load(tile_cell + tile)
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(tile_count + tile)
    j = tl.load(tile_first + tile) + lane
    day = tl.load(infected_on + p * agents + tl.load(order + j, mask=inside, other=0), mask=inside, other=NEVER)
    tl.store(on + p * n + j, day, mask=inside)
    tl.atomic_add(counts + (p * T + day) * C + c, 1, mask=inside & (day != NEVER), sem="relaxed")


@kernel
def enlist(tile_first, tile_count, tile_cell, on, cursor, event, event_cell, n, events, T, BLOCK: tl.constexpr):
    """Write the agents infected on each day where `cursor` says that the day begins. Grid: tiles, particles."""
    tile, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.load(tile_cell + tile)
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(tile_count + tile)
    j = tl.load(tile_first + tile) + lane
    day = tl.load(on + p * n + j, mask=inside, other=NEVER)
    ill = inside & (day != NEVER)
    slot = tl.atomic_add(cursor + p * (T + 1) + day, 1, mask=ill, sem="relaxed")
    tl.store(event + p * events + slot, j, mask=ill)
    tl.store(event_cell + p * events + slot, (c + 0 * slot).to(tl.int16), mask=ill)


@kernel
def find(tile_first, tile_count, tile_cell, order, place, cell, BLOCK: tl.constexpr):
    """Place and cell of each agent. Grid: tiles."""
    tile = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(tile_count + tile)
    j = tl.load(tile_first + tile) + lane
    i = tl.load(order + j, mask=inside, other=0)
    tl.store(place + i, j, mask=inside)
    tl.store(cell + i, (tl.load(tile_cell + tile) + 0 * j).to(tl.int16), mask=inside)


@kernel
def enlist_before(particle, place, cell, before, cursor, event, event_cell, length, events, T, BLOCK: tl.constexpr):
    """As `enlist`: infections that reinfections replaced, of which there are `length`. Grid: blocks of them."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = e < length
    p, day = tl.load(particle + e, mask=ok, other=0).to(tl.int64), tl.load(before + e, mask=ok, other=0)
    slot = tl.atomic_add(cursor + p * (T + 1) + day, 1, mask=ok, sem="relaxed")
    tl.store(event + p * events + slot, tl.load(place + e, mask=ok, other=0), mask=ok)
    tl.store(event_cell + p * events + slot, tl.load(cell + e, mask=ok, other=0), mask=ok)


@kernel
def take_back(day_at, row_begin, place, before, on, n, T, BLOCK: tl.constexpr):
    """The infection before in the place of the day's reinfections: d as -1 - d for those of the day, for `hazards`.

    Those of the day after, which were so, as they are. `row_begin` `[P, T + 2]`: reinfections by day. Grid: 1, shares, particles.
    """
    t = tl.load(day_at)
    p = tl.program_id(2).to(tl.int64)
    for later in tl.static_range(2):
        at = row_begin + p * (T + 2) + t + later
        low, last = part_of(tl.load(at), tl.load(at + 1), BLOCK)
        for e in range(low, last, BLOCK):
            lane = e + tl.arange(0, BLOCK)
            d = tl.load(before + lane, mask=lane < last, other=0)
            if later == 0:
                d = -1 - d
            tl.store(on + p * n + tl.load(place + lane, mask=lane < last, other=0), d.to(tl.int16), mask=lane < last)


@kernel
def read_out(day_at, cotangent, incidence, region_of_group, region_size, households_in_region, aversion, forgetting,
             response, RG, AG, AG_of_day, xG, centre, T, G, R, GROUPS: tl.constexpr):  # fmt: skip
    """Adjoint of the read-out of the day and of the memory it leaves. Grid: regions, particles."""
    t = tl.load(day_at)
    r, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    g = tl.arange(0, GROUPS)
    mine = (g < G) & (tl.load(region_of_group + g, mask=g < G, other=-1) == r)
    a = tl.load(AG + p * R + r)
    if t + 1 < T:  # what the day after owes to the memory through its response
        at = (p * T + t + 1) * G + g
        through = tl.load(RG + at, mask=mine, other=0.0) * tl.load(response + at, mask=mine, other=0.0)
        a -= tl.load(aversion + p) * tl.sum(through, 0)
    tl.store(AG_of_day + (p * T + t) * R + r, a)
    f = tl.load(forgetting + p)
    at = (p * T + t) * G + g
    x = tl.load(cotangent + at, mask=mine, other=0.0) + f * a * 100 / tl.load(region_size + r)
    tl.store(xG + p * G + g, x, mask=mine)
    infected = tl.sum(tl.where(mine, x * tl.load(incidence + at, mask=mine, other=0.0), 0.0).to(tl.float64), 0)
    tl.store(AG + p * R + r, (1 - f) * a)
    old = tl.load(centre + p * R + r)
    tl.store(centre + p * R + r, old - infected / tl.load(households_in_region + r))


@kernel
def own_infections(day_at, begin, event, event_cell, cell_group, household, xG, WG, events, households, T, G,
                   BLOCK: tl.constexpr):  # fmt: skip
    """The read-out reaches the scores of the households infected on the day. Grid: 1, shares, particles."""
    t = tl.load(day_at)
    p = tl.program_id(2).to(tl.int64)
    low, last = part_of(tl.load(begin + p * (T + 1) + t), tl.load(begin + p * (T + 1) + t + 1), BLOCK)
    for e in range(low, last, BLOCK):
        lane = e + tl.arange(0, BLOCK)
        ok = lane < last
        h = tl.load(household + tl.load(event + p * events + lane, mask=ok, other=0), mask=ok, other=0)
        g = tl.load(cell_group + tl.load(event_cell + p * events + lane, mask=ok, other=0), mask=ok, other=0)
        x = tl.load(xG + p * G + g, mask=ok, other=0.0)
        tl.atomic_add(WG + (p * households + h) * 2, x, mask=ok, sem="relaxed")


@kernel
def hazards(day_at, tile_first, tile_count, tile_cell, cell_group, cell_archetype, cell_region, household, venue, pair,
            sigma, reinfection, beta, base, response, home_unit, venue_unit, H, V, on, WG, centre, HG, VG, PG, cells, reinfectionG,
            P, n, households, venues, pairs, rows, K, D, E, T, C, G, R, periods,
            LAYERS: tl.constexpr, REINFECTION: tl.constexpr, COPIES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """From scores to hazards, and from hazards to pressures. Grid: tiles x particles.

    `cells[p, c]`: sums over the agents of a cell of the hazard's adjoint, alone and times each local pressure. REINFECTION: also of those
    infected before; `reinfectionG` `[COPIES, P, K, E]` is summed in several copies, which atomics wait for less.
    """
    t = tl.load(day_at)
    tile, p = tl.program_id(0) // P, (tl.program_id(0) % P).to(tl.int64)
    side = (t % 2) * P + p  # adjoints of pressures of odd and even days
    c = tl.load(tile_cell + tile)
    g, k = tl.load(cell_group + c), tl.load(cell_archetype + c)
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(tile_count + tile)
    j = tl.multiple_of(tl.load(tile_first + tile), 16) + lane
    day = tl.load(on + p * n + j, mask=inside, other=-1).to(tl.int32)
    live, hit = inside & (day >= t), day == t
    whole = hit  # of whom the whole hazard is needed

    s, answer = susceptibility(sigma, p, k, t, periods, K), tl.load(response + (p * T + t) * G + g)
    if REINFECTION:
        before = tl.where(day < 0, -1 - day, day)
        since = tl.minimum(t - 1 - before, E - 1)
        waned = inside & (before < t - D)
        relative = tl.load(reinfection + (p * K + k) * E + since, mask=waned, other=1.0)
        live, hit = live | waned, hit | (inside & (day < 0))
        whole = hit | waned
    h = tl.load(household + j, mask=live, other=0)
    at_home = tl.load(H + (p * households + h) * 2, mask=live, other=0)
    shared = at_home != 0
    own = at_home.to(tl.float32) * tl.load(home_unit + p)
    X = tl.load(base + (p * T + t) * G + g) + tl.load(beta + p * rows * T + t) * own
    unit = tl.load(venue_unit + p)
    for v in tl.static_range(LAYERS):
        m = tl.load(venue + j.to(tl.int64) * LAYERS + v, mask=whole, other=-1)
        x = tl.load(V + p * venues + m, mask=m >= 0, other=0).to(tl.float32) * unit
        X += answer * tl.load(beta + (p * rows + 2 + v) * T + t) * x
    score = tl.load(WG + (p * households + h) * 2, mask=live, other=0.0) + tl.load(
        centre + p * R + tl.load(cell_region + c)
    )
    hazard = s * X
    if REINFECTION:
        hazard *= relative
    weight = tl.where(hit, 1 / expm1(tl.maximum(hazard, 1e-30)), -1.0)
    hazardG = tl.where(live, score.to(tl.float32) * weight, 0.0)
    if REINFECTION:
        at = (((tile % COPIES) * P + p) * K + k) * E + since
        tl.atomic_add(reinfectionG + at, hazardG * s * X, mask=waned, sem="relaxed")
        hazardG *= relative

    sums = cells + (p * C + c) * (2 + LAYERS)
    tl.atomic_add(sums, tl.sum(hazardG, 0).to(tl.float64), sem="relaxed")
    tl.atomic_add(sums + 1, tl.sum(hazardG * own, 0).to(tl.float64), sem="relaxed")
    XG = hazardG * s
    tl.atomic_add(HG + side * households + h, XG, mask=shared, sem="relaxed")
    QG = XG * answer
    for v in tl.static_range(LAYERS):
        m = tl.load(venue + j.to(tl.int64) * LAYERS + v, mask=live, other=-1)
        x = tl.load(V + p * venues + m, mask=m >= 0, other=0)
        tl.atomic_add(sums + 2 + v, tl.sum(hazardG * x.to(tl.float32) * unit, 0).to(tl.float64), sem="relaxed")
        tl.atomic_add(VG + side * venues + m, QG, mask=x != 0, sem="relaxed")
        q = tl.load(pair + j.to(tl.int64) * LAYERS + v, mask=shared & (x != 0), other=-1)
        tl.atomic_add(PG + side * pairs + q, QG, mask=q >= 0, sem="relaxed")


@kernel
def collect(day_at, cell_start, cell_archetype, cells, sigma, beta, base, response, outside, sigmaG, betaG, XG, RG,
            rows, K, T, C, G, periods, LAYERS: tl.constexpr, CELLS: tl.constexpr):  # fmt: skip
    """Adjoints of a group from the sums over its cells, which are cleared. Grid: groups, particles."""
    t = tl.load(day_at)
    g, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.load(cell_start + g) + tl.arange(0, CELLS)
    ok = c < tl.load(cell_start + g + 1)
    at = (p * T + t) * G + g
    answer = tl.load(response + at)
    period = p * periods + tl.minimum(t // LENGTH, periods - 1)
    s = tl.load(sigma + period * K + tl.load(cell_archetype + c, mask=ok, other=0), mask=ok, other=0.0)
    sums = sigmaG + period * C + c
    row = cells + (p * C + c) * (2 + LAYERS)
    alone, home = tl.load(row, mask=ok, other=0.0), tl.load(row + 1, mask=ok, other=0.0)
    tl.store(row, 0.0, mask=ok)
    tl.store(row + 1, 0.0, mask=ok)
    X = alone * tl.load(base + at) + home * tl.load(beta + p * rows * T + t)
    Q = alone * tl.load(outside + at)
    tl.store(betaG + ((p * rows) * T + t) * G + g, tl.sum(s * home, 0))
    for v in tl.static_range(LAYERS):
        there = tl.load(row + 2 + v, mask=ok, other=0.0)
        tl.store(row + 2 + v, 0.0, mask=ok)
        local = there * tl.load(beta + (p * rows + 2 + v) * T + t)
        X += answer * local
        Q += local
        tl.store(betaG + ((p * rows + 2 + v) * T + t) * G + g, answer * tl.sum(s * there, 0))
    tl.store(sums, tl.load(sums, mask=ok, other=0.0) + X, mask=ok)
    tl.store(XG + at, tl.sum(s * alone, 0))
    tl.store(RG + at, tl.sum(s * Q, 0))


@kernel
def mixed(day_at, mixing, beta, response, group_size, XG, FG, rows, T, G, GROUPS: tl.constexpr):
    """Adjoint `FG` of the infectiousness of a group. Grid: groups, particles."""
    t = tl.load(day_at)
    g, p = tl.program_id(0), tl.program_id(1).to(tl.int64)
    k = tl.arange(0, GROUPS)
    at = (p * T + t) * G
    CG = tl.load(XG + at + k, mask=k < G, other=0.0) * tl.load(response + at + k, mask=k < G, other=0.0)
    column = tl.load(mixing + (p * G + k) * G + g, mask=k < G, other=0.0)
    total = tl.sum(column * CG, 0) * tl.load(beta + (p * rows + 1) * T + t)
    tl.store(FG + at + g, total / tl.load(group_size + g))


@kernel
def infectious(day_at, begin, event, event_cell, cell_group, cell_archetype, cell_region, household, venue, pair,
               household_weight, venue_weight, households_in_region, rho, per_home, per_venue, beta, FG, H, V, HG, VG,
               PG, WG, centre, rhoG, events, households, venues, pairs, rows, K, D, T, G, R,
               LAYERS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """From pressures to the infectious: directly to their rates, through larger groups to the scores of their households.

    In passing, the pressures go back to the day before, and the adjoints that the day after left are cleared.
    Grid: days since infection (D + 2, from -1), shares, particles. `rhoG` lacks the community groups, which `counts` holds.
    """
    t = tl.load(day_at)
    d, p = tl.program_id(0) - 1, tl.program_id(2).to(tl.int64)
    s = t - 1 - d
    if s >= 0:
        P = tl.num_programs(2)
        side, other_side = (t % 2) * P + p, ((t + 1) % 2) * P + p
        low, last = part_of(tl.load(begin + p * (T + 1) + s), tl.load(begin + p * (T + 1) + s + 1), BLOCK)
        last_now = tl.where((d >= 0) & (d < D), last, 0)
        last_before = tl.where(d > 0, last, 0)
        home, there = tl.load(per_home + p), tl.load(per_venue + p)
        for e in range(low, last, BLOCK):
            lane = e + tl.arange(0, BLOCK)
            ok, has, will = lane < last, lane < last_now, lane < last_before
            j = tl.load(event + p * events + lane, mask=ok, other=0).to(tl.int64)
            c = tl.load(event_cell + p * events + lane, mask=ok, other=0)
            k, r = tl.load(cell_archetype + c, mask=ok, other=0), tl.load(cell_region + c, mask=ok, other=0)
            row = rho + (p * K + k) * D + d
            now, before = tl.load(row, mask=has, other=0.0), tl.load(row - 1, mask=will, other=0.0)
            h = tl.load(household + j, mask=ok, other=0)
            local, kin = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
            for v in tl.static_range(LAYERS):
                m = tl.load(venue + j * LAYERS + v, mask=ok, other=-1)
                q = tl.load(pair + j * LAYERS + v, mask=ok, other=-1)
                weight = tl.load(venue_weight + m, mask=m >= 0, other=0.0)
                w = weight * tl.load(beta + (p * rows + 2 + v) * T + t)
                local += w * tl.load(VG + side * venues + m, mask=has & (m >= 0), other=0.0)
                kin += w * tl.load(PG + side * pairs + q, mask=has & (q >= 0), other=0.0)
                step = quanta(before * (weight * there), will) - quanta(now * (weight * there), has)
                tl.atomic_add(V + p * venues + m, step, mask=(m >= 0) & (step != 0), sem="relaxed")
                tl.store(VG + other_side * venues + m, 0.0, mask=m >= 0)
                tl.store(PG + other_side * pairs + q, 0.0, mask=q >= 0)
            weight = tl.load(household_weight + h, mask=ok, other=0.0)
            w = weight * tl.load(beta + p * rows * T + t)
            direct = local + w * tl.load(HG + side * households + h, mask=has, other=0.0)
            step = quanta(before * (weight * home), will) - quanta(now * (weight * home), has)
            tl.atomic_add(H + (p * households + h) * 2, step, mask=ok & (step != 0), sem="relaxed")
            tl.store(HG + other_side * households + h, 0.0, mask=ok)
            group = tl.load(cell_group + c, mask=ok, other=0)
            carried = now * (tl.load(FG + (p * T + t) * G + group, mask=has, other=0.0) + local - kin)
            tl.atomic_add(WG + (p * households + h) * 2, carried, mask=has, sem="relaxed")

            # few archetypes and regions meet in a block: sum each by itself
            if (d >= 0) & (d < D):
                for a in range(tl.min(tl.where(ok, k, K), 0), tl.max(k, 0) + 1):
                    x = tl.sum(tl.where(ok & (k == a), direct, 0.0), 0)
                    tl.atomic_add(rhoG + (p * K + a) * D + d, x.to(tl.float64), sem="relaxed")
                for a in range(tl.min(tl.where(ok, r, R), 0), tl.max(r, 0) + 1):
                    x = tl.sum(tl.where(ok & (r == a), carried, 0.0), 0).to(tl.float64)
                    tl.atomic_add(centre + p * R + a, -x / tl.load(households_in_region + a), sem="relaxed")
