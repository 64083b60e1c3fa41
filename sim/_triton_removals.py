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
from sim._removed import weights
from sim._triton_attempts import Attempts
from sim._triton_follow import worlds
from sim._triton_people import Past, People
from sim._triton_run import past, people
from sim._triton_web import Web, attempts, weave
from sim._triton_worlds import WORLDS, Room
from sim.rates import Rates

MOST_ATTEMPTS, MOST_ATTEMPTS_EACH = 10_000_000, 300
"""Attempts beyond which rates are refused: so many, and so many for each infection of a run."""
ROOM, MORE = 128, 8
"""Events that a world has room for in the first round, and how many times as many in each further one."""
PROGRAMS, PART = 4096, 4
"""Programs of `WORLDS` worlds followed at once at most; which part of the free memory they may take: a quarter."""
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
        removed = _removed(folk, w)
        spells = removed.nonzero()[:, 0].int()
        change = torch.zeros(infections, dtype=torch.float64, device=w.day.device)
        _follow(folk, w, a, web, spells, cotangent.double().contiguous(), change)
        del a, web
        return slopes.pull(folk, w, slopes.parts(folk, w), removed * change, epidemic.incidence, rates)


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
            removed = _removed(folk, w)
            x, along = slopes.parts(folk, w), slopes.directions(folk, w, rates, tangents, epidemic.incidence)
            for first in range(0, infections, CHUNK):
                stop = min(first + CHUNK, infections)
                score = slopes.push(folk, w, x, along, first, stop) * removed[first:stop, None]
                spells = first + removed[first:stop].nonzero()[:, 0].int()
                entry = _follow(folk, w, a, web, spells, None, None)
                _add(w, entry, score, first, out)
        return out.reshape(P, T, G, Q).to(tangents.mixing.dtype)


def _removed(folk: People, w: Past) -> Tensor:
    """For how many infections each spell `[M]` counts."""
    particle, agent, agents = w.particle.long(), w.agent.long(), len(folk.household)
    order = torch.arange(len(agent), device=agent.device) - w.first[particle * agents + agent]
    return weights(w.key.view(torch.int64), particle, agent, order, agents, w.day < w.begins)


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
    device, room = queue.device, ROOM
    nothing, entries = torch.zeros(1, dtype=torch.float64, device=device), [queue.new_zeros(0, dtype=torch.int64)]
    capacity = ENTRIES * len(queue) if cotangent is None else 0
    queue = queue[torch.argsort(w.day[queue.long()], stable=True)]  # the largest worlds are among the earliest: first
    while len(queue):
        m, programs = _room(w, folk, room, len(queue), cotangent is None)
        full, taken = torch.zeros_like(queue), queue.new_zeros(1)
        found = torch.zeros(1, dtype=torch.int64, device=device)
        entry = torch.full((capacity,), -1, dtype=torch.int64, device=device)
        worlds[(programs,)](
            folk, w, a, web, m, queue, len(queue), 2 * room, room, nothing if cotangent is None else cotangent,
            nothing if change is None else change, full, entry, found, capacity, taken, ENTRIES=cotangent is None, num_warps=1,
        )  # fmt: skip
        if cotangent is None:
            entries.append(entry[entry >= 0])  # a world whose entries found no room wrote none of them
            capacity = max(capacity, 2 * int(found))
        # entries that found no room need no larger world
        room = room * MORE if bool((full == 1).any()) else room
        queue = queue[full > 0]
    return torch.cat(entries)


def _room(w: Past, folk: People, room: int, number: int, entries: bool) -> tuple[Room, int]:
    """Memory of as many programs as it holds, and their number."""
    T, R = w.importation.shape[1], len(folk.region_size)
    whole, long, double = torch.int32, torch.int64, torch.float64
    table, entry = 2 * room, 2 * room if entries else 1
    parts = [
        *[(table, whole)] * 5, (room, whole), (room, whole), (T, whole), (room, whole), (room, long),
        (room, double), (R, whole), (R, whole), (R, double), (R, double), (entry, long),
    ]  # fmt: skip
    each, device = WORLDS * sum(size * kind.itemsize for size, kind in parts), w.day.device
    free = sum(_free(device)) if device.type == "cuda" else 2**30
    programs = max(1, min(triton.cdiv(number, WORLDS), PROGRAMS, free // PART // each))
    zero = (0, 7, 12, 13, 14)  # as `Room` says
    return Room(
        *(
            (torch.zeros if n in zero else torch.empty)(programs * WORLDS * size, dtype=kind, device=device)
            for n, (size, kind) in enumerate(parts)
        )
    ), programs


def _free(device: torch.device) -> tuple[int, int]:
    """Bytes free on a device, and those that torch keeps for what comes next."""
    return torch.cuda.mem_get_info(device)[0], torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _add(w: Past, entry: Tensor, score: Tensor, first: int, out: Tensor) -> None:
    """Into `out` `[P * T * G, Q]`: the entries of worlds times the scores of their spells `[spells, Q]`."""
    cells = w.importation[0].numel()
    entry = entry.sort().values  # in order of spells and cells, so that sums do not depend on who wrote first
    for part in entry.split(max(1, 64 * CHUNK // score.shape[1])):
        spell, cell = part >> 32, part & (2**32 - 1)
        sign = 1.0 - 2.0 * (cell & 1).double()
        into = w.particle[spell].long() * cells + (cell >> 1)
        out.index_add_(0, into, sign[:, None] * score[spell - first])
