"""The population of the questions: that of the study, with those told apart who got a third dose in the month after."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import ode
from epi.data import EpidemicData
from epi.errors import StudyError
from epi.model.immunity import campaign_doses_by, kinds_of_host
from epi.study import Campaign, Study, Vaccination
from sim import Population

EARLIER = 28.0
"""Days by which the third doses of the four weeks after the table of doses come earlier in the world that asks for it."""


@dataclass(frozen=True, eq=False)
class HostKinds:
    """The archetypes of the questions: the study's, then one an age band who are given the campaign's dose within four weeks.

    Attributes:
        hosts: the archetypes as they are in the calibrated world; the last ones are there as those with one dose less.
        share: `[A, K]` share of a kind in the people of its age band, 0 for other bands; rows sum to 1.
        third_since: `[A]` mean days before the day from which ages of doses count of a third dose that was given in the four weeks after
            the table, had it been given four weeks earlier.
        states: number of dose states. dose: number of the dose that the campaign gives.
    """

    hosts: ode.Archetypes
    share: Tensor
    third_since: Tensor
    states: int
    dose: int

    @property
    def ages(self) -> int:
        """Number of age bands A."""
        return len(self.share)

    @property
    def soon(self) -> slice:
        """The archetypes with a third dose within four weeks."""
        return slice(self.ages * self.states, None)

    @property
    def two(self) -> Tensor:
        """`[A]` the kinds with two doses and none within four weeks."""
        return torch.arange(self.ages) * self.states + self.dose - 1

    @property
    def alike(self) -> Tensor:
        """`[K]` the kind of the study that each is in the calibrated world."""
        return torch.cat((torch.arange(self.ages * self.states), self.two))


def tell_apart(population: Population, data: EpidemicData, seed: int) -> tuple[Population, HostKinds]:
    """Give a kind of their own to those who got a third dose in the four weeks after the day of the study's table.

    Nothing else changes: in the calibrated world they are hosts like any with two doses, so every epidemic is the study's own.

    Args:
        population: the study's.
        data: the study's.
        seed: of who they are; within a region and age anybody with two doses.
    """
    study = data.study
    ages, states, dose = len(study.ages), len(study.dose_states), campaign_of(study).dose
    share, since = share_soon(data)
    chosen = _choose(population, share, states, dose - 1, np.random.default_rng([seed, 83]))
    age = population.group % ages
    archetype = np.where(chosen, ages * states + age, population.archetype).astype(np.int16)
    base = kinds_of_host(data)
    two_doses = np.arange(ages) * states + dose - 1
    hosts = ode.Archetypes(*(torch.cat((x, x[two_doses])) for x in base.features(torch.zeros((), dtype=torch.float64))))
    return replace(population, archetype=archetype), HostKinds(
        hosts,
        _shares(data.population.astype(float), data.vaccination, share, dose - 1),
        torch.tensor(since),
        states,
        dose,
    )


def share_soon(data: EpidemicData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[A]` share of those with two doses who got a third in the four weeks after the table's day, and `[A]` how long ago: `third_since`."""
    known = pd.Timestamp(campaign_of(data.study).known_until)
    share, ago = campaign_doses_by(data, known)
    counted = (known - pd.Timestamp(data.study.need(Vaccination, "This question").reference_day)).days
    return share, np.where(share > 0, ago - counted + EARLIER, 0.0)


def campaign_of(study: Study) -> Campaign:
    """The campaign of a study.

    Raises:
        StudyError: it has none.
    """
    vaccination = study.part(Vaccination)
    if vaccination is None or vaccination.campaign is None:
        raise StudyError(
            f"Questions about doses need a campaign, and study {study.name!r} has none; add one to its Vaccination."
        )
    return vaccination.campaign


def _choose(
    population: Population, share: NDArray[np.float64], states: int, less: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """`[N]` a share of those with two doses of each group, to within one agent, anybody in it."""
    two = np.flatnonzero(population.archetype % states == less)
    order = two[np.lexsort((rng.random(len(two)), population.group[two]))]
    group = population.group[order]
    wanted = np.bincount(group, minlength=population.groups) * np.tile(share, population.groups // len(share))
    take = np.floor(wanted + rng.random(len(wanted)))
    first = np.searchsorted(group, np.arange(len(wanted)))
    out = np.zeros(population.agents, dtype=bool)
    out[order[np.arange(len(order)) - first[group] < take[group]]] = True
    return out


def _shares(people: NDArray[np.float64], doses: NDArray[np.float64], soon: NDArray[np.float64], less: int) -> Tensor:
    national = (doses * people[..., None]).sum(0)
    national = national / national.sum(-1, keepdims=True)
    ages, states = national.shape
    share = np.zeros((ages, ages * (states + 1)))
    for a in range(ages):
        share[a, a * states : (a + 1) * states] = national[a]
        share[a, a * states + less] *= 1 - soon[a]
        share[a, ages * states + a] = national[a, less] * soon[a]
    return torch.tensor(share)
