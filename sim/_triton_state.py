"""What the GPU kernels keep on the device, forward, in reverse and in forward mode, and how a day is repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from sim import _triton_forward as fore
from sim import _triton_reverse as back
from sim import _triton_tangent as along
from sim._reference import Epidemic
from sim._triton_layout import Layout
from sim.rates import COMMUNITY, Rates

QUANTA = 2.0**30
"""Quanta of the highest pressure that a household or venue group can reach: one more an infectious agent still fits 32 bits."""
EVENTS = 256
"""Infectious agents a program takes at a time."""


class State:
    """What every pass keeps on the device: pressures, events, the day."""

    def __init__(self, a: Layout, x: Rates, sigma: Tensor, events: int, wide: int = 1) -> None:
        self.a, self.x, self.sigma, self.events, self.wide = a, x, sigma, events, wide
        P, T = x.particles, x.days
        self.n, self.C, self.R = len(a.order), len(a.cell_group), len(a.region_size)
        self.K, self.D, self.rows, self.layers = *x.infectiousness.shape[1:], x.transmission.shape[1], a.venue.shape[1]
        self.E, self.periods = x.reinfection.shape[2], sigma.shape[1]
        self.households, self.venues = len(a.household_weight), len(a.venue_weight)
        self.cells_of_group = power(int(torch.diff(a.cell_start).max()))
        self.shares = min(1024, triton.cdiv(a.agents, 60_000))
        if self.C > 32_767:
            raise ValueError(
                f"{self.C} pairs of group and archetype do not fit the GPU kernels' 16-bit cells; use backend='reference'."
            )
        if a.order.is_cuda:
            needed = memory_needed(a, P, reverse=wide > 1, events=events, reinfections=self.E > 0)
            check_memory(needed, P, a.order.device)
        most = x.infectiousness.flatten(1).amax(1)
        self.home_unit, self.per_home = quantum(most * a.household_bound)
        self.venue_unit, self.per_venue = quantum(most * a.venue_bound)
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

    def add_pressures(self, *, afresh: bool) -> None:
        """Pressures of the day, from those of the day before or from none."""
        a, x = self.a, self.x
        fore.add_pressures[(self.D + 1, self.shares, x.particles)](
            self.day, self.begin, self.event, self.event_cell, a.cell_archetype, a.household, a.venue,
            a.household_weight, a.venue_weight, x.infectiousness, self.per_home, self.per_venue, self.H, self.V,
            self.events, self.households, self.venues, self.K, self.D, x.days,
            LAYERS=self.layers, WIDE=self.wide, AFRESH=afresh, REINFECTION=self.E > 0, BLOCK=EVENTS,
        )  # fmt: skip


class Reinfections:
    """Reinfections in a pass over an epidemic: `[L, 4]` rows as in `Epidemic`, laid out and in order of particle and day."""

    def __init__(self, s: State, rows: Tensor) -> None:
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

    def bring_forward(self) -> None:
        """Mark the day's, and put those of the day before in the place of the infection before."""
        if self.length:
            s = self.s
            along.bring_forward[(1, s.shares, len(s.on))](
                s.day, self.begin, self.place, self.before, s.on, s.n, s.counts.shape[1], BLOCK=EVENTS
            )

    def take_back(self) -> None:
        """Put the infection before in the place of the day's."""
        if self.length:
            s = self.s
            back.take_back[(1, s.shares, len(s.on))](
                s.day, self.begin, self.place, self.before, s.on, s.n, s.counts.shape[1], BLOCK=EVENTS
            )


