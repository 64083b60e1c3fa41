"""The population of the questions: that of the study, with those told apart who got a third dose in the month after."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import ode
from epi.data.load import AGE_BANDS, DISTRICTS, DOSES, Figures
from epi.model.immunity import kinds_of_host, third_doses_by
from epi.study import calendar
from sim import Population

EARLIER = 28.0
"""Days by which the third doses of the four weeks after the table of doses come earlier in the world that asks for it."""


@dataclass(frozen=True, eq=False)
class HostKinds:
    """The kinds of host of the questions: the study's 32, then 8 (one an age band) with two doses and a third within four weeks.

    Attributes:
        hosts: the 40 kinds as they are in the calibrated world; the last 8 are there as those with two doses.
        share: `[A, K]` share of a kind in the people of its age band, 0 for other bands; rows sum to 1.
        third_since: `[A]` mean days before the day from which ages of doses count of a third dose that was given in the four weeks after
            the table, had it been given four weeks earlier.
    """

    hosts: ode.Archetypes
    share: Tensor
    third_since: Tensor

    @property
    def soon(self) -> slice:
        """The kinds with a third dose within four weeks."""
        return slice(len(AGE_BANDS) * len(DOSES), None)

    @property
    def two(self) -> Tensor:
        """`[A]` the kinds with two doses and none within four weeks."""
        return torch.arange(len(AGE_BANDS)) * len(DOSES) + 2

    @property
    def alike(self) -> Tensor:
        """`[K]` the kind of the study that each is in the calibrated world."""
        return torch.cat((torch.arange(len(AGE_BANDS) * len(DOSES)), self.two))


def tell_apart(population: Population, figures: Figures, seed: int) -> tuple[Population, HostKinds]:
    """Give a kind of their own to those who got a third dose in the four weeks after the day of the study's table.

    Nothing else changes: in the calibrated world they are hosts like any with two doses, so every epidemic is the study's own.

    Args:
        population: the study's.
        figures: the study's.
        seed: of who they are; within a district and age anybody with two doses.
    """
    share, since = share_soon(figures)
    chosen = _choose(population, share, np.random.default_rng([seed, 83]))
    age = population.group % len(AGE_BANDS)
    archetype = np.where(chosen, len(AGE_BANDS) * len(DOSES) + age, population.archetype).astype(np.int16)
    base = kinds_of_host(figures)
    two_doses = np.arange(len(AGE_BANDS)) * len(DOSES) + 2
    hosts = ode.Archetypes(*(torch.cat((x, x[two_doses])) for x in base.features(torch.zeros((), dtype=torch.float64))))
    return replace(population, archetype=archetype), HostKinds(
        hosts, _shares(figures.population.astype(float), figures.vaccination, share), torch.tensor(since)
    )


def share_soon(figures: Figures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[A]` share of those with two doses who got a third in the four weeks after the table's day, and `[A]` how long ago: `third_since`."""
    known = pd.Timestamp(calendar.DOSES_KNOWN)
    share, ago = third_doses_by(figures, known)
    counted = (known - pd.Timestamp(calendar.DOSES_COUNTED)).days
    return share, np.where(share > 0, ago - counted + EARLIER, 0.0)


def _choose(population: Population, share: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """`[N]` a share of those with two doses of each group, to within one agent, anybody in it."""
    two = np.flatnonzero(population.archetype % len(DOSES) == 2)
    order = two[np.lexsort((rng.random(len(two)), population.group[two]))]
    group = population.group[order]
    wanted = np.bincount(group, minlength=len(DISTRICTS) * len(AGE_BANDS)) * np.tile(share, len(DISTRICTS))
    take = np.floor(wanted + rng.random(len(wanted)))
    first = np.searchsorted(group, np.arange(len(wanted)))
    out = np.zeros(population.agents, dtype=bool)
    out[order[np.arange(len(order)) - first[group] < take[group]]] = True
    return out


def _shares(people: NDArray[np.float64], doses: NDArray[np.float64], soon: NDArray[np.float64]) -> Tensor:
    national = (doses * people[..., None]).sum(0)
    national = national / national.sum(-1, keepdims=True)
    ages, states = national.shape
    share = np.zeros((ages, ages * (states + 1)))
    for a in range(ages):
        share[a, a * states : (a + 1) * states] = national[a]
        share[a, a * states + 2] *= 1 - soon[a]
        share[a, ages * states + a] = national[a, 2] * soon[a]
    return torch.tensor(share)
