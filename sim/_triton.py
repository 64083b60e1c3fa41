"""The epidemic and its two derivatives as fused GPU kernels: `_reference` name by name, the same draws bit for bit.

Pressures and adjoints are single precision, sums over many agents whole numbers or float64. Same seed, same incidence
bit for bit, whatever the order of atomics; gradients repeat to single-precision rounding. The random bits are those of
the other backends, so epidemics differ only where a draw and its probability agree to about 1e-7.

A day is a handful of kernel launches; they are captured once and replayed for every day, with the day in device memory.
On a CPU the same kernels run in Triton's interpreter (`TRITON_INTERPRET=1` before triton is imported), for tests.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from sim import _triton_forward as fore
from sim import _triton_reverse as back
from sim._columns import Columns
from sim._random import day_key, stream_key, stream_keys
from sim._reference import NEVER, Epidemic, Start
from sim._triton_jvp import tangent
from sim._triton_layout import Layout, layout, refuse_mixed
from sim._triton_state import EVENTS, State, by_group, everywhere, infected_before, power, repeat, replay, single
from sim.rates import COMMUNITY, Rates

COPIES = 16
"""Of the adjoint of reinfection, so that atomics wait less for each other."""


def run(c: Columns, rates: Rates, seed: int, streams: Tensor, start: Start | None = None) -> Epidemic:
    """As `_reference.run`.

    Raises:
        ValueError: infections before day 0.
    """
    if start is not None:
        raise ValueError(
            "start gives infections before day 0, which the GPU kernels do not take; use backend='reference', or rates on the CPU."
        )
    with torch.cuda.device_of(c.group):
        return forward(layout(c), rates, seed, streams)


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_reference.vjp`."""
    with torch.cuda.device_of(c.group):
        return reverse(layout(c), rates, epidemic, cotangent)


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_reference.jvp`."""
    with torch.cuda.device_of(c.group):
        return tangent(layout(c), rates, tangents, epidemic)


def forward(a: Layout, rates: Rates, seed: int, streams: Tensor) -> Epidemic:
    """Simulate every day forward on a layout.

    Args:
        a: the population.
        rates: on the layout's device.
        seed: as for `sim.epidemic`.
        streams: `[P]` int64.

    Returns:
        As `_reference.run`.

    Raises:
        torch.OutOfMemoryError: the device holds fewer particles of this population.
    """
    events = a.agents
    while True:
        past = _forward(a, rates, seed, streams, events)
        if past is not None:
            return past
        events *= 2  # more infections than agents: once more, with room for them


def _forward(a: Layout, rates: Rates, seed: int, streams: Tensor, events: int) -> Epidemic | None:
    """`forward` with room for so many infections a particle; None if there were more."""
    x = rates.map(single)
    P, T, G = rates.particles, rates.days, len(a.group_size)
    s = State(a, x, single(rates.susceptible()), events)
    keys = [[_signed(day_key(stream_key(seed, int(i)), t)) for t in range(T)] for i in streams]
    key = torch.tensor(keys, dtype=torch.int64, device=a.order.device)
    memory = s.zeros(P, T, len(a.region_size))
    F, response, base = s.zeros(P, G), s.zeros(P, G), s.zeros(P, G)
    highest = s.zeros(P, max(s.layers, 1), dtype=torch.int32)
    s.on.fill_(NEVER)
    event_before = torch.full((P, events if s.E else 0), NEVER, dtype=torch.int16, device=a.order.device)

    def day() -> None:
        s.add_pressures(afresh=False)
        fore.force[(G, P)](
            s.day, s.counts, x.infectiousness, a.cell_start, a.cell_archetype, a.group_size, F, s.K, s.D, T, s.C, G,
            CELLS=s.cells_of_group, DAYS=power(s.D),
        )  # fmt: skip
        fore.everywhere[(G, P)](
            s.day, s.counts, a.cell_region, a.region_of_group, a.region_size, x.mixing, x.importation, x.transmission,
            x.aversion, x.forgetting, F, memory, response, base, highest, s.begin, s.rows, T, s.C, G, s.R,
            CELLS=power(s.C), GROUPS=power(G), LAYERS=s.layers,
        )  # fmt: skip
        if s.layers:
            fore.peak[(triton.cdiv(s.venues, 1024), P)](
                s.V, a.venue_start, highest, s.venues, LAYERS=s.layers, BLOCK=1024
            )
        fore.infect[(len(a.tile_cell) * P,)](
            s.day, a.tile_first, a.tile_count, a.tile_cell, a.cell_group, a.cell_archetype, a.order, a.household,
            a.venue, key, s.sigma, x.reinfection, x.transmission, base, response, s.home_unit, s.venue_unit, s.H, s.V,
            highest, s.on, s.counts, s.begin, s.event, s.event_cell, event_before, P, s.n, events, s.households, s.venues,
            s.rows, s.K, s.E, T, s.C, G, s.periods, LAYERS=s.layers, REINFECTION=s.E > 0, BLOCK=a.block,
        )  # fmt: skip
        s.day.add_(1)

    repeat(day, T, s.day.is_cuda)
    if s.E and int(s.begin[:, T].max()) > events:
        return None
    infected_on = torch.empty(P, a.agents, dtype=torch.int16, device=a.order.device)
    fore.deliver[(len(a.tile_cell), P)](
        a.tile_first, a.tile_count, a.order, s.on, infected_on, s.n, a.agents, BLOCK=a.block
    )
    like = rates.mixing.dtype
    key = stream_keys(seed, streams)
    rows, before = _rows(s, event_before), memory.new_zeros(P, 0, G, dtype=like)
    return Epidemic(by_group(a, s.counts.to(like)), infected_on, memory.to(like), rows, key, before)


def reverse(a: Layout, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """Gradient of `sum(cotangent * incidence)` on a layout, as `_reference.vjp`.

    Raises:
        ValueError: a household has members in two regions.
    """
    refuse_mixed(a)
    x = rates.map(single)
    P, T, G = rates.particles, rates.days, len(a.group_size)
    s, reinfections = replay(a, rates, x, epidemic, wide=2)
    A = epidemic.memory.float()
    F, C, response, outside, base = everywhere(s, A)
    community = x.transmission[:, COMMUNITY, :, None]

    incidence, cotangent = single(epidemic.incidence), single(cotangent)
    WG, HG = s.H.view(torch.float32)[:, 1:], s.zeros(2, P, s.households)
    VG, PG = s.zeros(2, P, max(s.venues, 1)), s.zeros(2, P, max(a.pairs, 1))
    AG, AG_of_day = s.zeros(P, s.R), s.zeros(P, T, s.R)
    xG, XG, RG, FG = s.zeros(P, G), s.zeros(P, T, G), s.zeros(P, T, G), s.zeros(P, T, G)
    double = torch.float64
    centre, cells = s.zeros(P, s.R, dtype=double), s.zeros(P, s.C, 2 + s.layers, dtype=double)
    sigmaG, betaG = s.zeros(P, s.periods, s.C, dtype=double), s.zeros(P, s.rows, T, G)
    rhoG, reinfectionG = s.zeros(P, s.K, s.D, dtype=double), s.zeros(COPIES, P, s.K, s.E)

    def day() -> None:
        back.read_out[(s.R, P)](
            s.day, cotangent, incidence, a.region_of_group, a.region_size, a.households_in_region, x.aversion,
            x.forgetting, response, RG, AG, AG_of_day, xG, centre, T, G, s.R, GROUPS=power(G),
        )  # fmt: skip
        back.own_infections[(1, s.shares, P)](
            s.day, s.begin, s.event, s.event_cell, a.cell_group, a.household, xG, WG, s.events, s.households, T, G,
            BLOCK=EVENTS,
        )  # fmt: skip
        reinfections.take_back()
        back.hazards[(len(a.tile_cell) * P,)](
            s.day, a.tile_first, a.tile_count, a.tile_cell, a.cell_group, a.cell_archetype, a.cell_region, a.household,
            a.venue, a.pair, s.sigma, x.reinfection, x.transmission, base, response, s.home_unit, s.venue_unit, s.H, s.V,
            s.on, WG, centre, HG, VG, PG, cells, reinfectionG, P, s.n, s.households, s.venues, a.pairs, s.rows, s.K, s.D, s.E, T,
            s.C, G, s.R, s.periods, LAYERS=s.layers, REINFECTION=s.E > 0, COPIES=COPIES, BLOCK=a.block,
        )  # fmt: skip
        back.collect[(G, P)](
            s.day, a.cell_start, a.cell_archetype, cells, s.sigma, x.transmission, base, response, outside,
            sigmaG, betaG, XG, RG, s.rows, s.K, T, s.C, G, s.periods, LAYERS=s.layers, CELLS=s.cells_of_group,
        )  # fmt: skip
        back.mixed[(G, P)](
            s.day, x.mixing, x.transmission, response, a.group_size, XG, FG, s.rows, T, G, GROUPS=power(G)
        )
        back.infectious[(s.D + 2, s.shares, P)](
            s.day, s.begin, s.event, s.event_cell, a.cell_group, a.cell_archetype, a.cell_region, a.household, a.venue,
            a.pair, a.household_weight, a.venue_weight, a.households_in_region, x.infectiousness, s.per_home,
            s.per_venue, x.transmission, FG, s.H, s.V, HG, VG, PG, WG, centre, rhoG, s.events, s.households, s.venues,
            a.pairs, s.rows, s.K, s.D, T, G, s.R, LAYERS=s.layers, BLOCK=EVENTS,
        )  # fmt: skip
        s.day.sub_(1)

    s.day.fill_(T - 1)
    s.add_pressures(afresh=True)
    repeat(day, T, s.day.is_cuda)

    bar = rates.map(torch.zeros_like)
    bar.importation.copy_(XG)
    CG = response * XG
    betaG[:, COMMUNITY] = CG * C
    bar.transmission.copy_(betaG.double().sum(3))
    bar.mixing.copy_(torch.einsum("ptg,pth->pgh", (community * CG).double(), F.double()))
    susceptible = s.zeros(P, s.periods, s.K, dtype=double).index_add_(2, a.cell_archetype, sigmaG)
    for part, value in zip((bar.susceptibility, bar.waning), rates.susceptible_adjoint(susceptible), strict=True):
        part.copy_(value)
    bar.reinfection.copy_(reinfectionG.double().sum(0))
    memory = A[..., a.region_of_group]
    bar.aversion.copy_(-(RG * response * memory).double().sum((1, 2)))
    percent = 100 * s.zeros(P, T, s.R).index_add_(2, a.region_of_group, incidence) / a.region_size
    bar.forgetting.copy_((AG_of_day * (percent - A)).double().sum((1, 2)))
    reached = FG[..., a.cell_group]
    for d, since in infected_before(s):
        by_cell = (reached * since).double().sum(1)
        rhoG[:, :, d] += rhoG.new_zeros(P, s.K).index_add_(1, a.cell_archetype, by_cell)
    bar.infectiousness.copy_(rhoG)
    return bar


def _rows(s: State, event_before: Tensor) -> Tensor:
    """Reinfections as in `Epidemic`, of the events that replace an infection."""
    (P, T), agents = s.counts.shape[:2], s.a.agents
    particle, slot = (event_before != NEVER).nonzero().unbind(1)
    room = s.events + 1
    begins = s.begin.long() + torch.arange(P, device=slot.device)[:, None] * room
    day = torch.searchsorted(begins.flatten(), particle * room + slot, right=True) - 1 - particle * (T + 1)
    agent = s.a.order[s.event[particle, slot].long()].long()
    before = event_before[particle, slot].long()
    order = ((particle * T + day) * agents + agent).argsort()
    return torch.stack([particle, agent, day, before], 1)[order].int()


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x
