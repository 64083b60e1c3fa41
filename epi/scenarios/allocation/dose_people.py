"""People who may be given a third dose, and the population after some were."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.scenarios.people import campaign_of
from epi.study import Study
from sim import Population

CLASSES = ("others", "two doses", "third dose by policy")
"""What the policy tells apart in a region and age band: those it does not concern, those without and those with a dose of its own."""


@dataclass(frozen=True, eq=False)
class DosePeople:
    """The study's population, in which a policy gives third doses to people with two.

    Attributes:
        population: the study's.
        ranked: `[E]` agents with two doses, by group and, within it, by lot: who comes first is given a dose first.
        lot: `[E]` their rank in their group, from 0, plus a number from 0 to 1 that is the group's own: a share u of n agents goes to
            those with `lot < u n`, `u n` of them on average over that number; a larger share goes to the same ones and more.
        agents: `[R, A]` agents with two doses, by region and age.
        states: number of dose states. dose: number of the dose that the policy gives.
    """

    population: Population
    ranked: NDArray[np.int64]
    lot: NDArray[np.float64]
    agents: NDArray[np.int64]
    states: int
    dose: int

    @property
    def groups(self) -> int:
        """Number of groups of the study, region x age."""
        return self.agents.size

    @property
    def ages(self) -> int:
        """Number of age bands A."""
        return self.agents.shape[1]

    @property
    def kinds(self) -> int:
        """Number of archetypes of the study."""
        return self.ages * self.states

    @property
    def two(self) -> Tensor:
        """`[A]` the archetypes with one dose less than the policy gives."""
        return torch.arange(self.ages) * self.states + self.dose - 1

    def kind_of_host(self) -> Tensor:
        """The archetype of the host of each archetype of `given`: of the study's and one an age more, boosted by policy."""
        age = torch.arange(self.groups) % self.ages
        return torch.cat((torch.arange(self.kinds), self.two[age], self.kinds + age))

    @property
    def eligible(self) -> Tensor:
        """`[R, A]` people with two doses that these agents stand for."""
        return torch.tensor(self.agents * self.population.people_per_agent[:, None])

    def given(self, share: Tensor) -> Population:
        """The population in which `share [R, A]` of those with two doses have a third.

        The groups are told apart by class, `class * 160 + group`, so that infections are counted by class; the kinds of host are the
        study's 32 for others, then one a group for those with two doses, then one a group for those with a third by the policy. Nobody's
        household, contacts or random numbers change.
        """
        base = self.population
        group, archetype = base.group.astype(np.int64), base.archetype.astype(np.int64)
        mine = group[self.ranked]
        wanted = (share.numpy() * self.agents).ravel()
        boosted = self.lot < wanted[mine] - 1e-9
        kind = np.where(boosted, 2, 1)
        group[self.ranked] += kind * self.groups
        archetype[self.ranked] = self.kinds + (kind - 1) * self.groups + mine
        return replace(
            base,
            group=group.astype(np.int16),
            archetype=archetype.astype(np.int16),
            region_of_group=np.tile(base.region_of_group, len(CLASSES)),
        )


def who_may(population: Population, study: Study, seed: int) -> DosePeople:
    """Rank those with two doses of each region and age by lot.

    Args:
        population: the study's.
        study: says which dose its campaign gives.
        seed: of the lots.
    """
    rng = np.random.default_rng([seed, 89])
    states, dose = len(study.dose_states), campaign_of(study).dose
    two = np.flatnonzero(population.archetype % states == dose - 1)
    ranked = two[np.lexsort((rng.random(len(two)), population.group[two]))]
    group = population.group[ranked]
    count = np.bincount(group, minlength=population.groups)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.arange(len(ranked)) - first[group]
    return DosePeople(
        population,
        ranked,
        rank + rng.random(population.groups)[group],
        count.reshape(len(study.region), -1),
        states,
        dose,
    )
