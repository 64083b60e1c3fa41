"""GPU kernels of forward mode over one day: `_reference.jvp` line by line, for a block of directions at once.

`W` is the score of a household, one number a direction. A household reads it once a day, adds what the day adds for all its members
and writes it back: no quiet household is passed over, as reading all of them costs less than knowing which. What a member counts
for is the same in all directions, and found by a kernel of its own, which leaves this one the registers. What
reaches groups and venues is summed by atomics in single precision, and repeats to rounding.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types: pointers to the tensors of `Layout`, sizes, constants.

from __future__ import annotations

import triton.language as tl

from sim._triton_forward import LENGTH, expm1, kernel, part_of


@kernel
def bring_forward(day_at, row_begin, place, before, on, n, T, BLOCK: tl.constexpr):
    """The infection before of the day's reinfections, d, as -1 - d, for `weigh`; those of the day before as of that day.

    `row_begin` `[P, T + 2]`: reinfections by day. Grid: 1, shares, particles.
    """
    t = tl.load(day_at)
    p = tl.program_id(2).to(tl.int64)
    for ago in tl.static_range(2):
        if t >= ago:
            at = row_begin + p * (T + 2) + t - ago
            low, last = part_of(tl.load(at), tl.load(at + 1), BLOCK)
            for e in range(low, last, BLOCK):
                lane = e + tl.arange(0, BLOCK)
                d = -1 - tl.load(before + lane, mask=lane < last, other=0)
                if ago == 1:
                    d = d * 0 + t - 1
                tl.store(
                    on + p * n + tl.load(place + lane, mask=lane < last, other=0), d.to(tl.int16), mask=lane < last
                )


@kernel
def carry(day_at, begin, event, event_cell, cell_group, cell_archetype, cell_region, household, venue, pair, venue_weight,
          rho, drho, W, mean, dF, dV, kin, events, households, venues, pairs, copies, K, D, T, G, R, Z,
          LAYERS: tl.constexpr, EVENTS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Tangents of the pressures in larger groups: the scores of the infectious carry the change.

    `dF` `[copies, P, G, Z]` lacks the size of the group; `kin` `[P, pairs]` is what members of a household in one venue group give
    each other. Grid: days since infection (D), shares, particles x blocks of directions.
    """
    t = tl.load(day_at)
    blocks = tl.cdiv(Z, BLOCK)
    d, p, part = tl.program_id(0), (tl.program_id(2) // blocks).to(tl.int64), tl.program_id(2) % blocks
    P = tl.num_programs(2) // blocks
    s = t - 1 - d
    z = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    wide = z < Z
    into = dF + ((tl.program_id(1) % copies) * P + p) * G * Z
    drho += (p * K * D + d) * Z
    mean += p * R * Z
    if s >= 0:
        low, last = part_of(tl.load(begin + p * (T + 1) + s), tl.load(begin + p * (T + 1) + s + 1), EVENTS)
        for e in range(low, last, EVENTS):
            lane = e + tl.arange(0, EVENTS)
            ok = lane < last
            j = tl.load(event + p * events + lane, mask=ok, other=0).to(tl.int64)
            c = tl.load(event_cell + p * events + lane, mask=ok, other=0)
            k, r = tl.load(cell_archetype + c, mask=ok, other=0), tl.load(cell_region + c, mask=ok, other=0)
            g, h = tl.load(cell_group + c, mask=ok, other=0), tl.load(household + j, mask=ok, other=0)
            now = tl.load(rho + (p * K + k) * D + d, mask=ok, other=0.0)
            here = ok[:, None] & wide
            change = tl.load(drho + (k * D)[:, None] * Z + z, mask=here, other=0.0)
            score = tl.load(W + (p * households + h)[:, None] * Z + z, mask=here, other=0.0)
            centre = tl.load(mean + r[:, None] * Z + z, mask=here, other=0.0)
            change += now[:, None] * (score - centre)
            tl.atomic_add(into + g[:, None] * Z + z, change, mask=here, sem="relaxed")
            for v in tl.static_range(LAYERS):
                m = tl.load(venue + j * LAYERS + v, mask=ok, other=-1)
                weight = tl.load(venue_weight + m, mask=m >= 0, other=0.0)
                at = dV + (p * venues + m)[:, None] * Z + z
                tl.atomic_add(at, weight[:, None] * change, mask=(m >= 0)[:, None] & wide, sem="relaxed")
                if part == 0:
                    q = tl.load(pair + j * LAYERS + v, mask=ok, other=-1)
                    tl.atomic_add(kin + p * pairs + q, weight * now, mask=q >= 0, sem="relaxed")


@kernel
def weigh(day_at, member, member_home, member_cell, cell_group, cell_archetype, venue, pair, sigma, reinfection, beta, base, response,
          home_unit, venue_unit, H, V, kin, on, weight, heard, shed, late, P, members, households, n, venues, pairs, rows, K, D, E, T, G,
          periods, LAYERS: tl.constexpr, REINFECTION: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """What each member of each household counts for, and with it the tangents of its hazard. Grid: blocks of members x particles.

    `weight` `[4 + LAYERS + AGAIN, P, N]`: of the tangents of what reaches whole groups (`table`), of those of the susceptibility for what
    home and venues add, of the pressure at home, of the score of the own household; of the pressure in each venue, times it; of those of the
    factor of reinfection. `heard` `[LAYERS, P, N]`: the venue group, or -1 if nobody there is infectious. `shed` `[P, N]`: entry of
    infectiousness of an infectious member, or -1; `late`: entry of `reinfection`, likewise.
    """
    t = tl.load(day_at)
    p = (tl.program_id(0) % P).to(tl.int64)
    i = (tl.program_id(0) // P) * BLOCK + tl.arange(0, BLOCK)
    ok = i < members
    j = tl.load(member + i, mask=ok, other=0).to(tl.int64)
    h, c = tl.load(member_home + i, mask=ok, other=0), tl.load(member_cell + i, mask=ok, other=0)
    k, g = tl.load(cell_archetype + c, mask=ok, other=0), tl.load(cell_group + c, mask=ok, other=0)
    day = tl.load(on + p * n + j, mask=ok, other=0).to(tl.int32)
    since = t - 1 - day
    ill = ok & (day >= 0) & (since >= 0) & (since < D)
    at = p * members + i
    tl.store(shed + at, tl.where(ill, k * D + since, -1), mask=ok)

    live, hit = ok & (day >= t), ok & (day == t)
    relative = live.to(tl.float32)
    if REINFECTION:
        before = tl.where(day < 0, -1 - day, day)
        waned = ok & (before < t - D)
        entry = k * E + tl.minimum(t - 1 - before, E - 1)
        relative += tl.load(reinfection + p * K * E + entry, mask=waned, other=0.0)
        live, hit = live | waned, hit | (ok & (day < 0))
        tl.store(late + at, tl.where(waned, entry, -1), mask=ok)
    s = tl.load(sigma + (p * periods + tl.minimum(t // LENGTH, periods - 1)) * K + k, mask=live, other=0.0)
    answer = tl.load(response + (p * T + t) * G + g, mask=live, other=0.0)
    pressure = tl.load(H + p * households + h, mask=live, other=0)
    unit = tl.load(venue_unit + p)
    local = tl.load(beta + p * rows * T + t) * tl.load(home_unit + p) * pressure.to(tl.float32)
    near = tl.zeros([BLOCK], tl.float32)
    for v in tl.static_range(LAYERS):
        m = tl.load(venue + j * LAYERS + v, mask=live, other=-1)
        b = answer * tl.load(beta + (p * rows + 2 + v) * T + t)
        local += b * unit * tl.load(V + p * venues + m, mask=m >= 0, other=0).to(tl.float32)
        q = tl.load(pair + j * LAYERS + v, mask=live & (pressure != 0), other=-1)
        near += b * tl.load(kin + p * pairs + q, mask=q >= 0, other=0.0)
    X = tl.load(base + (p * T + t) * G + g, mask=live, other=0.0) + local
    w = tl.where(hit, 1 / expm1(tl.maximum(relative * s * X, 1e-30)), -1.0)
    w = tl.where(live, w, 0.0)
    f = w * relative
    step = (p * 0 + members) * P
    tl.store(weight + at, f, mask=ok)
    tl.store(weight + step + at, f * local, mask=ok)
    tl.store(weight + 2 * step + at, f * s, mask=ok)
    tl.store(weight + 3 * step + at, f * s * near, mask=ok)
    for v in tl.static_range(LAYERS):
        m = tl.load(venue + j * LAYERS + v, mask=live, other=-1)
        x = tl.load(V + p * venues + m, mask=m >= 0, other=0)
        tl.store(weight + (4 + v) * step + at, f * s * answer * unit * x.to(tl.float32), mask=ok)
        tl.store(heard + v * step + at, tl.where(x != 0, m, -1), mask=ok)
    if REINFECTION:
        tl.store(weight + (4 + LAYERS) * step + at, w * s * X, mask=ok)


@kernel
def households(day_at, start, member_cell, cell_region, cell_archetype, household_weight, weight, heard, shed, late, dsigma,
               dreinfection, drho, beta, dbeta, response, dlog, table, home_unit, H, dV, W, mean, total, P, number, members, venues,
               rows, K, D, E, T, C, R, Z, periods,
               LAYERS: tl.constexpr, REINFECTION: tl.constexpr, HOMES: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """What a day adds to the scores. Grid: blocks of households x particles, blocks of directions.

    `table` `[P, C, Z]`: tangents of the hazard of a cell that needs neither home nor venue. `response`, `dlog` `[P, R]`, `[P, R, Z]`: the
    response and the tangents of its logarithm. `total` `[P, R, Z]`: sums of the scores.
    """
    t = tl.load(day_at)
    p = (tl.program_id(0) % P).to(tl.int64)
    h = (tl.program_id(0) // P) * HOMES + tl.arange(0, HOMES)
    z = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    real, wide = h < number, z < Z
    # 64-bit offsets once; rows of small tables are then found by 32 bits, in half the registers each
    dsigma += (p * periods + tl.minimum(t // LENGTH, periods - 1)) * K * Z
    drho += p * K * D * Z
    dreinfection += p * K * E * Z
    table += p * C * Z
    dV += p * venues * Z
    weight += p * members
    heard += p * members
    shed += p * members
    late += p * members
    step = (p * 0 + members) * P
    first = tl.load(start + h, mask=real, other=0)
    size = tl.load(start + h + 1, mask=real, other=0) - first
    real = real & (size > 0)
    r = tl.load(cell_region + tl.load(member_cell + first, mask=real, other=0), mask=real, other=0)
    answer = tl.load(response + p * R + r, mask=real, other=0.0)

    change = tl.zeros([HOMES, BLOCK], tl.float32)
    given = tl.zeros([HOMES, BLOCK], tl.float32)  # tangents of what the infectious of a household shed
    at_home, kin, by_response = (
        tl.zeros([HOMES], tl.float32),
        tl.zeros([HOMES], tl.float32),
        tl.zeros([HOMES], tl.float32),
    )
    for i in range(tl.max(size, 0)):
        e = first + i
        ok = real & (i < size)
        c = tl.load(member_cell + e, mask=ok, other=0)
        f, local = tl.load(weight + e, mask=ok, other=0.0), tl.load(weight + step + e, mask=ok, other=0.0)
        through = tl.load(weight + 2 * step + e, mask=ok, other=0.0)
        at_home += through
        kin += tl.load(weight + 3 * step + e, mask=ok, other=0.0)
        change += f[:, None] * tl.load(table + c[:, None] * Z + z, mask=(f != 0)[:, None] & wide, other=0.0)
        k = tl.load(cell_archetype + c, mask=ok, other=0)
        change += local[:, None] * tl.load(dsigma + k[:, None] * Z + z, mask=(local != 0)[:, None] & wide, other=0.0)
        row = tl.load(shed + e, mask=ok, other=-1)
        given += tl.load(drho + row[:, None] * Z + z, mask=(row >= 0)[:, None] & wide, other=0.0)
        for v in tl.static_range(LAYERS):
            x = tl.load(weight + (4 + v) * step + e, mask=ok, other=0.0)
            b = tl.load(beta + (p * rows + 2 + v) * T + t)
            by_response += b * x
            m = tl.load(heard + v * step + e, mask=ok, other=-1)
            there = (m >= 0)[:, None] & wide
            dVm = tl.load(dV + m.to(tl.int64)[:, None] * Z + z, mask=there, other=0.0)
            db = tl.load(dbeta + ((p * rows + 2 + v) * T + t) * Z + z, mask=wide, other=0.0)
            change += x[:, None] * db + (answer * b * through)[:, None] * dVm
        if REINFECTION:
            row = tl.load(late + e, mask=ok, other=-1)
            x = tl.load(weight + (4 + LAYERS) * step + e, mask=row >= 0, other=0.0)
            change += x[:, None] * tl.load(
                dreinfection + row[:, None] * Z + z, mask=(row >= 0)[:, None] & wide, other=0.0
            )

    db = tl.load(dbeta + (p * rows * T + t) * Z + z, mask=wide, other=0.0)
    own = tl.load(H + p * number + h, mask=real, other=0).to(tl.float32) * tl.load(home_unit + p)
    w = tl.load(beta + p * rows * T + t) * tl.load(household_weight + h, mask=real, other=0.0)
    change += (at_home * own)[:, None] * db + (at_home * w)[:, None] * given
    all_ = real[:, None] & wide
    change += by_response[:, None] * tl.load(dlog + (p * R + r)[:, None] * Z + z, mask=all_, other=0.0)
    at = (p * number + h)[:, None] * Z + z
    score = tl.load(W + at, mask=all_, other=0.0)
    centre = tl.load(mean + (p * R + r)[:, None] * Z + z, mask=all_, other=0.0)
    change -= kin[:, None] * (score - centre)
    tl.store(W + at, score + change, mask=all_)
    # few regions meet in a block: sum each by itself
    one = tl.arange(0, BLOCK) + tl.program_id(1) * BLOCK
    for a in range(tl.min(tl.where(real, r, R), 0), tl.max(tl.where(real, r, 0), 0) + 1):
        x = tl.sum(tl.where((real & (r == a))[:, None], change, 0.0).to(tl.float64), 0)
        tl.atomic_add(total + (p * R + a) * Z + one, x, mask=one < Z, sem="relaxed")


@kernel
def read_out(day_at, begin, event, event_cell, cell_group, cell_region, household, W, mean, out, events, households, copies,
             T, G, R, Z, EVENTS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Scores of the infected of the day above the mean of their region. Grid: 1, shares, particles x blocks of directions."""
    t = tl.load(day_at)
    blocks = tl.cdiv(Z, BLOCK)
    p, part = (tl.program_id(2) // blocks).to(tl.int64), tl.program_id(2) % blocks
    P = tl.num_programs(2) // blocks
    z = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    into = out + ((tl.program_id(1) % copies) * P + p) * G * Z
    mean += p * R * Z
    low, last = part_of(tl.load(begin + p * (T + 1) + t), tl.load(begin + p * (T + 1) + t + 1), EVENTS)
    for e in range(low, last, EVENTS):
        lane = e + tl.arange(0, EVENTS)
        ok = lane < last
        c = tl.load(event_cell + p * events + lane, mask=ok, other=0)
        g, r = tl.load(cell_group + c, mask=ok, other=0), tl.load(cell_region + c, mask=ok, other=0)
        h = tl.load(household + tl.load(event + p * events + lane, mask=ok, other=0), mask=ok, other=0)
        here = ok[:, None] & (z < Z)
        score = tl.load(W + (p * households + h)[:, None] * Z + z, mask=here, other=0.0)
        score -= tl.load(mean + r[:, None] * Z + z, mask=here, other=0.0)
        tl.atomic_add(into + g[:, None] * Z + z, score, mask=here, sem="relaxed")
