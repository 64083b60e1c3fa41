"""The epidemic and its reverse gradient as fused GPU kernels: `_reference` name by name, the same draws bit for bit.

Pressures and adjoints are single precision, sums over many agents whole numbers or float64. Same seed, same incidence
bit for bit, whatever the order of atomics; gradients repeat to single-precision rounding. The random bits are those of
the other backends, so epidemics differ only where a draw and its probability agree to about 1e-7.

A day is a handful of kernel launches; they are captured once and replayed for every day, with the day in device memory.
On a CPU the same kernels run in Triton's interpreter (`TRITON_INTERPRET=1` before triton is imported), for tests.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
from torch import Tensor

from sim import _reference
from sim import _triton_forward as fore
from sim import _triton_reverse as back
from sim._columns import Columns
from sim._random import day_key, stream_key
from sim._reference import NEVER, Epidemic
from sim._triton_layout import Layout, layout
from sim.rates import COMMUNITY, Rates

QUANTA = 2.0**30
"""Quanta of the highest pressure that a household or venue group can reach: one more an infectious agent still fits 32 bits."""
EVENTS = 256
"""Infectious agents a program takes at a time."""
COPIES = 16
"""Of the adjoint of reinfection, so that atomics wait less for each other."""


def run(c: Columns, rates: Rates, seed: int, streams: Tensor) -> Epidemic:
    """As `_reference.run`."""
    with torch.cuda.device_of(c.group):
        return forward(layout(c), rates, seed, streams)


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_reference.vjp`."""
    with torch.cuda.device_of(c.group):
        return reverse(layout(c), rates, epidemic, cotangent)


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_reference.jvp`, and computed by it: forward mode has no GPU kernel, and takes memory for agents times directions."""
    return _reference.jvp(c, rates, tangents, epidemic)


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
    x = rates.map(_single)
    P, T, G = rates.particles, rates.days, len(a.group_size)
    s = _State(a, x, _single(rates.susceptible()), events)
    keys = [[_signed(day_key(stream_key(seed, int(i)), t)) for t in range(T)] for i in streams]
    key = torch.tensor(keys, dtype=torch.int64, device=a.order.device)
    memory = s.zeros(P, T, len(a.region_size))
    F, response, base = s.zeros(P, G), s.zeros(P, G), s.zeros(P, G)
    highest = s.zeros(P, max(s.layers, 1), dtype=torch.int32)
    s.on.fill_(NEVER)
    event_before = torch.full((P, events if s.E else 0), NEVER, dtype=torch.int16, device=a.order.device)

    def day() -> None:
        s.spread(afresh=False)
        fore.force[(G, P)](
            s.day, s.counts, x.infectiousness, a.cell_start, a.cell_archetype, a.group_size, F, s.K, s.D, T, s.C, G,
            CELLS=s.cells_of_group, DAYS=_power(s.D),
        )  # fmt: skip
        fore.everywhere[(G, P)](
            s.day, s.counts, a.cell_region, a.region_of_group, a.region_size, x.mixing, x.importation, x.transmission,
            x.aversion, x.forgetting, F, memory, response, base, highest, s.begin, s.rows, T, s.C, G, s.R,
            CELLS=_power(s.C), GROUPS=_power(G), LAYERS=s.layers,
        )  # fmt: skip
        if s.layers:
            fore.peak[(triton.cdiv(s.venues, 1024), P)](
                s.V, a.venue_start, highest, s.venues, LAYERS=s.layers, BLOCK=1024
            )
        fore.infect[(len(a.tile_cell) * P,)](
            s.day, a.tile_first, a.tile_count, a.tile_cell, a.cell_group, a.cell_archetype, a.order, a.household,
            a.venue, key, s.sigma, x.reinfection, x.transmission, base, response, s.home_unit, s.venue_unit, s.H, s.V,
            highest, s.on, s.counts, s.begin, s.event, s.event_cell, event_before, P, s.n, events, s.households, s.venues,
            s.rows, s.K, s.E, T, s.C, G, s.periods, LAYERS=s.layers, AGAIN=s.E > 0, BLOCK=a.block,
        )  # fmt: skip
        s.day.add_(1)

    _repeat(day, T, s.day.is_cuda)
    if s.E and int(s.begin[:, T].max()) > events:
        return None
    infected_on = torch.empty(P, a.agents, dtype=torch.int16, device=a.order.device)
    fore.deliver[(len(a.tile_cell), P)](
        a.tile_first, a.tile_count, a.order, s.on, infected_on, s.n, a.agents, BLOCK=a.block
    )
    like = rates.mixing.dtype
    ghosts = infected_on.new_empty(P, 0, a.agents)
    return Epidemic(_by_group(a, s.counts.to(like)), infected_on, memory.to(like), _rows(s, event_before), ghosts)


def reverse(a: Layout, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """Gradient of `sum(cotangent * incidence)` on a layout, as `_reference.vjp`."""
    x = rates.map(_single)
    P, T, G = rates.particles, rates.days, len(a.group_size)
    rows = epidemic.reinfections
    most = int(torch.bincount(rows[:, 0]).max()) if len(rows) else 0
    s = _State(a, x, _single(rates.susceptible()), a.agents + most, wide=2)
    tiles = (len(a.tile_cell), P)
    back.recall[tiles](
        a.tile_first, a.tile_count, a.tile_cell, a.order, epidemic.infected_on.contiguous(), s.on, s.counts, s.n,
        a.agents, T, s.C, BLOCK=a.block,
    )  # fmt: skip
    again = _Again(s, rows)
    s.begin[:, 1:] = s.counts.sum(2).cumsum(1)
    cursor = s.begin.clone()
    back.enlist[tiles](
        a.tile_first, a.tile_count, a.tile_cell, s.on, cursor, s.event, s.event_cell, s.n, s.events, T, BLOCK=a.block,
    )  # fmt: skip
    again.enlist(cursor)

    # what reaches whole groups, all days at once
    A = epidemic.memory.float()
    community = x.transmission[:, COMMUNITY, :, None]
    F = _by_group(
        a,
        sum(
            (since[:, :, :] * x.infectiousness[:, None, a.cell_archetype, d] for d, since in _past(s)),
            s.zeros(P, T, s.C),
        ),
    )
    F = F / a.group_size
    C = torch.einsum("pgh,pth->ptg", x.mixing, F)
    response = torch.exp(-x.aversion[:, None, None] * A)[..., a.region_of_group].contiguous()
    outside = community * C
    base = response * outside + x.importation

    incidence, cotangent = _single(epidemic.incidence), _single(cotangent)
    WG, HG = s.H.view(torch.float32)[:, 1:], s.zeros(2, P, s.households)
    VG, PG = s.zeros(2, P, max(s.venues, 1)), s.zeros(2, P, max(a.pairs, 1))
    AG, AG_of_day = s.zeros(P, s.R), s.zeros(P, T, s.R)
    xG, XG, RG, FG = s.zeros(P, G), s.zeros(P, T, G), s.zeros(P, T, G), s.zeros(P, T, G)
    double = torch.float64
    centre, cells = s.zeros(P, s.R, dtype=double), s.zeros(P, s.C, 2 + s.layers, dtype=double)
    sigmaG, betaG = s.zeros(P, s.periods, s.C, dtype=double), s.zeros(P, s.rows, T, G)
    rhoG, againG = s.zeros(P, s.K, s.D, dtype=double), s.zeros(COPIES, P, s.K, s.E)

    def day() -> None:
        back.read_out[(s.R, P)](
            s.day, cotangent, incidence, a.region_of_group, a.region_size, a.households_in_region, x.aversion,
            x.forgetting, response, RG, AG, AG_of_day, xG, centre, T, G, s.R, GROUPS=_power(G),
        )  # fmt: skip
        back.own_infections[(1, s.shares, P)](
            s.day, s.begin, s.event, s.event_cell, a.cell_group, a.household, xG, WG, s.events, s.households, T, G,
            BLOCK=EVENTS,
        )  # fmt: skip
        again.take_back()
        back.hazards[(len(a.tile_cell) * P,)](
            s.day, a.tile_first, a.tile_count, a.tile_cell, a.cell_group, a.cell_archetype, a.cell_region, a.household,
            a.venue, a.pair, s.sigma, x.reinfection, x.transmission, base, response, s.home_unit, s.venue_unit, s.H, s.V,
            s.on, WG, centre, HG, VG, PG, cells, againG, P, s.n, s.households, s.venues, a.pairs, s.rows, s.K, s.D, s.E, T,
            s.C, G, s.R, s.periods, LAYERS=s.layers, AGAIN=s.E > 0, COPIES=COPIES, BLOCK=a.block,
        )  # fmt: skip
        back.collect[(G, P)](
            s.day, a.cell_start, a.cell_archetype, cells, s.sigma, x.transmission, base, response, outside,
            sigmaG, betaG, XG, RG, s.rows, s.K, T, s.C, G, s.periods, LAYERS=s.layers, CELLS=s.cells_of_group,
        )  # fmt: skip
        back.mixed[(G, P)](
            s.day, x.mixing, x.transmission, response, a.group_size, XG, FG, s.rows, T, G, GROUPS=_power(G)
        )
        back.infectious[(s.D + 2, s.shares, P)](
            s.day, s.begin, s.event, s.event_cell, a.cell_group, a.cell_archetype, a.cell_region, a.household, a.venue,
            a.pair, a.household_weight, a.venue_weight, a.households_in_region, x.infectiousness, s.per_home,
            s.per_venue, x.transmission, FG, s.H, s.V, HG, VG, PG, WG, centre, rhoG, s.events, s.households, s.venues,
            a.pairs, s.rows, s.K, s.D, T, G, s.R, LAYERS=s.layers, BLOCK=EVENTS,
        )  # fmt: skip
        s.day.sub_(1)

    s.day.fill_(T - 1)
    s.spread(afresh=True)
    _repeat(day, T, s.day.is_cuda)

    bar = rates.map(torch.zeros_like)
    bar.importation.copy_(XG)
    CG = response * XG
    betaG[:, COMMUNITY] = CG * C
    bar.transmission.copy_(betaG.double().sum(3))
    bar.mixing.copy_(torch.einsum("ptg,pth->pgh", (community * CG).double(), F.double()))
    susceptible = s.zeros(P, s.periods, s.K, dtype=double).index_add_(2, a.cell_archetype, sigmaG)
    for part, value in zip((bar.susceptibility, bar.waning), rates.susceptible_adjoint(susceptible), strict=True):
        part.copy_(value)
    bar.reinfection.copy_(againG.double().sum(0))
    memory = A[..., a.region_of_group]
    bar.aversion.copy_(-(RG * response * memory).double().sum((1, 2)))
    percent = 100 * s.zeros(P, T, s.R).index_add_(2, a.region_of_group, incidence) / a.region_size
    bar.forgetting.copy_((AG_of_day * (percent - A)).double().sum((1, 2)))
    reached = FG[..., a.cell_group]
    for d, since in _past(s):
        by_cell = (reached * since).double().sum(1)
        rhoG[:, :, d] += rhoG.new_zeros(P, s.K).index_add_(1, a.cell_archetype, by_cell)
    bar.infectiousness.copy_(rhoG)
    return bar


class _State:
    """What both directions keep on the device: pressures, events, the day."""

    def __init__(self, a: Layout, x: Rates, sigma: Tensor, events: int, wide: int = 1) -> None:
        self.a, self.x, self.sigma, self.events, self.wide = a, x, sigma, events, wide
        P, T = x.particles, x.days
        self.n, self.C, self.R = len(a.order), len(a.cell_group), len(a.region_size)
        self.K, self.D, self.rows, self.layers = *x.infectiousness.shape[1:], x.transmission.shape[1], a.venue.shape[1]
        self.E, self.periods = x.reinfection.shape[2], sigma.shape[1]
        self.households, self.venues = len(a.household_weight), len(a.venue_weight)
        self.cells_of_group = _power(int(torch.diff(a.cell_start).max()))
        self.shares = min(1024, triton.cdiv(a.agents, 60_000))
        if self.C > 32_767:
            raise ValueError(
                f"{self.C} pairs of group and archetype do not fit the GPU kernels' 16-bit cells; use backend='reference'."
            )
        if a.order.is_cuda:
            needed = memory_needed(a, P, reverse=wide > 1, events=events, again=self.E > 0)
            _check_memory(needed, P, a.order.device)
        most = x.infectiousness.flatten(1).amax(1)
        self.home_unit, self.per_home = _quantum(most * a.household_bound)
        self.venue_unit, self.per_venue = _quantum(most * a.venue_bound)
        whole = torch.int32
        self.H = self.zeros(P, self.households * wide, dtype=whole)
        self.V = self.zeros(P, max(self.venues, 1), dtype=whole)
        self.on = torch.empty(P, self.n, dtype=torch.int16, device=a.order.device)
        self.counts, self.begin = self.zeros(P, T, self.C, dtype=whole), self.zeros(P, T + 1, dtype=whole)
        self.event = torch.empty(P, events, dtype=whole, device=a.order.device)
        self.event_cell = torch.empty(P, events, dtype=torch.int16, device=a.order.device)
        self.day = self.zeros(1, dtype=whole)

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.a.order.device)

    def spread(self, *, afresh: bool) -> None:
        """Pressures of the day, from those of the day before or from none."""
        a, x = self.a, self.x
        fore.spread[(self.D + 1, self.shares, x.particles)](
            self.day, self.begin, self.event, self.event_cell, a.cell_archetype, a.household, a.venue,
            a.household_weight, a.venue_weight, x.infectiousness, self.per_home, self.per_venue, self.H, self.V,
            self.events, self.households, self.venues, self.K, self.D, x.days,
            LAYERS=self.layers, WIDE=self.wide, AFRESH=afresh, AGAIN=self.E > 0, BLOCK=EVENTS,
        )  # fmt: skip


class _Again:
    """Reinfections in the reverse pass: `[L, 4]` rows as in `Epidemic`, laid out and in order of particle and day."""

    def __init__(self, s: _State, rows: Tensor) -> None:
        """Finds their agents, and counts the infections that they replaced."""
        self.s, self.length, a, (P, T) = s, len(rows), s.a, s.counts.shape[:2]
        if not self.length:
            return
        place = torch.empty(a.agents, dtype=torch.int32, device=a.order.device)
        cell = torch.empty(a.agents, dtype=torch.int16, device=a.order.device)
        back.find[(len(a.tile_cell),)](a.tile_first, a.tile_count, a.tile_cell, a.order, place, cell, BLOCK=a.block)
        by_day = rows[:, 0].long() * (T + 1) + rows[:, 2]
        by_day, order = by_day.sort()
        self.particle, agent, _, self.before = rows[order].unbind(1)
        self.particle, self.before = self.particle.contiguous(), self.before.contiguous()
        self.place, self.cell = place[agent.long()], cell[agent.long()]
        days = torch.arange(P, device=a.order.device)[:, None] * (T + 1) + torch.arange(T + 2, device=a.order.device)
        self.begin = torch.searchsorted(by_day, days).int()
        at = (self.particle.long() * T + self.before) * s.C + self.cell
        s.counts.view(-1).index_add_(0, at, torch.ones_like(self.particle))

    def enlist(self, cursor: Tensor) -> None:
        """Add the infections that they replaced to the events."""
        if self.length:
            s = self.s
            back.enlist_before[(triton.cdiv(self.length, EVENTS),)](
                self.particle, self.place, self.cell, self.before, cursor, s.event, s.event_cell, self.length, s.events,
                s.counts.shape[1], BLOCK=EVENTS,
            )  # fmt: skip

    def take_back(self) -> None:
        """Put the infection before in the place of the day's."""
        if self.length:
            s = self.s
            back.take_back[(1, s.shares, len(s.on))](
                s.day, self.begin, self.place, self.before, s.on, s.n, s.counts.shape[1], BLOCK=EVENTS
            )


def _rows(s: _State, event_before: Tensor) -> Tensor:
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


def memory_needed(a: Layout, particles: int, *, reverse: bool, events: int = 0, again: bool = False) -> int:
    """Bytes that the columns of a direction take above the population, whatever the number of days.

    `events`: room for infections a particle, if not one an agent; `again`: agents may be infected again.
    """
    households, venues = len(a.household_weight), len(a.venue_weight)
    # day of infection, events, the result
    agents = (
        2 * len(a.order) + (6 if reverse or not again else 8) * (events or a.agents) + (0 if reverse else 2) * a.agents
    )
    groups = 4 * households + 4 * venues
    adjoints = 12 * households + 8 * venues + 8 * a.pairs
    return particles * (agents + groups + (adjoints if reverse else 0))


def _check_memory(needed: int, particles: int, device: torch.device) -> None:
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if needed > free:
        raise torch.OutOfMemoryError(
            f"{particles} particles need {needed / 2**30:.1f} GiB above the population and {device} has "
            f"{free / 2**30:.1f} GiB free; simulate fewer particles at once or a smaller population."
        )


def _repeat(day: Callable[[], None], times: int, on_gpu: bool) -> None:
    """Run a day many times: once as it is, which compiles its kernels, then captured and replayed where there is a GPU."""
    day()
    if not on_gpu or times < 3:
        for _ in range(times - 1):
            day()
        return
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        graph.capture_begin(capture_error_mode="thread_local")
        day()
        graph.capture_end()
    torch.cuda.current_stream().wait_stream(side)
    for _ in range(times - 1):
        graph.replay()
    torch.cuda.current_stream().synchronize()


def _past(s: _State) -> list[tuple[int, Tensor]]:
    """Infections `[P, T, C]` by cell, d + 1 days before each day."""
    T = s.counts.shape[1]
    padded = torch.nn.functional.pad(s.counts, (0, 0, s.D, 0))
    return [(d, padded[:, s.D - 1 - d : s.D - 1 - d + T].float()) for d in range(s.D)]


def _by_group(a: Layout, values: Tensor) -> Tensor:
    """Sums over the cells of each group: `[P, T, C] -> [P, T, G]`."""
    return values.new_zeros(*values.shape[:2], len(a.group_size)).index_add_(2, a.cell_group, values)


def _quantum(most: Tensor) -> tuple[Tensor, Tensor]:
    """Pressure of one quantum and quanta of one unit of pressure, for the highest pressure `[P]`; both zero where that is."""
    return most / QUANTA, torch.where(most > 0, QUANTA / most, 0.0)


def _power(x: int) -> int:
    return int(triton.next_power_of_2(x))


def _single(x: Tensor) -> Tensor:
    return x.detach().to(torch.float32).contiguous()


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x
