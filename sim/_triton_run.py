"""Runs on a GPU as the kernels of all removals read them: infections of all particles by agent, venue, group and day."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sim._columns import Columns
from sim._compiled_people import people as on_cpu
from sim._reference import NEVER, Epidemic
from sim._triton_people import Past, People
from sim.rates import Rates

_CACHE: WeakKeyDictionary[Columns, People] = WeakKeyDictionary()


def people(c: Columns) -> People:
    """The columns of a population on their device, made once."""
    if c not in _CACHE:
        device, q = c.group.device, on_cpu(c)

        def there(x: np.ndarray) -> Tensor:
            kind = np.float64 if np.issubdtype(x.dtype, np.floating) else np.int32
            return torch.from_numpy(np.ascontiguousarray(x, dtype=kind)).to(device)

        sizes = (len(q.group), q.venue.shape[1], len(q.venue_weight), len(q.group_size), len(q.region_size))
        _CACHE[c] = People(*(there(x) for x in q), *_apart(sizes, device))
    return _CACHE[c]


def past(c: People, rates: Rates, epidemic: Epidemic) -> Past:
    """The runs of all particles."""
    device = rates.mixing.device
    x = rates.map(lambda r: r.detach().double().contiguous())
    (P, T, G), (K, D), E = x.importation.shape, x.infectiousness.shape[1:], x.reinfection.shape[2]
    susceptible, memory = rates.susceptible().detach().double().contiguous(), epidemic.memory.double().contiguous()
    N, S = len(c.household), len(c.venue_weight)
    particle, agent, day = _spells(epidemic, N, T)
    group, kind = c.group[agent].long(), c.archetype[agent].long()
    first = _begins(particle * N + agent, P * N)

    layer = c.venue[agent].long()
    spell, at = (layer >= 0).nonzero().unbind(1)
    venue = particle[spell] * S + layer[spell, at]
    order = torch.sort(venue * T + day[spell], stable=True).indices
    by_group = torch.sort((particle * G + group) * T + day, stable=True)

    counts = torch.bincount(((particle * G + group) * T + day) * K + kind, minlength=P * G * T * K)
    shed = torch.einsum("pgtk,pkd->pgtd", counts.reshape(P, G, T, K).double(), x.infectiousness).contiguous()
    infectious = torch.zeros(P, T, G, dtype=torch.float64, device=device)
    for d in range(min(D, T - 1)):
        infectious[:, d + 1 :] += shed[:, :, : T - 1 - d, d].transpose(1, 2)
    pressure = torch.einsum("pgh,pth->ptg", x.mixing, infectious / c.group_size).contiguous()
    met = x.mixing.transpose(1, 2) / c.group_size[:, None] * torch.diff(c.group_start)
    reach = torch.nn.functional.pad(met.cumsum(2), (1, 0)).contiguous()
    best, own = x.transmission.amax(2), susceptible.amax(1)
    steady = (best == x.transmission.amin(2)).all(1).int()
    response = torch.exp(-x.aversion[:, None, None] * memory)
    sizes = (epidemic.before.shape[1], len(agent), K, D, T, E, susceptible.shape[1], x.transmission.shape[1])
    return Past(
        epidemic.key.to(device).view(torch.uint64), x.infectiousness, susceptible, x.transmission, x.mixing, x.importation,
        x.aversion, x.forgetting, x.reinfection, memory, response, particle.int(), agent.int(), day.int(), first,
        _begins(venue, P * S), spell[order].int(), _begins(by_group.values, P * G * T), by_group.indices.int(),
        shed, infectious, pressure, reach, best, own, own.amax(1), steady, *_apart(sizes, device),
    )  # fmt: skip


def _apart(numbers: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Numbers on the device, each a tensor of one."""
    return torch.tensor(numbers, dtype=torch.int32, device=device).split(1)


def _spells(epidemic: Epidemic, agents: int, days: int) -> tuple[Tensor, Tensor, Tensor]:
    """Particle, agent and day of all infections, in this order."""
    on, rows = epidemic.infected_on, epidemic.reinfections.long()
    particle, agent = (on != NEVER).nonzero().unbind(1)
    day = on[particle, agent].long()
    if len(rows):
        particle, agent = torch.cat([particle, rows[:, 0]]), torch.cat([agent, rows[:, 1]])
        day = torch.cat([day, rows[:, 3]])
        order = torch.argsort((particle * agents + agent) * days + day)
        particle, agent, day = particle[order], agent[order], day[order]
    return particle, agent, day


def _begins(key: Tensor, size: int) -> Tensor:
    """Where each of `size` keys begins among the sorted keys, int32 `[size + 1]`."""
    number = torch.bincount(key, minlength=size)
    return torch.nn.functional.pad(number.cumsum(0), (1, 0)).int()
