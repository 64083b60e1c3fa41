"""The epidemic with all removals as its gradient on a GPU: `_removals_reference` name by name, the same random numbers, in double precision.

A GPU holds the runs of all particles at once. Alternatives are followed in rounds: most fit a little memory, and those that do not are
followed anew with more (`ROUNDS`), so that what a few large ones need is not kept for all. Memory is O(agents + infections) whatever the number
of days. Which worlds meet in a round does not show in the results; atomic sums in double precision repeat to rounding.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from sim import _triton_slopes as slopes
from sim._columns import Columns
from sim._reference import Epidemic
from sim._removals_reference import refuse_raised
from sim._triton_attempts import Attempts
from sim._triton_follow import worlds
from sim._triton_people import Past, People
from sim._triton_run import past, people
from sim._triton_web import Web, attempts, weave
from sim._triton_worlds import Room
from sim.rates import Rates

MOST_ATTEMPTS, MOST_ATTEMPTS_EACH = 10_000_000, 300
"""Attempts beyond which rates are refused: so many, and so many for each infection of a run."""
ROOM, MORE = 128, 8
"""Events that a world has room for in the first round, and how many times as many in each further one."""
PROGRAMS, BYTES = 16_384, 2**30
"""Worlds followed at once at most, and the memory they may take."""
ENTRIES = 64
"""Entries for which there is room at first in forward mode, for each infection."""
CHUNK = 65_536
"""Infections whose differences are kept at once in forward mode."""


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_removals_reference.vjp`.

    Raises:
        ValueError: reinfection above 1, or more contacts than can be followed.
        torch.OutOfMemoryError: the device does not hold the attempts, or a world.
    """
    refuse_raised(rates)
    with torch.cuda.device_of(c.group):
        folk = people(c)
        w = past(folk, rates, epidemic)
        infections = len(w.day)
        if not infections:
            return rates.map(torch.zeros_like)
        a, web = _attempts(folk, w)
        spells = torch.arange(infections, dtype=torch.int32, device=w.day.device)[w.day >= w.begins]
        change = torch.zeros(infections, dtype=torch.float64, device=w.day.device)
        _follow(folk, w, a, web, spells, cotangent.double().contiguous(), change)
        del a, web
        return slopes.pull(folk, w, slopes.parts(folk, w), change, epidemic.incidence, rates)


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_removals_reference.jvp`; raises as `vjp`."""
    refuse_raised(rates)
    Q, (P, T, G) = tangents.mixing.shape[-1], rates.importation.shape
    with torch.cuda.device_of(c.group):
        folk = people(c)
        w = past(folk, rates, epidemic)
        out = torch.zeros(P * T * G, Q, dtype=torch.float64, device=w.day.device)
        infections = len(w.day)
        if infections:
            a, web = _attempts(folk, w)
            x, along = slopes.parts(folk, w), slopes.directions(folk, w, rates, tangents, epidemic.incidence)
            for first in range(0, infections, CHUNK):
                stop = min(first + CHUNK, infections)
                score = slopes.push(folk, w, x, along, first, stop)
                spells = torch.arange(first, stop, dtype=torch.int32, device=w.day.device)
                entry = _follow(folk, w, a, web, spells[w.day[first:stop] >= w.begins], None, None)
                _add(w, entry, score, first, out)
        return out.reshape(P, T, G, Q).to(tangents.mixing.dtype)


def _attempts(folk: People, w: Past) -> tuple[Attempts, Web]:
    a, particle = attempts(folk, w, MOST_ATTEMPTS, MOST_ATTEMPTS_EACH)
    return a, weave(folk, w, a, particle)


def _follow(
    folk: People, w: Past, a: Attempts, web: Web, queue: Tensor, cotangent: Tensor | None, change: Tensor | None
) -> Tensor:
    """Follow the world without each spell of a queue.

    With a cotangent `[P, T, G]`, what the run has more goes into `change` `[M]`; without, the entries of the worlds are returned, as
    `_triton_follow.worlds` writes them.
    """
    device, size, regions = queue.device, ROOM, len(folk.region_size)
    nothing, entries = torch.zeros(1, dtype=torch.float64, device=device), [queue.new_zeros(0, dtype=torch.int64)]
    capacity = ENTRIES * len(queue) if cotangent is None else 0
    while len(queue):
        table = 2 * size
        programs = max(1, min(len(queue), PROGRAMS, BYTES // (24 * table + 32 * size)))
        full = torch.zeros_like(queue)
        found, entry = (
            torch.zeros(1, dtype=torch.int64, device=device),
            torch.full((capacity,), -1, dtype=torch.int64, device=device),
        )
        # a world that has outgrown the first round has work for more lanes
        block, warps = (32, 1) if size == ROOM else (128, 4)
        worlds[(programs,)](
            folk, w, a, web, _room(programs, table, size, regions, device), queue, len(queue), table, size,
            nothing if cotangent is None else cotangent, nothing if change is None else change, full, entry, found, capacity,
            ENTRIES=cotangent is None, BLOCK=block, REGIONS=max(16, triton.next_power_of_2(regions)), num_warps=warps,
        )  # fmt: skip
        if cotangent is None:
            entries.append(entry[entry >= 0])  # a world whose entries found no room wrote none of them
            capacity = max(capacity, 2 * int(found))
        unfinished = full > 0
        # entries that found no room need no larger world
        size = size * MORE if bool((full == 1).any()) or cotangent is not None else size
        queue = queue[unfinished]
    return torch.cat(entries)


def _room(programs: int, table: int, size: int, regions: int, device: torch.device) -> Room:
    def empty(n: int, kind: torch.dtype = torch.int32) -> Tensor:
        return torch.empty(programs * n, dtype=kind, device=device)

    long, double = torch.int64, torch.float64
    return Room(
        empty(table + 1), empty(table), empty(table), empty(table), empty(table), empty(size), empty(size), empty(size, long),
        empty(size, double), empty(2 * size), empty(regions, double), empty(regions, double),
    )  # fmt: skip


def _add(w: Past, entry: Tensor, score: Tensor, first: int, out: Tensor) -> None:
    """Into `out` `[P * T * G, Q]`: the entries of worlds times the scores of their spells `[spells, Q]`."""
    cells = w.importation[0].numel()
    entry = entry.sort().values  # in order of spells and cells, so that sums do not depend on who wrote first
    for part in entry.split(max(1, 64 * CHUNK // score.shape[1])):
        spell, cell = part >> 32, part & (2**32 - 1)
        sign = 1.0 - 2.0 * (cell & 1).double()
        into = w.particle[spell].long() * cells + (cell >> 1)
        out.index_add_(0, into, sign[:, None] * score[spell - first])
