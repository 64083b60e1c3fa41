"""All removals in plain Python: the gradient of a discrete epidemic from the worlds in which one infection did not happen.

The derivation is in docs/gradient.md. An *attempt* is a contact that may infect. Its *height* decides: it infects where the height lies
below the hazard per unit of contact that holds in a world on its day. A run and each alternative are the same function of the attempts,
so an alternative is `replay` without the attempts on one agent on one day. Infections before the epidemic are given, on days put in front
(`_before`): they make attempts and are not removed. It is slow, and it is the definition that the compiled kernels
are tested against: same random numbers, same attempts, same alternatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import expm1, log1p
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sim import _reference
from sim._columns import Columns
from sim._random import GOLDEN, MASK, splitmix
from sim._reference import NEVER, Epidemic, first_infection
from sim._removed import weights
from sim.rates import COMMUNITY, HOUSEHOLD, PERIOD, VENUES, Rates

run = _reference.run

OUTSIDE = -1
"""Source and channel of an infection from outside."""
SUPPORT, CONTACT, LATER, TURN = 1, 2, 3, 4
"""Purposes of random numbers: attempts on the day of an infection, its contacts, attempts from outside after it, its alternative."""


class Attempt(NamedTuple):
    """A contact that may infect.

    source: number of the spell (an agent's infection) it comes from, or OUTSIDE. target: agent. age: days since the source's infection
    less one; of an attempt from outside, the day itself. channel: row of `Rates.transmission`, or OUTSIDE. height: hazard per unit of
    contact from which on it infects.
    """

    source: int
    target: int
    age: int
    channel: int
    height: float


class Clock:
    """Exponential gaps and uniform numbers of one (stream, purpose, agent, spell, day), counted."""

    def __init__(self, key: int, purpose: int, agent: int, spell: int = 0, day: int = 0, removed: int = 0) -> None:
        state = splitmix((key ^ splitmix(purpose)) + (agent + 1) * GOLDEN)
        state = splitmix(state + ((spell << 16) + day + 1) * GOLDEN)
        self.key, self.count = splitmix(state + removed * GOLDEN), 0

    def uniform(self) -> float:
        self.count += 1
        return float(splitmix((self.key + self.count * GOLDEN) & MASK) >> 11) * 2.0**-53

    def gap(self) -> float:
        return -log1p(-self.uniform())


@dataclass(frozen=True, eq=False)
class World:
    """One particle's population, rates and run, as arrays of numpy; spells in order of agent and day."""

    c: Columns
    key: int
    rho: np.ndarray  # [K, D]
    susceptible: np.ndarray  # [periods, K]
    transmission: np.ndarray  # [2 + V, T]
    mixing: np.ndarray  # [G, G]
    importation: np.ndarray  # [T, G]
    aversion: float
    forgetting: float
    reinfection: np.ndarray  # [K, E]
    memory: np.ndarray  # [T, R]
    agent: np.ndarray  # [M] of each spell
    day: np.ndarray  # [M] of each spell
    first: np.ndarray  # [N + 1] first spell of each agent
    begins: int  # day before which infections are given

    @property
    def days(self) -> int:
        return self.transmission.shape[1]

    def infectiousness(self, agent: int, age: int) -> float:
        return float(self.rho[self.c.archetype[agent], age]) if 0 <= age < self.rho.shape[1] else 0.0

    def level(self, channel: int, day: int, agent: int, response: np.ndarray) -> float:
        """Hazard per unit of contact of an agent never infected; from outside, its hazard."""
        own = self.susceptible[min(day // PERIOD, len(self.susceptible) - 1), self.c.archetype[agent]]
        if channel == OUTSIDE:
            return float(own * self.importation[day, self.c.group[agent]])
        rate = self.transmission[channel, day] * own
        return float(rate if channel == HOUSEHOLD else rate * response[self.c.region_of_group[self.c.group[agent]]])

    def relative(self, agent: int, day: int, last: int) -> float:
        """Susceptibility on a day after the infection on day `last` (NEVER: none), relative to one never infected."""
        after = self.reinfection[self.c.archetype[agent]]
        if last == NEVER:
            return 1.0
        return float(after[min(day - 1 - last, len(after) - 1)]) if len(after) else 0.0

    def last(self, agent: int, day: int) -> int:
        """Day of an agent's last infection before a day in the run, or NEVER."""
        before = [d for d in self.day[self.first[agent] : self.first[agent + 1]] if d < day]
        return int(before[-1]) if before else NEVER

    def unused(self, channel: int, day: int, agent: int) -> float:
        """Height from which on an attempt would not have infected an agent on a day of the run."""
        relative = self.relative(agent, day, self.last(agent, day))
        return relative * self.level(channel, day, agent, self.response(self.memory[day]))

    def response(self, memory: np.ndarray) -> np.ndarray:
        return np.exp(-self.aversion * memory)


def world(c: Columns, rates: Rates, epidemic: Epidemic, p: int) -> World:
    """One particle of a run."""
    on, rows = epidemic.infected_on[p].cpu().numpy(), epidemic.reinfections.cpu().numpy()
    rows = rows[rows[:, 0] == p]
    agent, day = (
        np.concatenate([np.flatnonzero(on != NEVER), rows[:, 1]]),
        np.concatenate([on[on != NEVER], rows[:, 3]]),
    )
    order = np.lexsort((day, agent))
    agent, day = agent[order].astype(np.int64), day[order].astype(np.int64)

    def plain(x: Tensor) -> np.ndarray:
        return np.asarray(x[p].detach().double().cpu().numpy())

    return World(
        c, int(epidemic.key[p]) & MASK, plain(rates.infectiousness), plain(rates.susceptible()), plain(rates.transmission),
        plain(rates.mixing), plain(rates.importation), float(rates.aversion[p]), float(rates.forgetting[p]),
        plain(rates.reinfection), plain(epidemic.memory), agent, day, np.searchsorted(agent, np.arange(len(on) + 1)),
        epidemic.before.shape[1],
    )  # fmt: skip


def refuse_raised(rates: Rates) -> None:
    """Refuse an immunity that makes people more susceptible than they were: attempts on those never infected would have to be known.

    Raises:
        ValueError: see above.
    """
    if bool((rates.reinfection > 1).any()):
        raise ValueError(
            f"rates.reinfection reaches {float(rates.reinfection.max()):g}, and estimator 'removals' knows values up to 1; lower it, or choose "
            "estimator='local-score'."
        )


def groups_of(w: World, agent: int) -> Iterator[tuple[int, float, np.ndarray]]:
    """Channel, weight and members (agents) of an agent's household and venue groups."""
    c, household = w.c, int(w.c.household[agent])
    yield HOUSEHOLD, float(c.household_weight[household]), np.flatnonzero(c.household.numpy() == household)
    for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
        own = np.flatnonzero(members.numpy() == agent)
        if len(own):
            venue = int(group[own[0]])
            yield VENUES + v, float(weight[venue]), members.numpy()[group.numpy() == venue]


def slots(
    rate: float, number: int, floor: Callable[[int], float], clock: Clock, gap: float
) -> tuple[list[tuple[int, float]], float]:
    """Which of `number` slots of some rate a Poisson process hits, where in 0..1 of the slot first after its floor, and the gap left."""
    hits, at, end = [], 0.0, rate * number
    while at + gap < end:
        at += gap
        slot = min(int(at / rate), number - 1)
        x, low = min(max(at / rate - slot, 0.0), 1.0), floor(slot)
        if x < low:
            at = (slot + min(low, 1.0)) * rate
        else:
            hits.append((slot, x))
            at = (slot + 1) * rate
        gap = clock.gap()
    return hits, max(gap - (end - at), 0.0)


def contacts(w: World, agent: int, spell: int, day: int, before: int | None, removed: int | None) -> Iterator[Attempt]:
    """Contacts of an infection on a day, as if nobody were immune and behaviour did not respond.

    With `before`, those alone that it makes on this day and would not, at the same age, after an infection on day `before`: where the
    rates of the time are higher. `removed`: of an alternative; None: of the run, those alone that infected nobody there. Sources are left
    out.
    """
    top, clock = (
        float(w.susceptible.max()),
        Clock(w.key, CONTACT, agent, spell, day, 0 if removed is None else removed + 1),
    )
    gap, small = clock.gap(), list(groups_of(w, agent))
    mixing = w.mixing[:, w.c.group[agent]] / float(w.c.group_size[w.c.group[agent]])
    for age in range(w.rho.shape[1]):
        now, then, rho = day + 1 + age, w.days if before is None else before + 1 + age, w.infectiousness(agent, age)
        if now >= w.days or rho == 0:
            continue
        for channel, weight, members in [small[0], (COMMUNITY, 1.0, None), *small[1:]]:
            high = w.transmission[channel, now] * top
            low = w.transmission[channel, then] * top if then < w.days else 0.0
            if high <= low:
                continue
            height = partial(_floor, w, channel, now, low, high) if removed is None else _none
            if members is None:
                pieces = [(mixing[g], np.flatnonzero(w.c.group.numpy() == g)) for g in range(len(mixing))]
            else:
                pieces = [(weight, members)]
            for each, people in pieces:
                rate = rho * each * (high - low)
                if rate > 0:
                    hits, gap = slots(rate, len(people), partial(_of_slot, height, people), clock, gap)
                    yield from (Attempt(0, int(people[s]), age, channel, low + x * (high - low)) for s, x in hits)


def _of_slot(height: Callable[[int], float], people: np.ndarray, slot: int) -> float:
    return height(int(people[slot]))


def _none(target: int) -> float:
    return 0.0


def _floor(w: World, channel: int, day: int, low: float, high: float, target: int) -> float:
    """Where in `low..high` heights begin that did not infect a target on a day of the run."""
    return (w.unused(channel, day, target) - low) / (high - low)


def hazard_by_source(w: World, s: int) -> Iterator[tuple[int, int, float, float]]:
    """Source, channel, hazard and level of everything that bore on an infection on its day; the community last."""
    agent, day = int(w.agent[s]), int(w.day[s])
    relative, response = w.relative(agent, day, w.last(agent, day)), w.response(w.memory[day])
    level = relative * w.level(OUTSIDE, day, agent, response)
    yield OUTSIDE, OUTSIDE, level, level
    for channel, weight, members in groups_of(w, agent):
        level = relative * w.level(channel, day, agent, response)
        known = [k for j in members for k in range(w.first[j], w.first[j + 1])]
        for k in known if channel == HOUSEHOLD else sorted(known, key=lambda k: int(w.day[k])):
            yield k, channel, level * weight * w.infectiousness(int(w.agent[k]), day - 1 - int(w.day[k])), level
    g, size = int(w.c.group[agent]), w.c.group_size.numpy()
    level = relative * w.level(COMMUNITY, day, agent, response)
    for k in np.lexsort((w.day, w.c.group.numpy()[w.agent])):
        h = int(w.c.group[w.agent[k]])
        yield (
            int(k), COMMUNITY,
            level * w.mixing[g, h] / size[h] * w.infectiousness(int(w.agent[k]), day - 1 - int(w.day[k])), level,
        )  # fmt: skip


def supports(w: World, s: int) -> list[Attempt]:
    """The attempts that infected on the day of an infection: Poisson numbers, given that there is at least one."""
    agent, day = int(w.agent[s]), int(w.day[s])
    parts = [x for x in hazard_by_source(w, s) if x[2] > 0]
    total = sum(x[2] for x in parts)
    clock = Clock(w.key, SUPPORT, agent, s - int(w.first[agent]))
    gap, found = -log1p(clock.uniform() * expm1(-total)), []
    for source, channel, hazard, level in parts:
        if gap < hazard:
            age = day if source == OUTSIDE else day - 1 - int(w.day[source])
            found.append(Attempt(source, agent, age, channel, gap / hazard * level))
            gap = clock.gap()
        else:
            gap -= hazard
    return found


def later(w: World, agent: int) -> Iterator[Attempt]:
    """Attempts from outside on an agent after its first infection: what its immunity kept from infecting it."""
    clock, top, start = Clock(w.key, LATER, agent), float(w.susceptible.max()), int(w.day[w.first[agent]]) + 1
    gap = clock.gap()
    for day in range(start, w.days):
        low, rate = w.unused(OUTSIDE, day, agent), top * float(w.importation[day, w.c.group[agent]])
        if gap < rate - low:
            yield Attempt(OUTSIDE, agent, day, OUTSIDE, low + gap)
            gap = clock.gap()
        else:
            gap -= rate - low


def attempts(w: World) -> list[Attempt]:
    """All attempts of a run that may matter in a world without one of its infections, given what happened in the run."""
    found = []
    for s, (agent, day) in enumerate(zip(w.agent.tolist(), w.day.tolist(), strict=True)):
        found += supports(w, s)
        made = contacts(w, agent, s - int(w.first[agent]), day, None, None)
        found += [x._replace(source=s) for x in made if x.target != agent]
    for agent in np.unique(w.agent):
        found += later(w, int(agent))
    return found


def turn_of(w: World, removed: int) -> float:
    """By how much heights are turned in an alternative."""
    agent = int(w.agent[removed])
    return Clock(w.key, TURN, agent, removed - int(w.first[agent])).uniform()


def turned(w: World, x: Attempt, turn: float) -> float:
    """Height of an attempt in an alternative, where behaviour decides whether it infects.

    Among the heights that infected in the run, and among those that behaviour kept from it, all are alike: each alternative turns both
    by an angle of its own. With the same heights, all alternatives would hit the same attempts, and their errors add up.
    """
    day = x.age if x.source == OUTSIDE else int(w.day[x.source]) + 1 + x.age
    relative = w.relative(x.target, day, w.last(x.target, day))
    free = relative * w.level(x.channel, day, x.target, np.ones(w.memory.shape[1]))
    if x.channel < COMMUNITY or x.height >= free or w.aversion == 0:
        return x.height
    response = float(w.response(w.memory[day])[w.c.region_of_group[w.c.group[x.target]]])
    share = x.height / free
    if share < response:
        return (share / response + turn) % 1.0 * response * free
    return (response + ((share - response) / (1.0 - response) + turn) % 1.0 * (1.0 - response)) * free


def replay(w: World, found: list[Attempt], removed: int | None = None) -> np.ndarray:
    """Incidence `[T, G]` from the attempts alone, without those on the agent of spell `removed` on its day; None: the run again."""
    start, turn = (w.begins, 0.0) if removed is None else (int(w.day[removed]), turn_of(w, removed))
    found = [x._replace(height=turned(w, x, turn)) for x in found]
    source, age = np.array([x.source for x in found], dtype=int), np.array([x.age for x in found], dtype=int)
    when = np.append(
        np.where(w.day < start, w.day, w.days), -1
    )  # of each spell in this world; the last stands for OUTSIDE
    last = np.array([w.last(i, start) for i in range(len(w.first) - 1)])
    count = np.array([np.sum(w.day[w.first[i] : w.first[i + 1]] < start) for i in range(len(w.first) - 1)])
    memory, incidence = w.memory[start].copy(), np.zeros((w.days, len(w.c.group_size)))
    group, region = w.c.group.numpy(), w.c.region_of_group.numpy()
    for s in np.flatnonzero(w.day < start):
        incidence[w.day[s], group[w.agent[s]]] += 1
    fresh: dict[int, list[Attempt]] = {}
    for t in range(start, w.days):
        response = w.response(memory)
        today = [found[e] for e in np.flatnonzero(np.where(source < 0, age, when[source] + 1 + age) == t)]
        infected = {
            x.target
            for x in today + fresh.get(t, [])
            if x.height < w.relative(x.target, t, int(last[x.target])) * w.level(x.channel, t, x.target, response)
        }
        if removed is not None and t == start:
            infected.discard(int(w.agent[removed]))
        for i in sorted(infected):
            spell, known = int(count[i]), w.first[i] + count[i] < w.first[i + 1]
            if known:
                when[w.first[i] + spell] = t
            before = int(w.day[w.first[i] + spell]) if known else None
            for x in contacts(w, i, spell, t, before, -1 if removed is None else removed):
                if x.target != i:
                    fresh.setdefault(t + 1 + x.age, []).append(x)
            last[i], count[i] = t, count[i] + 1
            incidence[t, group[i]] += 1
        share = np.bincount(region, weights=incidence[t], minlength=len(memory)) / w.c.region_size.numpy()
        memory += w.forgetting * (100 * share - memory)
    return incidence


def differences(c: Columns, rates: Rates, epidemic: Epidemic) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Particle, agent, day of each infection that is removed; what the run has more than the world without it `[T, G]`, times its weight."""
    refuse_raised(rates)
    for p in range(rates.particles):
        w = world(c, rates, epidemic, p)
        found, incidence = attempts(w), epidemic.incidence[p].double().numpy()
        agent, key = torch.from_numpy(w.agent), epidemic.key[p : p + 1]
        order, given = torch.arange(len(agent)) - torch.from_numpy(w.first)[agent], torch.from_numpy(w.day < w.begins)
        weight = weights(key, torch.zeros_like(agent), agent, order, len(w.c.group), given).numpy()
        for s in np.flatnonzero(weight).tolist():
            yield p, int(w.agent[s]), int(w.day[s]), weight[s] * (incidence - replay(w, found, s))


def hazards(c: Columns, rates: Rates, epidemic: Epidemic) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """Hazard of each infection on its day as a differentiable function of the rates, the past held fixed, and whose it was."""
    on, memory = first_infection(epidemic), torch.zeros_like(epidemic.memory[:, 0])
    values, where = [], []
    for t in range(rates.days):
        infected = _reference._infected(epidemic, on, t)
        if t >= epidemic.before.shape[1]:
            values.append(_reference._pressures(c, rates, t, on, memory).hazard[infected])
            where += [(p, i, t) for p, i in infected.nonzero().tolist()]
        on[infected] = t
        step = _reference._percent(c, epidemic.incidence[:, t]) - memory
        memory = memory + rates.forgetting[:, None] * step
    return torch.cat(values), where


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """Gradient of `sum(cotangent * incidence)` with respect to every rate; `cotangent` is `[P, T, G]`."""
    change = {
        (p, i, t): float((cotangent[p] * torch.from_numpy(more)).sum())
        for p, i, t, more in differences(c, rates, epidemic)
    }
    with torch.enable_grad():
        leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
        hazard, where = hazards(c, leaves, epidemic)
        weight = hazard.new_tensor([change.get(x, 0.0) for x in where]) / torch.expm1(hazard.detach())
        if not hazard.requires_grad:
            return rates.map(torch.zeros_like)
        bar = torch.autograd.grad(hazard, leaves.tensors(), weight, allow_unused=True)
    return Rates(*(torch.zeros_like(x) if g is None else g for x, g in zip(rates.tensors(), bar, strict=True)))


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """Tangents of the incidence `[P, T, G, Q]` for tangents of the rates with a trailing axis of Q directions."""
    out = tangents.mixing.new_zeros(*epidemic.incidence.shape, tangents.mixing.shape[-1])
    more = {(p, i, t): torch.from_numpy(x) for p, i, t, x in differences(c, rates, epidemic)}
    with torch.enable_grad():
        leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
        hazard, where = hazards(c, leaves, epidemic)
        if not hazard.requires_grad:
            return out
        # J v from J^T u, which is linear in u: there is no forward mode within forward mode
        u = torch.zeros_like(hazard, requires_grad=True)
        bar = torch.autograd.grad(hazard, leaves.tensors(), u, create_graph=True, allow_unused=True)
        for q in range(out.shape[-1]):
            pairs = [(g, dx[..., q]) for g, dx in zip(bar, tangents.tensors(), strict=True) if g is not None]
            along = torch.stack([(g * dx).sum() for g, dx in pairs]).sum()
            (slope,) = torch.autograd.grad(along, u, retain_graph=True)
            for key, score in zip(where, (slope / torch.expm1(hazard.detach())).tolist(), strict=True):
                if key in more:
                    out[key[0], ..., q] += score * more[key]
    return out
