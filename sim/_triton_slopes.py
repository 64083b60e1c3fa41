"""Hazards of infections on a GPU and how they change with the rates, the past held fixed: `_compiled_hazards`.

What is one number a spell is plain tensors. Kernels go where a sum runs over the spells of a household or venue group: its pressure, the
adjoint of its infectiousness (atomic sums in double precision, which repeat to rounding), and the tangents.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sim._triton_people import Past, People, from_day, kernel, opened, sizes, some
from sim.rates import COMMUNITY, HOUSEHOLD, PERIOD, VENUES, Rates

SPELLS, DIRECTIONS = 32, 64
"""Spells that a program takes, and directions at most."""
RATHER = 8
"""Spells that a program takes with many directions."""


@triton.jit
def near(c, w, p, i, layer, ok):
    """Weight and list of the spells of an agent's household (`layer` -1) or venue group: from where to where."""
    home = layer < 0
    at_home, out = ok & (i * 0 + home.to(tl.int32) > 0), ok & (i * 0 + home.to(tl.int32) == 0)
    h = tl.load(c.household + i, mask=at_home, other=0)
    v = tl.load(c.venue + i.to(tl.int64) * c.V + layer, mask=out, other=-1)
    out = out & (v >= 0)
    first, last = (
        tl.load(c.household_start + h, mask=at_home, other=0),
        tl.load(c.household_start + h + 1, mask=at_home, other=0),
    )
    begin = tl.load(w.first + p * c.N + first, mask=at_home, other=0) + tl.load(
        w.venue_first + p * c.S + v, mask=out, other=0
    )
    end = tl.load(w.first + p * c.N + last, mask=at_home, other=0)
    end += tl.load(w.venue_first + p * c.S + v + 1, mask=out, other=0)
    weight = tl.load(c.household_weight + h, mask=at_home, other=0.0) + tl.load(c.venue_weight + v, mask=out, other=0.0)
    return begin, end, weight, out


@triton.jit
def entry_of(c, w, e, out, day, ok):
    """Of the spell at `e` of a list (of venues where `out`): its entry of infectiousness, or -1, and whether the list goes on."""
    n = tl.where(out, tl.load(w.venue_spell + e, mask=ok & out, other=0), e)
    age = day - 1 - tl.load(w.day + n, mask=ok, other=0)
    go = ok & ((out == 0) | (age >= 0))
    here = go & (age >= 0) & (age < w.D)
    k = tl.load(c.archetype + tl.load(w.agent + n, mask=here, other=0), mask=here, other=0)
    return tl.where(here, k * w.D + age, -1), go


@kernel
def pressures(c, w, pressure, BLOCK: tl.constexpr):
    """Pressure `[M, 1 + V]` of household and venue groups on the day of each spell. Grid: blocks of spells, 1 + layers."""
    c, w = opened(c, w)
    s, layer = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1) - 1
    ok = s < w.M
    p = tl.load(w.particle + s, mask=ok, other=0).to(tl.int64)
    i, day = tl.load(w.agent + s, mask=ok, other=0), tl.load(w.day + s, mask=ok, other=0)
    e, end, weight, out = near(c, w, p, i, layer, ok)
    e = tl.where(out, from_day(w, e, end, day - w.D, out), e)
    total, go = weight * 0.0, ok & (e < end)
    while some(go):
        row, go = entry_of(c, w, e, out, day, go)
        total += tl.load(w.rho + p * w.K * w.D + row, mask=row >= 0, other=0.0)
        e += 1
        go = go & (e < end)
    tl.store(pressure + s.to(tl.int64) * (c.V + 1) + layer + 1, total * weight, mask=ok)


