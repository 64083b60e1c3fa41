"""Encounters that phones hear: in households, venues and the community, and those in which somebody was infected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.exposure._phones import Heard, Phones
from sim import COMMUNITY, HOUSEHOLD, VENUES, Population

MINUTES = {"household": 240.0, "venue": 20.0, "community": 12.0}
"""Mean minutes of an encounter a day (chosen; exponential)."""
ATTENUATION = {"household": (50.0, 8.0), "venue": (66.0, 9.0), "community": (68.0, 9.0)}
"""Mean and sd of the attenuation, dB (chosen)."""
COMMUNITY_CONTACTS = 6.0
"""Mean encounters a day outside household and venues that infect nobody (chosen)."""
INTERVALS = (48, 132)
"""Intervals of a day in which people meet."""


class Meetings:
    """Who of the users met whom on a day.

    Args:
        population: the people.
        rates: arrays of one particle.
        user: `[N]` who has a phone that takes part.
        seed: of everything.
    """

    def __init__(self, population: Population, rates: Any, user: NDArray[np.bool_], seed: int) -> None:
        self._population, self._rates, self._user, self._seed = population, rates, user, seed
        self._members = [
            _by_group(ids, len(w)) for ids, w in zip(population.venues, population.venue_weight, strict=True)
        ]
        self._of_group = _by_group(population.group.astype(np.int64), population.groups)
        # by group, the running share of its encounters with each group; the last is a little above 1, so that no draw lies beyond
        weight = rates.mixing.T * np.diff(self._of_group[0])
        self._meets = np.cumsum(weight, 1) / weight.sum(1, keepdims=True) * (1 + 1e-12)

    def record(
        self,
        t: int,
        infectious: NDArray[np.int64],
        out: NDArray[np.float64],
        new: NDArray[np.int64],
        home: NDArray[np.float64],
        response: NDArray[np.float64],
        phones: Phones,
    ) -> None:
        """Let phones hear the users that are infectious today.

        Everybody in a household or venue group meets all others of it; in the community some are met at random, and whoever is infected
        there met the infector, who is drawn in proportion to the hazard.

        Args:
            t: the day.
            infectious: users that are infectious.
            out: `[N]` infectiousness outside the household.
            new: who is infected today.
            home: `[H]` household pressures.
            response: `[R]` of behaviour.
            phones: hear.
        """
        p, generator = self._population, np.random.Generator(np.random.Philox(key=[self._seed, (2 << 40) + t]))
        for i in infectious:
            h = p.household[i]
            first, last = p.household_start[h], p.household_start[h + 1]
            self._meet(i, np.arange(first, last), "household", 1.0, t, generator, phones)
            if out[i] <= 0.0:
                continue
            for v, (start, member) in enumerate(self._members):
                g = p.venues[v, i]
                if g >= 0 and self._rates.transmission[VENUES + v, t] > 0:
                    self._meet(i, member[start[g] : start[g + 1]], "venue", 1.0, t, generator, phones)
            number = generator.poisson(COMMUNITY_CONTACTS * response[p.region_of_group[p.group[i]]])
            self._meet(i, self._strangers(int(p.group[i]), number, generator), "community", 1.0, t, generator, phones)
        self._infecting(t, out, new, home, response, generator, phones)

    def _strangers(self, group: int, number: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """People met in the community by somebody of a group."""
        start, member = self._of_group
        groups = np.searchsorted(self._meets[group], generator.random(number), side="right")
        low, high = start[groups], start[groups + 1]
        return member[low + (generator.random(number) * (high - low)).astype(np.int64)]

    def _infecting(
        self, t: int, out: NDArray[np.float64], new: NDArray[np.int64], home: NDArray[np.float64],
        response: NDArray[np.float64], generator: np.random.Generator, phones: Phones,
    ) -> None:  # fmt: skip
        """The encounters in the community in which users were infected by users: longer ones, as those that infect are."""
        p, beta = self._population, self._rates.transmission[:, t]
        start, member = self._of_group
        force = np.bincount(p.group, out, p.groups) / np.maximum(p.group_size, 1)
        for j in new[self._user[new]]:
            g = p.group[j]
            by_group = self._rates.mixing[g] * force
            community = response[p.region_of_group[g]] * beta[COMMUNITY] * by_group.sum()
            others = self._rates.importation[t, g] + beta[HOUSEHOLD] * home[p.household[j]]
            for v, ids in enumerate(p.venues):
                if ids[j] >= 0:
                    begin, people = self._members[v]
                    inside = out[people[begin[ids[j]] : begin[ids[j] + 1]]].sum()
                    others += response[p.region_of_group[g]] * beta[VENUES + v] * p.venue_weight[v][ids[j]] * inside
            if generator.random() * (community + others) >= community:
                continue
            source = generator.choice(p.groups, p=by_group / by_group.sum())
            people = member[start[source] : start[source + 1]]
            weight = out[people]
            i = people[generator.choice(len(people), p=weight / weight.sum())]
            if self._user[i]:
                self._meet(i, [int(j)], "community", 2.0, t, generator, phones)

    def _meet(
        self, i: int, others: Any, where: str, shape: float, t: int, generator: np.random.Generator, phones: Phones
    ) -> None:
        """Users among `others` hear the phone of i: a length and an attenuation for each encounter."""
        around = np.asarray(others, dtype=np.int64)
        heard_by = around[self._user[around] & (around != i)].tolist()
        if not heard_by:
            return
        minutes = MINUTES[where] * generator.gamma(shape, size=len(heard_by))
        mean, sd = ATTENUATION[where]
        attenuation = generator.normal(mean, sd, len(heard_by))
        at = generator.integers(*INTERVALS, size=len(heard_by))
        for j, length, loss, interval in zip(heard_by, minutes, attenuation, at, strict=True):
            phones.hear(j, phones.broadcast(int(i), t, int(interval)), Heard(t, float(length), float(loss)))


def _by_group(ids: NDArray[np.integer], groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the members of each group begin, and the members."""
    agents = np.flatnonzero(ids >= 0)
    order = np.argsort(ids[agents], kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(ids[agents], minlength=groups))])
    return start.astype(np.int64), agents[order].astype(np.int64)
