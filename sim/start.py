"""Infections before the first day of an epidemic: observed, drawn, or those of an earlier run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim._random import day_key, stream_key, uniform
from sim._reference import NEVER, Start
from sim.population import Population
from sim.rates import Rates

__all__ = ["InfectedBefore"]

PURPOSE = -2
"""Day by which the random numbers are named that choose who was infected; no day of an epidemic has it."""


@dataclass(frozen=True, eq=False)
class InfectedBefore:
    """Infections before day 0 of an epidemic.

    Whoever is in it is not susceptible (or as `Rates.reinfection` says), and infects from day 0 on at the age of the infection. The
    remembered incidence of day 0 is what `Rates.forgetting` makes of the infections before; they themselves have no derivative.

    Axes: `P` particles or 1 for all, `N` agents, `B` days, `G` community groups.

    Attributes:
        infected_on: `[P, N]` int16, day of the last infection, -1 for the day before day 0; `never` for nobody infected.
        incidence: `[P, B, G]` infections in agents on the B days before day 0, oldest first. None counts them from `infected_on`, which
            lacks the earlier infections of people infected twice.
        first_day: number of day 0 in the names of random numbers. A run cut at day t goes on as it would have with `first_day=t`.

    Raises:
        ValueError: days that are not negative, or shapes that do not go together.

    Examples:
        >>> import torch
        >>> start = InfectedBefore(torch.tensor([[-1, InfectedBefore.never, -3]], dtype=torch.int16))
        >>> start.days
        3
    """

    infected_on: Tensor
    incidence: Tensor | None = None
    first_day: int = 0
    never = NEVER

    def __post_init__(self) -> None:
        on, x = self.infected_on, self.incidence
        if on.dim() != 2 or on.dtype != torch.int16:
            raise ValueError(
                f"infected_on is {on.dtype} of shape {tuple(on.shape)}; give int16 days by particle and agent, or one row for all."
            )
        bad = (on >= 0) & (on != NEVER)
        if bool(bad.any()):
            raise ValueError(
                f"infected_on holds day {int(on[bad][0])}; days before the epidemic are negative, and {NEVER} is nobody infected."
            )
        if x is not None and (x.dim() != 3 or len(x) != len(on) or x.shape[1] < self._longest):
            raise ValueError(
                f"incidence has shape {tuple(x.shape)}; give {len(on)} particles, the {self._longest} days of infected_on or more, and "
                "all groups."
            )

    @property
    def _longest(self) -> int:
        known = self.infected_on[self.infected_on != NEVER]
        return -int(known.min()) if known.numel() else 0

    @property
    def days(self) -> int:
        """Number of days B that are known."""
        return self._longest if self.incidence is None else self.incidence.shape[1]

    @classmethod
    def at_random(
        cls, population: Population, counts: Tensor, seed: int, streams: Tensor | None = None, first_day: int = 0
    ) -> InfectedBefore:
        """Choose who was infected at random among the people of each group (and archetype).

        Which members of a household were infected together is not known from counts: start from agents where that matters.

        Args:
            population: the agents.
            counts: `[P, B, G]` or `[P, B, G, K]` infections in agents by day (oldest first), group and archetype; whole numbers.
            seed: names the random numbers, with the stream.
            streams: `[P]`, as for `sim.epidemic`.
            first_day: as above.

        Raises:
            ValueError: counts that are not whole, or more of them than there are agents.
        """
        counts = counts.detach().cpu().double()
        if counts.dim() not in (3, 4) or counts.shape[2] != population.groups:
            raise ValueError(
                f"counts has shape {tuple(counts.shape)}; give particles, days and the {population.groups} groups, and archetypes if known."
            )
        if not bool(((counts >= 0) & (counts == counts.round())).all()):
            raise ValueError("counts of infections before must be whole and not negative; round or draw them first.")
        kinds, (P, B) = counts.shape[3] if counts.dim() == 4 else 1, counts.shape[:2]
        if counts.dim() == 4 and kinds < population.archetypes:
            raise ValueError(
                f"counts covers {kinds} archetypes and the population has {population.archetypes}; give all of them, or groups alone."
            )
        cell = population.group.astype(np.int64) * kinds + (population.archetype if kinds > 1 else 0)
        cells, streams = population.groups * kinds, torch.arange(P) if streams is None else streams.cpu()
        first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=cells))])
        wanted = counts.reshape(P, B, cells).long().numpy()
        on, agents = np.full((P, population.agents), NEVER, dtype=np.int16), torch.arange(population.agents)
        for p in range(P):
            total = wanted[p].sum(0)
            if np.any(total > np.diff(first)):
                full = int(np.argmax(total - np.diff(first)))
                raise ValueError(
                    f"counts[{p}] has {total[full]} infections in group {full // kinds} (archetype {full % kinds}), which has "
                    f"{first[full + 1] - first[full]} agents; each is infected once before the start."
                )
            u = uniform(day_key(stream_key(seed, int(streams[p])), PURPOSE), agents).numpy()
            order = np.lexsort((u, cell))
            day = np.repeat(np.tile(np.arange(-B, 0), cells), wanted[p].T.ravel())
            rank = np.arange(len(day)) - np.repeat(np.cumsum(total) - total, total)
            on[p, order[np.repeat(first[:-1], total) + rank]] = day
        return cls(torch.from_numpy(on), counts.reshape(P, B, population.groups, -1).sum(-1), first_day)

    def counts(self, population: Population) -> Tensor:
        """`[P, B, G, K]` last infections by day, group and archetype, in agents."""
        P, B, G, K = len(self.infected_on), self.days, population.groups, population.archetypes
        p, i = (self.infected_on != NEVER).nonzero().unbind(1)
        cell = torch.from_numpy(population.group.astype(np.int64) * K + population.archetype)
        flat = (p * B + self.infected_on[p, i].long() + B) * (G * K) + cell[i]
        return torch.bincount(flat, minlength=P * B * G * K).reshape(P, B, G, K)

    def start(self, population: Population, rates: Rates) -> Start:
        """As kernels know it, for the particles of some rates and on their device.

        Raises:
            ValueError: another number of particles, agents or groups.
        """
        P, on, G = rates.particles, self.infected_on, population.groups
        if on.shape[1] != population.agents or len(on) not in (1, P):
            raise ValueError(
                f"infected_on has shape {tuple(on.shape)}; give {P} particles (or one row for all) and {population.agents} agents."
            )
        before = self.counts(population).sum(-1) if self.incidence is None else self.incidence
        if before.shape[2] != G:
            raise ValueError(f"incidence of the days before has {before.shape[2]} groups; the population has {G}.")
        device, like = rates.mixing.device, rates.mixing.dtype
        return Start(
            on.expand(P, -1).to(device).contiguous(),
            before.expand(P, -1, -1).to(device, like).contiguous(),
            self.first_day,
        )