@kernel
def shed_back(c, w, each, bar, BLOCK: tl.constexpr):
    """Adjoint of infectiousness `[P, K, D]` from those of pressures, `each` `[M, 1 + V]`. Grid as `pressures`."""
    c, w = opened(c, w)
    s, layer = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1) - 1
    ok = s < w.M
    p = tl.load(w.particle + s, mask=ok, other=0).to(tl.int64)
    i, day = tl.load(w.agent + s, mask=ok, other=0), tl.load(w.day + s, mask=ok, other=0)
    unit = tl.load(each + s.to(tl.int64) * (c.V + 1) + layer + 1, mask=ok, other=0.0)
    ok = ok & (unit != 0.0)
    e, end, weight, out = near(c, w, p, i, layer, ok)
    e = tl.where(out, from_day(w, e, end, day - w.D, out), e)
    go = ok & (e < end)
    while some(go):
        row, go = entry_of(c, w, e, out, day, go)
        tl.atomic_add(bar + p * w.K * w.D + row, unit * weight, mask=row >= 0, sem="relaxed")
        e += 1
        go = go & (e < end)


@kernel
def shed_along(c, w, first, number, each, along, out, directions, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Into `out` `[number, Q]`: tangents of pressures times `each` `[M, 1 + V]`, of the spells from `first` on.

    `along` `[P, K, D, Q]`. Grid: blocks of spells, blocks of directions.
    """
    c, w = opened(c, w)
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    z = tl.program_id(1) * WIDE + tl.arange(0, WIDE)[None, :]
    ok, s = lane < number, first + lane
    p = tl.load(w.particle + s, mask=ok, other=0).to(tl.int64)
    i, day = tl.load(w.agent + s, mask=ok, other=0), tl.load(w.day + s, mask=ok, other=0)
    into = out + lane.to(tl.int64)[:, None] * directions + z
    total = tl.load(into, mask=ok[:, None] & (z < directions), other=0.0)
    for layer in range(-1, c.V):
        unit = tl.load(each + s.to(tl.int64) * (c.V + 1) + layer + 1, mask=ok, other=0.0)
        here = ok & (unit != 0.0)
        e, end, weight, venue = near(c, w, p, i, i * 0 + layer, here)
        e = tl.where(venue, from_day(w, e, end, day - w.D, venue), e)
        unit *= weight
        go = here & (e < end)
        while some(go):
            row, go = entry_of(c, w, e, venue, day, go)
            at = along + (p * w.K * w.D + row)[:, None] * directions + z
            total += unit[:, None] * tl.load(at, mask=(row >= 0)[:, None] & (z < directions), other=0.0)
            e += 1
            go = go & (e < end)
    tl.store(into, total, mask=ok[:, None] & (z < directions))


class Parts(NamedTuple):
    """Of each spell `[M]`: where its numbers lie, and what its hazard is made of (`_compiled_hazards.Parts`).

    `hazard = relative * own * X`; `beta` `[M, rows]`; `pressure` `[M, 1 + V]` of household and venue groups; `age`: entry of reinfection.
    """

    particle: Tensor
    day: Tensor
    group: Tensor
    kind: Tensor
    region: Tensor
    period: Tensor
    reinfected: Tensor
    age: Tensor
    relative: Tensor
    own: Tensor
    beta: Tensor
    pressure: Tensor
    response: Tensor
    outside: Tensor
    X: Tensor
    hazard: Tensor


def parts(c: People, w: Past) -> Parts:
    """Parts of the hazards of all spells."""
    z = sizes(c, w)
    p, i, t = w.particle.long(), w.agent.long(), w.day.long()
    g, k = c.group[i].long(), c.archetype[i].long()
    r, period = c.region_of_group[g].long(), (t // PERIOD).clamp_max(z.periods - 1)
    pressure = w.rho.new_zeros(z.M, 1 + z.V)
    pressures[(triton.cdiv(z.M, SPELLS), 1 + z.V)](c, w, pressure, BLOCK=SPELLS, num_warps=1)
    reinfected, since = torch.zeros_like(p, dtype=torch.bool), torch.zeros_like(t)
    reinfected[1:] = (p[1:] == p[:-1]) & (i[1:] == i[:-1])
    since[1:] = (t[1:] - 1 - t[:-1]).clamp(0, max(z.E - 1, 0))
    own, relative = w.susceptible[p, period, k], torch.ones_like(pressure[:, 0])
    if z.E:
        relative = torch.where(reinfected, w.reinfection[p, k, since], relative)
    beta, response = w.transmission[p, :, t], w.response[p, t, r]
    outside = beta[:, COMMUNITY] * w.pressure[p, t, g] + (beta[:, VENUES:] * pressure[:, 1:]).sum(1)
    X = beta[:, HOUSEHOLD] * pressure[:, 0] + response * outside + w.importation[p, t, g]
    return Parts(
        p,
        t,
        g,
        k,
        r,
        period,
        reinfected,
        since,
        relative,
        own,
        beta,
        pressure,
        response,
        outside,
        X,
        relative * own * X,
    )


def drift(c: People, w: Past, incidence: Tensor) -> Tensor:
    """Derivative of the memory `[P, T, R]` by forgetting, the incidence `[P, T, G]` held fixed."""
    share = torch.zeros_like(w.memory).index_add_(2, c.region_of_group, 100.0 * incidence.double()) / c.region_size
    out, left = torch.zeros_like(w.memory), 1.0 - w.forgetting[:, None]
    for t in range(w.memory.shape[1] - 1):
        out[:, t + 1] = left * out[:, t] + share[:, t] - w.memory[:, t]
    return out


def infections_by_kind(c: People, w: Past) -> Tensor:
    """Infections `[P, G, T, K]` by group, day and archetype."""
    z = sizes(c, w)
    i, shape = w.agent.long(), (len(w.key), z.G, z.T, z.K)
    at = ((w.particle.long() * z.G + c.group[i]) * z.T + w.day) * z.K + c.archetype[i]
    return torch.bincount(at, minlength=shape[0] * shape[1] * shape[2] * shape[3]).reshape(shape).double()


def pull(c: People, w: Past, x: Parts, change: Tensor, incidence: Tensor, rates: Rates) -> Rates:
    """Adjoints of the rates from what each spell changes, `[M]`: `change / expm1(hazard)` times the slopes of its hazard."""
    z, (P, T, G) = sizes(c, w), w.importation.shape
    hazardG = torch.where(change != 0, change / torch.expm1(x.hazard), 0.0)
    each = hazardG * x.relative * x.own

    def summed(value: Tensor, *axes: tuple[Tensor, int]) -> Tensor:
        at, shape = x.particle, [P]
        for index, size in axes:
            at, shape = at * size + index, [*shape, size]
        return torch.zeros(prod(shape), dtype=torch.float64, device=at.device).index_add_(0, at, value).reshape(shape)

    kinds, days, groups = (x.kind, z.K), (x.day, T), (x.group, G)
    ownG = summed(hazardG * x.relative * x.X, (x.period, z.periods), kinds)
    XG = summed(each, days, groups)
    answered = each * x.response * x.outside
    past = w.memory[x.particle, x.day, x.region], drift(c, w, incidence)[x.particle, x.day, x.region]
    aversionG, forgettingG = -summed(answered * past[0]), -w.aversion * summed(answered * past[1])
    weight = torch.cat([each[:, None], (each * x.response)[:, None].expand(-1, z.V)], 1)
    small = [*range(HOUSEHOLD, COMMUNITY), *range(VENUES, z.rows)]
    betaG = w.transmission.new_zeros(w.transmission.shape)
    for column, row in enumerate(small):
        betaG[:, row] = summed(weight[:, column] * x.pressure[:, column], days)
    rhoG = torch.zeros_like(w.rho)
    units = (weight * x.beta[:, small]).contiguous()
    shed_back[(triton.cdiv(z.M, SPELLS), 1 + z.V)](c, w, units, rhoG, BLOCK=SPELLS, num_warps=1)

    CG = XG * w.response[..., c.region_of_group]
    betaG[:, COMMUNITY] = (CG * w.pressure).sum(2)
    CG = CG * w.transmission[:, COMMUNITY, :, None]
    mixingG = torch.einsum("ptg,pth->pgh", CG, w.infectious / c.group_size)
    FG, number = torch.einsum("ptg,pgh->pth", CG, w.mixing) / c.group_size, infections_by_kind(c, w)
    for d in range(min(z.D, T - 1)):
        rhoG[:, :, d] += torch.einsum("ptg,pgtk->pk", FG[:, d + 1 :], number[:, :, : T - 1 - d])
    susceptibilityG, waningG = rates.susceptible_adjoint(ownG.to(rates.mixing.dtype))
    reinfectionG = torch.zeros_like(w.reinfection)
    if z.E:
        late = torch.where(x.reinfected, hazardG * x.own * x.X, 0.0)
        reinfectionG = summed(late, kinds, (x.age, z.E))
    bar = Rates(rhoG, susceptibilityG, betaG, mixingG, XG, aversionG, forgettingG, reinfectionG, waningG)
    return bar.map(lambda g: g.to(rates.mixing.dtype))


class Along(NamedTuple):
    """Directions, with a trailing axis of Q, and what they do to whole groups: `pressure` `[P, T, G, Q]`."""

    rho: Tensor
    own: Tensor
    beta: Tensor
    importation: Tensor
    aversion: Tensor
    forgetting: Tensor
    reinfection: Tensor
    pressure: Tensor
    drift: Tensor


def directions(c: People, w: Past, rates: Rates, tangents: Rates, incidence: Tensor) -> Along:
    """Directions of the rates, as `push` takes them."""
    dx = tangents.map(lambda x: x.detach().double().contiguous())
    own, T = rates.map(Tensor.double).susceptible_tangent(dx).contiguous(), w.importation.shape[1]
    shed, number = (
        torch.zeros(*w.importation.shape, own.shape[-1], dtype=torch.float64, device=own.device),
        infections_by_kind(c, w),
    )
    for d in range(min(w.rho.shape[2], T - 1)):
        shed[:, d + 1 :] += torch.einsum("pgtk,pkq->ptgq", number[:, :, : T - 1 - d], dx.infectiousness[:, :, d])
    size = c.group_size
    pressure = torch.einsum("pgh,pthq->ptgq", w.mixing, shed / size[:, None])
    pressure += torch.einsum("pghq,pth->ptgq", dx.mixing, w.infectious / size)
    return Along(
        dx.infectiousness, own, dx.transmission, dx.importation, dx.aversion, dx.forgetting, dx.reinfection, pressure,
        drift(c, w, incidence),
    )  # fmt: skip


def push(c: People, w: Past, x: Parts, along: Along, first: int, stop: int) -> Tensor:
    """Of the spells `first..stop`: tangents of the hazard over expm1 of it, `[stop - first, Q]`."""
    z = sizes(c, w)
    y = Parts(*(part[first:stop] for part in x))
    p, t, g, r = y.particle, y.day, y.group, y.region
    Q, answer = along.own.shape[-1], y.response[:, None]
    dX = (
        y.beta[:, COMMUNITY, None] * along.pressure[p, t, g]
        + along.beta[p, COMMUNITY, t] * w.pressure[p, t, g][:, None]
    )
    for v in range(z.V):
        dX += along.beta[p, VENUES + v, t] * y.pressure[:, 1 + v, None]
    dX *= answer
    dX += along.beta[p, HOUSEHOLD, t] * y.pressure[:, :1] + along.importation[p, t, g]
    memory = w.memory[p, t, r][:, None] * along.aversion[p]
    memory += (w.aversion[p] * along.drift[p, t, r])[:, None] * along.forgetting[p]
    dX -= answer * y.outside[:, None] * memory
    weight = torch.cat([torch.ones_like(x.response)[:, None], x.response[:, None].expand(-1, z.V)], 1)
    small = [*range(HOUSEHOLD, COMMUNITY), *range(VENUES, z.rows)]
    wide = min(DIRECTIONS, triton.next_power_of_2(Q))
    shed_along[(triton.cdiv(stop - first, RATHER), triton.cdiv(Q, wide))](
        c, w, first, stop - first, (weight * x.beta[:, small]).contiguous(), along.rho, dX, Q, BLOCK=RATHER, WIDE=wide
    )
    out = y.relative[:, None] * (along.own[p, y.period, y.kind] * y.X[:, None] + y.own[:, None] * dX)
    if z.E:
        late = along.reinfection[p, y.kind, y.age] * (y.own * y.X)[:, None]
        out += torch.where(y.reinfected[:, None], late, 0.0)
    scale = torch.expm1(y.hazard)
    real = torch.isfinite(scale) & (scale > 0) & (t >= w.begins)
    return torch.where(real[:, None], out / torch.where(real, scale, 1.0)[:, None], 0.0)
