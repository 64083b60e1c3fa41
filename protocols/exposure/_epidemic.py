"""An epidemic among people of whom some carry phones that notify: the model of `sim`, person by person, with tests and quarantine.

Households, venues and community act as in `sim.epidemic`; without tests and phones the infections are the same. Somebody in isolation or
quarantine meets fewer people outside the household, in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from protocols.exposure._meetings import Meetings
from protocols.exposure._phones import Phones, Published, Risk
from sim import COMMUNITY, HOUSEHOLD, VENUES, Population, Rates
from sim.parts import uniform_draws

NEVER = 32_767


@dataclass(frozen=True)
class Notification:
    """Who takes part, and how fast.

    Attributes:
        adoption: share of people with a phone that takes part.
        tested: share of infected people that are tested.
        onset: days from infection to the symptoms that lead to a test.
        result: days from symptoms to the result.
        upload_delay: days from the result to the upload of keys.
        uploads: share of users with a positive test who publish their keys.
        complies: share of notified people who go into quarantine.
        isolation_days: of somebody with a positive test, from the result on.
        quarantine_days: after the exposure.
        effect: share of contacts outside the household that isolation and quarantine take away.
        risk: thresholds of a notification.

    References:
        Abueg, M. et al. (2021). Modeling the effect of exposure notification and non-pharmaceutical interventions on COVID-19 transmission in
        Washington state. npj Digital Medicine 4:49 (share of keys uploaded, delays and compliance of this order).
    """

    adoption: float = 0.15
    tested: float = 0.6
    onset: int = 5
    result: int = 2
    upload_delay: int = 1
    uploads: float = 0.8
    complies: float = 0.8
    isolation_days: int = 10
    quarantine_days: int = 14
    effect: float = 0.75
    risk: Risk = field(default_factory=Risk)

    def __post_init__(self) -> None:
        for name in ("adoption", "tested", "uploads", "complies", "effect"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name):g}, expected a share from 0 to 1.")


@dataclass(frozen=True, eq=False)
class Course:
    """What happened.

    Attributes:
        incidence: `[T, G]` infections.
        infections: all of them. notifications: people notified. quarantine_days: person-days.
        notified_infected: people notified who were infected then or within the quarantine.
        keys: keys published. broadcasts: identifiers heard.
    """

    incidence: NDArray[np.int64]
    infections: int
    notifications: int
    quarantine_days: int
    notified_infected: int
    keys: int
    broadcasts: int


def notified_epidemic(
    population: Population, rates: Rates, seed: int, notification: Notification | None, *, stream: int = 0
) -> Course:
    """Simulate one epidemic with exposure notification.

    Args:
        population: the people.
        rates: of one particle, without reinfection.
        seed: of everything; infections use the random numbers of `sim.epidemic`.
        notification: who takes part; None for neither tests nor phones.
        stream: random-number stream.

    Raises:
        ValueError: rates of several particles, or with reinfection.
    """
    if rates.particles != 1 or rates.reinfection.shape[-1]:
        raise ValueError(
            f"rates of {rates.particles} particles with {rates.reinfection.shape[-1]} days of reinfection were given, expected one particle "
            "whose people are infected once."
        )
    rates.check(population)
    world = _World(population, rates, seed, stream, notification)
    for t in range(rates.days):
        world.day(t)
    return world.course()


class _World:
    """State of an epidemic."""

    def __init__(self, population: Population, rates: Rates, seed: int, stream: int, n: Notification | None) -> None:
        self.population, self.n, self.seed, self.stream = population, n, seed, stream
        self.rates = Rates(*(x.detach().double()[0].numpy() for x in rates.tensors()))  # type: ignore[arg-type]
        self.susceptible = rates.susceptible().double()[0].numpy()
        self.period = rates.period
        agents = population.agents
        self.on = np.full(agents, NEVER, dtype=np.int64)
        self.restricted_until = np.zeros(agents, dtype=np.int64)
        self.incidence = np.zeros((rates.days, population.groups), dtype=np.int64)
        self.memory = np.zeros(population.regions)
        self.group = population.group.astype(np.int64)
        self.region = population.region_of_group[self.group].astype(np.int64)
        self.size = np.maximum(population.group_size, 1).astype(float)
        # decisions of people are fixed by the seed, so that runs with more users hold those with fewer
        generator = np.random.Generator(np.random.Philox(key=[seed, 1 << 40]))
        self.will = {name: generator.random(agents) for name in ("adoption", "tested", "uploads", "complies")}
        self.user = self.will["adoption"] < (0.0 if n is None else n.adoption)
        self.phones = Phones(agents, seed, risk=Risk() if n is None else n.risk)
        self.meetings = Meetings(population, self.rates, self.user, seed)
        self.notified: dict[int, int] = {}
        self.quarantined = self.keys = 0

    def day(self, t: int) -> None:
        """One day: hazards, infections, encounters, results and uploads, notifications."""
        population, rates = self.population, self.rates
        since = t - 1 - self.on
        days = rates.infectiousness.shape[-1]
        infectious = (since >= 0) & (since < days)
        own = np.zeros(population.agents)
        own[infectious] = rates.infectiousness[population.archetype[infectious], since[infectious]]
        free = np.ones(population.agents)
        if self.n is not None:
            free[self.restricted_until > t] = 1.0 - self.n.effect
        out = own * free
        home = population.household_weight * np.bincount(population.household, own, population.households)
        force = np.bincount(self.group, out, population.groups) / self.size
        beta = rates.transmission[:, t]
        reach = (beta[COMMUNITY] * (rates.mixing @ force))[self.group]
        for v, (ids, weight) in enumerate(zip(population.venues, population.venue_weight, strict=True)):
            at = ids >= 0
            pressure = weight * np.bincount(ids[at], out[at], len(weight))
            reach[at] += beta[VENUES + v] * pressure[ids[at]]
        response = np.exp(-rates.aversion * self.memory)
        total = beta[HOUSEHOLD] * home[population.household] + free * (
            response[self.region] * reach + rates.importation[t, self.group]
        )
        sigma = self.susceptible[self.period(t)][population.archetype]
        hazard = (self.on >= t) * sigma * total
        draws = uniform_draws(self.seed, self.stream, t, population.agents)
        new = np.flatnonzero(draws < -np.expm1(-hazard))
        if self.n is not None and self.user.any():
            self.meetings.record(t, np.flatnonzero(infectious & self.user), out, new, home, response, self.phones)
        self.on[new] = t
        self.incidence[t] = np.bincount(self.group[new], minlength=population.groups)
        percent = (
            100
            * np.bincount(population.region_of_group, self.incidence[t], population.regions)
            / np.maximum(population.region_size, 1)
        )
        self.memory = self.memory + rates.forgetting * (percent - self.memory)
        if self.n is not None:
            self._test(t, self.n)

    def _test(self, t: int, n: Notification) -> None:
        """Results of today isolate; keys of results some days ago are published, and phones notify."""
        delay = n.onset + n.result
        positive = np.flatnonzero((self.on == t - delay) & (self.will["tested"] < n.tested))
        self.restricted_until[positive] = np.maximum(self.restricted_until[positive], t + 1 + n.isolation_days)
        ready = (self.on == t - delay - n.upload_delay) & (self.will["tested"] < n.tested)
        published = list[Published]()
        for i in np.flatnonzero(ready & self.user & (self.will["uploads"] < n.uploads)):
            published += self.phones.upload(int(i), t)
        self.keys += len(published)
        for phone, day in self.phones.notified(published).items():
            if phone in self.notified and self.notified[phone] >= day:
                continue
            self.notified[phone] = t
            if self.will["complies"][phone] < n.complies:
                until = day + 1 + n.quarantine_days
                begin = max(t + 1, int(self.restricted_until[phone]))
                self.quarantined += max(0, until - begin)
                self.restricted_until[phone] = max(self.restricted_until[phone], until)
        self.phones.forget(t)

    def course(self) -> Course:
        """What happened."""
        n = self.n
        days = 0 if n is None else n.quarantine_days
        hit = sum(1 for phone, t in self.notified.items() if self.on[phone] <= t + days)
        return Course(
            self.incidence,
            int(self.incidence.sum()),
            len(self.notified),
            self.quarantined,
            hit,
            self.keys,
            self.phones.broadcasts,
        )


def averted(with_it: Course, without: Course) -> float:
    """Share of infections averted."""
    return 1.0 - with_it.infections / max(without.infections, 1)


def tensor(course: Course) -> torch.Tensor:
    """Incidence `[1, T, G]` as `sim.epidemic` gives it."""
    return torch.from_numpy(course.incidence)[None].double()