def replay(a: Layout, rates: Rates, x: Rates, epidemic: Epidemic, wide: int = 1) -> tuple[State, Reinfections]:
    """State with the infections of an epidemic by day, and its reinfections; `x` are the rates in single precision.

    `on` holds the last infection of each agent.
    """
    rows, T = epidemic.reinfections, rates.days
    most = int(torch.bincount(rows[:, 0]).max()) if len(rows) else 0
    s = State(a, x, single(rates.susceptible()), a.agents + most, wide)
    tiles = (len(a.tile_cell), rates.particles)
    back.recall[tiles](
        a.tile_first, a.tile_count, a.tile_cell, a.order, epidemic.infected_on.contiguous(), s.on, s.counts, s.n,
        a.agents, T, s.C, BLOCK=a.block,
    )  # fmt: skip
    reinfections = Reinfections(s, rows)
    s.begin[:, 1:] = s.counts.sum(2).cumsum(1)
    cursor = s.begin.clone()
    back.enlist[tiles](
        a.tile_first, a.tile_count, a.tile_cell, s.on, cursor, s.event, s.event_cell, s.n, s.events, T, BLOCK=a.block,
    )  # fmt: skip
    reinfections.enlist(cursor)
    return s, reinfections


class Everywhere(NamedTuple):
    """What reaches whole groups on each day, `[P, T, G]`: mean infectiousness F, community pressure C, response, hazards."""

    F: Tensor
    C: Tensor
    response: Tensor
    outside: Tensor
    base: Tensor


def everywhere(s: State, memory: Tensor) -> Everywhere:
    """All days at once, from infections by day and cell and the remembered incidence `[P, T, R]`."""
    a, x, (P, T, _) = s.a, s.x, s.counts.shape
    by_cell = s.zeros(P, T, s.C)
    for d, since in infected_before(s):
        by_cell = by_cell + since * x.infectiousness[:, None, a.cell_archetype, d]
    F = by_group(a, by_cell) / a.group_size
    C = torch.einsum("pgh,pth->ptg", x.mixing, F)
    response = torch.exp(-x.aversion[:, None, None] * memory)[..., a.region_of_group].contiguous()
    outside = x.transmission[:, COMMUNITY, :, None] * C
    return Everywhere(F, C, response, outside, response * outside + x.importation)


def memory_needed(a: Layout, particles: int, *, reverse: bool, events: int = 0, reinfections: bool = False) -> int:
    """Bytes that the columns of a forward or a reverse pass take above the population, whatever the number of days.

    `events`: room for infections a particle, if not one an agent; `reinfections`: agents may be infected again.
    """
    households, venues = len(a.household_weight), len(a.venue_weight)
    # day of infection, events, the result
    agents = (
        2 * len(a.order)
        + (6 if reverse or not reinfections else 8) * (events or a.agents)
        + (0 if reverse else 2) * a.agents
    )
    groups = 4 * households + 4 * venues
    adjoints = 12 * households + 8 * venues + 8 * a.pairs
    return particles * (agents + groups + (adjoints if reverse else 0))


def check_memory(needed: int, particles: int, device: torch.device, directions: int = 0) -> None:
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if needed > free:
        what, fewer = f"{particles} particles", "fewer particles at once"
        if directions:
            what, fewer = f"{what} in {directions} directions", "fewer particles or directions at once"
        raise torch.OutOfMemoryError(
            f"{what} need {needed / 2**30:.1f} GiB above the population and {device} has "
            f"{free / 2**30:.1f} GiB free; simulate {fewer} or a smaller population."
        )


def repeat(day: Callable[[], None], times: int, on_gpu: bool) -> None:
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


def infected_before(s: State) -> list[tuple[int, Tensor]]:
    """Infections `[P, T, C]` by cell, d + 1 days before each day."""
    T = s.counts.shape[1]
    padded = torch.nn.functional.pad(s.counts, (0, 0, s.D, 0))
    return [(d, padded[:, s.D - 1 - d : s.D - 1 - d + T].float()) for d in range(s.D)]


def by_group(a: Layout, values: Tensor) -> Tensor:
    """Sums over the cells of each group: `[P, T, C] -> [P, T, G]`."""
    return values.new_zeros(*values.shape[:2], len(a.group_size)).index_add_(2, a.cell_group, values)


def quantum(most: Tensor) -> tuple[Tensor, Tensor]:
    """Pressure of one quantum and quanta of one unit of pressure, for the highest pressure `[P]`; both zero where that is."""
    return most / QUANTA, torch.where(most > 0, QUANTA / most, 0.0)


def power(x: int) -> int:
    return int(triton.next_power_of_2(x))


def single(x: Tensor) -> Tensor:
    return x.detach().to(torch.float32).contiguous()
