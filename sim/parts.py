"""One epidemic in parts: each holds its own households, and only sums over venues and groups pass between them.

Agents meet through sums (household, venue, group), and their random numbers depend on (seed, stream, agent, day) alone. Whoever holds whole
households needs of all others the day's sums of infectiousness by venue and group, and the day's infections by group. The kernels round
infectiousness to whole steps, so these sums are integers and the infections are those of the whole population bit for bit.

This module moves no messages: a caller adds up what the parts give (`protocols` does it with secret shares). The reverse gradient is the
local score (docs/gradient.md), whose sums are real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sim import _compiled_forward as fore
from sim import _compiled_reverse as back
from sim._columns import Packed, columns
from sim._compiled import _adjoints, _arrays, _no_adjoints
from sim._compiled_day import Day, add_pressures, apply_pressures, new_day
from sim._compiled_uninfected import begin_anew, enter
from sim._random import GOLDEN, MASK, day_key, stream_key, uniform
from sim._reference import NEVER
from sim.population import Population
from sim.rates import COMMUNITY, VENUES, Rates

OWN = (0, 1, 2, 7)
"""Arrays of the rates whose adjoints people add to one by one: infectiousness, susceptibility, transmission, reinfection."""

__all__ = ["Facts", "Part", "PartRun", "facts_of", "split", "uniform_draws"]


@dataclass(frozen=True, eq=False)
class Facts:
    """What everybody knows of the whole population beside sizes of groups and weights of venues.

    Attributes:
        largest: most members of a venue group that lie in one region.
        households_in_region: `[R]`.
    """

    largest: int
    households_in_region: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """Some households.

    Attributes:
        population: their people, with the venues and groups of the whole population; all others count as absent.
        first: number of the first agent in the whole population.
        facts: of the whole.
    """

    population: Population
    first: int
    facts: Facts

    @cached_property
    def packed(self) -> Packed:
        """Columns for the kernels."""
        own = columns(self.population, torch.device("cpu")).packed
        return own._replace(households_in_region=self.facts.households_in_region)

    @cached_property
    def venues(self) -> NDArray[np.int64]:
        """`[v]` venue groups that its people visit, numbered through all layers, ascending."""
        return np.unique(self.packed.section_venue).astype(np.int64)


def facts_of(population: Population) -> Facts:
    """The public facts of a population."""
    packed = columns(population, torch.device("cpu")).packed
    members = np.diff(packed.member_start)
    return Facts(int(members.max(initial=1)), packed.households_in_region)


def split(population: Population, households: list[slice]) -> list[Part]:
    """Cut a population into parts.

    Args:
        population: the whole.
        households: ranges that cover all households in order.

    Raises:
        ValueError: they do not, or one is empty.
    """
    edges = [0, *(s.stop for s in households)]
    starts = [s.start for s in households]
    if starts != edges[:-1] or edges[-1] != population.households or any(s.start >= s.stop for s in households):
        raise ValueError(
            f"the parts hold the households {[(s.start, s.stop) for s in households]}, expected ranges one after the other that cover "
            f"0..{population.households}, none of them empty."
        )
    facts, size = facts_of(population), population.group_size
    out = []
    for s in households:
        first, last = population.household_start[s.start], population.household_start[s.stop]
        own = np.bincount(population.group[first:last], minlength=population.groups)
        part = Population(
            population.household_start[s.start : s.stop + 1] - first,
            population.group[first:last],
            population.archetype[first:last],
            population.venues[:, first:last],
            population.venue_weight,
            population.household_weight[s],
            population.region_of_group,
            population.people_per_agent,
            population.venue_names,
            size - own,
        )
        out.append(Part(part, int(first), facts))
    return out


class PartRun:
    """An epidemic of one part, day by day; the caller brings the sums over all parts.

    Forward, for each day: `pressures`, the sum over parts to `infect`, the sum of what that gives to `remember`. In reverse from the last day,
    after `begin_reverse`: `hazards`, the sum to `carry`, the sum to `recentre`; at last `own_gradient`, the sum of which goes to `gradient`.

    Args:
        part: the households.
        rates: the rates, the same for all parts; P particles.
        seed: names all randomness together with the stream.
        streams: `[P]`; default 0..P-1.

    Raises:
        ValueError: the rates do not fit.

    Attributes:
        incidence: `[P, T, G]` infections of the whole population up to the day reached.
    """

    def __init__(self, part: Part, rates: Rates, seed: int, streams: Tensor | None = None) -> None:
        rates.check(part.population)
        self.part, self._rates, self._p = part, rates, part.packed
        self._arrays = _arrays(rates)
        P, T, p = rates.particles, rates.days, self._p
        names = range(P) if streams is None else streams.tolist()
        shift = part.first * GOLDEN
        keys = [[(day_key(stream_key(seed, int(s)), t) + shift) & MASK for t in range(T)] for s in names]
        self._keys = np.array(keys, dtype=np.uint64)
        self._on = np.full((P, len(p.place)), NEVER, dtype=np.int16)
        self.incidence = np.zeros((P, T, len(p.group_size)))
        self._memory = np.zeros((P, T, len(p.region_size)))
        self._reinfections = [np.empty((0, 3), dtype=np.int32) for _ in range(P)]
        self._number = np.zeros((P, 1), dtype=np.int64)
        self._marks = np.zeros((len(p.place) + 7) // 8, dtype=np.uint64)
        self._days = [self._day(q) for q in range(P)]
        self._totals = np.zeros((P, T, self.width), dtype=np.int64)
        self._first_section = np.searchsorted(np.sort(p.section_venue, kind="stable"), part.venues)
        self._sections = np.argsort(p.section_venue, kind="stable")[self._first_section]
        self._slot = np.searchsorted(part.venues, p.section_venue)

    @property
    def width(self) -> int:
        """Numbers that `pressures` gives a particle: own venues, then all groups."""
        return len(self.part.venues) + len(self._p.group_size)

    def _day(self, q: int) -> Day:
        """Working memory whose steps are those of the whole population."""
        p, rho, alone = self._p, self._arrays[0][q], np.int64(0)
        day = new_day(p, self._arrays, q, alone + 1)
        grid, steps = day.grid.copy(), day.steps.copy()
        for i, size in enumerate((float(self.part.facts.largest), p.group_size.max())):
            grid[i] = 2.0 ** (51 - np.ceil(np.log2(max(size * rho.max(), 1e-280))))
            steps[i] = np.floor(rho * grid[i] + 0.5)
        return day._replace(grid=grid, steps=steps)

    def pressures(self, t: int) -> NDArray[np.int64]:
        """`[P, v + G]` infectiousness of the part on a day in whole steps, by venue that its people visit and by group."""
        out = np.zeros((len(self._days), self.width), dtype=np.int64)
        venues = len(self.part.venues)
        for q, day in enumerate(self._days):
            add_pressures(self._p, self._arrays, q, t, self._on[q], day, np.int64(0))
            out[q, :venues] = np.bincount(self._slot, weights=day.sections[0, :-1], minlength=venues)
            out[q, venues:] = day.groups[0]
        return out

    def infect(self, t: int, totals: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[P, G]` infections of the part on a day, from the sums over all parts of `pressures`."""
        p, alone = self._p, np.int64(0)
        self._totals[:, t] = totals
        out = np.zeros((len(self._days), len(p.group_size)))
        for q, day in enumerate(self._days):
            self._apply_totals(q, t)
            table, loud, limit = fore.bounds(p, self._arrays, q, t, day, self.incidence[q])
            self._reinfections[q] = fore.room(self._arrays, self._reinfections[q], self._number[q], len(p.place))
            fore.infect(
                p, self._arrays, q, t, self._keys[q, t], day, table, loud, np.uint64(limit), self._marks, self._on[q],
                self._reinfections[q], self._number[q], out[q], alone,
            )  # fmt: skip
        return out.astype(np.int64)

    def remember(self, t: int, infections: NDArray[np.int64]) -> None:
        """Take in the infections of the whole population on a day, `[P, G]`."""
        for q in range(len(self._days)):
            caught = infections[q : q + 1].astype(np.float64)
            fore.remember(self._p, self._arrays, q, t, caught, self.incidence[q], self._memory[q])

    def _apply_totals(self, q: int, t: int) -> None:
        """What reaches venues and groups on a day, from the sums of the whole population."""
        day, venues = self._days[q], len(self.part.venues)
        day.sections[0] = 0.0
        day.sections[0, self._sections] = self._totals[q, t, :venues]
        day.groups[0] = self._totals[q, t, venues:]
        apply_pressures(self._p, self._arrays, q, t, self._memory[q, t], day)

    # -- reverse -----------------------------------------------------------------------------------------------------

    def begin_reverse(self, cotangent: Tensor) -> None:
        """Begin the gradient of `sum(cotangent * incidence)`, `cotangent [P, T, G]`; the forward run is used up."""
        p, alone = self._p, np.int64(0)
        self._weights = cotangent.double().numpy()
        self._bar, self._own = _no_adjoints(self._rates), _no_adjoints(self._rates)
        self._rows, self._w = [], []
        for q, day in enumerate(self._days):
            rows = self._reinfections[q][: self._number[q, 0]]
            self._rows.append(rows[np.argsort(rows[:, 1], kind="stable")])
            self._w.append(back.new_back(p, self._arrays, q, alone + 1))
            back.start(p, self._arrays, q, self._on[q], day, self._w[q], alone)

    def hazards(self, t: int) -> NDArray[np.float64]:
        """`[P, v + G + R]` what the part's hazards of a day add to the adjoints of venues, importation and response."""
        p, rates, alone = self._p, self._arrays, np.int64(0)
        out = []
        for q, day in enumerate(self._days):
            w, on, rows = self._w[q], self._on[q], self._of_day(q, t)
            enter(p, rates, q, t, on, day, w, alone)
            back.take_back(p, rows, on, day, alone)
            add_pressures(p, rates, q, t, on, day, alone)
            self._apply_totals(q, t)
            begin_anew(rates, t, w)
            back.read_out(p, rates, q, t, self.incidence[q], self._memory[q, t], self._weights[q, t], w, self._bar)
            back.infected(p, rates, q, t, rows, on, day, w, alone)
            back.hazards(p, rates, q, t, rows, on, day, w, alone)
            out.append(self._partly_folded(q, t))
        return np.stack(out)

    def carry(self, t: int, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[P, R]` what the part subtracts from the scores of regions on a day, from the sums over all parts of `hazards`."""
        p, venues, groups = self._p, len(self.part.venues), len(self._p.group_size)
        for q, day in enumerate(self._days):
            self._fold(q, t, *np.split(totals[q], [venues, venues + groups]))
            back.infectious(p, self._arrays, q, t, self._on[q], day, self._w[q], np.int64(0))
        return np.stack([w.centreG[0] for w in self._w])

    def recentre(self, totals: NDArray[np.float64]) -> None:
        """Take in the sums over all parts of `carry`, `[P, R]`."""
        for w, total in zip(self._w, totals, strict=True):
            w.centreG[0] = total
            back.recentre(w)

    def own_gradient(self) -> NDArray[np.float64]:
        """`[n]` the part's share of the adjoints that its people alone add to."""
        none = np.zeros(len(self._p.region_size))
        for q, w in enumerate(self._w):
            back.finish(self._p, q, self._on[q], none, w, self._own)
        return np.concatenate([self._own[i].ravel() for i in OWN])

    def gradient(self, total: NDArray[np.float64]) -> Rates:
        """The gradient in every rate, from the sum over all parts of `own_gradient`."""
        bar, begin = list(self._bar), 0
        for i in OWN:
            shape, size = bar[i].shape, bar[i].size
            bar[i] = bar[i] + total[begin : begin + size].reshape(shape)
            begin += size
        return _adjoints(self._rates, tuple(bar))

    def _of_day(self, q: int, t: int) -> NDArray[np.int32]:
        """Reinfections of a day: agent, day, day before, without the day."""
        rows = self._rows[q]
        first, last = np.searchsorted(rows[:, 1], [t, t + 1])
        return np.ascontiguousarray(rows[first:last])

    def _partly_folded(self, q: int, t: int) -> NDArray[np.float64]:
        """The sums over cells and sections of `_compiled_reverse.fold`, of this part."""
        p, w, day, beta, period = self._p, self._w[q], self._days[q], self._arrays[2][q], self._rates.period(t)
        sigma = self._arrays[1][q, period]
        cell = w.cells[2, 0] - w.cells[0, 0] - w.centre[p.cell_home] * w.cells[1, 0]
        kinds, groups, regions = len(sigma), len(p.group_size), len(p.region_size)
        self._own[1][q, period] += np.bincount(p.cell_archetype, cell * day.base[p.cell_group], kinds)
        importation = np.bincount(p.cell_group, cell * sigma[p.cell_archetype], groups)
        section = w.sections[2, 0, :-1] - w.sections[0, 0, :-1] - w.centre[p.section_home] * w.sections[1, 0, :-1]
        pressure, response = day.V[p.section_venue], day.response[p.section_region]
        b = beta[VENUES + p.section_layer, t]
        self._own[2][q, :, t] += np.bincount(VENUES + p.section_layer, section * response * pressure, len(beta))
        to_response = np.bincount(p.section_region, section * b * pressure, regions)
        weight = p.venue_weight[p.section_venue]
        venues = np.bincount(self._slot, section * response * b * weight, len(self.part.venues))
        w.Y[:-1] += day.reach[:-1]
        w.Z[:-1] += w.centre[p.section_home] * day.reach[:-1]
        return np.concatenate([venues, importation, to_response])

    def _fold(
        self,
        q: int,
        t: int,
        venues: NDArray[np.float64],
        importation: NDArray[np.float64],
        to_response: NDArray[np.float64],
    ) -> None:
        """The rest of `_compiled_reverse.fold`: what is the same for all parts."""
        p, w, day, memory = self._p, self._w[q], self._days[q], self._memory[q, t]
        _, _, beta, mixing, _, aversion = self._arrays[:6]
        _, _, betaG, mixingG, importationG, aversionG = self._bar[:6]
        w.sendG[:-1] = venues[self._slot]
        importationG[q, t] += importation
        response = day.response[p.region_of_group]
        to_response = to_response + np.bincount(p.region_of_group, importation * day.outside, len(memory))
        community = importation * response
        betaG[q, COMMUNITY, t] += community @ day.C
        community = community * beta[q, COMMUNITY, t]
        mixingG[q] += np.outer(community, day.F)
        w.FG[:] = mixing[q].T @ community / p.group_size
        aversionG[q] -= (to_response * day.response * memory).sum()
        w.AG[:] -= to_response * day.response * aversion[q]


def uniform_draws(seed: int, stream: int, day: int, agents: int) -> NDArray[np.float64]:
    """`[N]` the random numbers in [0, 1) by which `sim.epidemic` infects the agents on a day."""
    return uniform(day_key(stream_key(seed, stream), day), torch.arange(agents)).numpy()
