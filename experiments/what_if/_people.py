"""The population of the questions: that of the study, with those told apart who got a third dose in the month after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import ode
from experiments.nz_calibration._figures import AGE_BANDS, DISTRICTS, DOSES, Figures
from sim import Population

THIRD_DOSES = Path(__file__).parent / "third_doses.csv"
TABLE_DAY, MONTH_LATER = date(2022, 2, 8), date(2022, 3, 8)
"""Day of the study's table of doses, and four weeks after it."""
WEEK = 7.0


@dataclass(frozen=True, eq=False)
class HostKinds:
    """The kinds of host of the questions: the study's 32, then 8 (one an age band) with two doses and a third within four weeks.

    Attributes:
        hosts: the 40 kinds as they are in the calibrated world; the last 8 are there as those with two doses.
        share: `[A, K]` share of a kind in the people of its age band, 0 for other bands; rows sum to 1.
        third_since: `[A]` days before the day of the table of a third dose that was given in the four weeks after it, had it been given
            four weeks earlier.
    """

    hosts: ode.Archetypes
    share: Tensor
    third_since: Tensor

    @property
    def soon(self) -> slice:
        """The kinds with a third dose within four weeks."""
        return slice(len(AGE_BANDS) * len(DOSES), None)


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
    base = ode.archetypes_by_age_and_dose()
    two_doses = np.arange(len(AGE_BANDS)) * len(DOSES) + 2
    hosts = ode.Archetypes(*(torch.cat((x, x[two_doses])) for x in base.features(torch.zeros((), dtype=torch.float64))))
    return replace(population, archetype=archetype), HostKinds(
        hosts, _shares(figures.population.astype(float), figures.vaccination, share), torch.tensor(since)
    )


def share_soon(figures: Figures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[A]` share of those with two doses who got a third in the four weeks after the table's day, and `[A]` how long ago: `third_since`."""
    given, since = third_doses_in_month()
    people = figures.population.astype(float)
    two, third = ((figures.vaccination[..., doses] * people).sum(0) for doses in (2, 3))
    # as many more as the register counted, per third dose of the table, but no more than have two doses
    return np.clip(np.divide(given * third, two, out=np.zeros_like(two), where=two > 0), 0.0, 1.0), since


def third_doses_in_month() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Third doses of the four weeks after the table's day, by age.

    Returns:
        `[A]` third doses of those weeks per third dose before, and `[A]` days between the mean day four weeks before they were given
        and the table's day.
    """
    table = pd.read_csv(THIRD_DOSES, parse_dates=["date"]).pivot(index="date", columns="age_band", values="third_doses")
    table = table[list(AGE_BANDS)].astype(float)
    month = table.loc[str(TABLE_DAY) : str(MONTH_LATER)]
    weekly = month.diff().iloc[1:].to_numpy()
    # a dose given in the week before a Tuesday was given three and a half days before it, on average
    ago = (len(weekly) - 1 - np.arange(len(weekly))) * WEEK + WEEK / 2
    total = weekly.sum(0)
    before = month.iloc[0].to_numpy()
    given = np.divide(total, before, out=np.zeros_like(total), where=before > 0)
    since = np.divide((weekly * ago[:, None]).sum(0), total, out=np.full_like(total, 14.0), where=total > 0)
    return given, since


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
