"""What is simulated: the New Zealand population at any size, and rates in the middle of the study's priors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from epi.data import load_data
from epi.population import build_population
from experiments.nz_calibration.study import study
from sim import PERIOD, Population, Rates

OPEN = 18  # days of seeding before the wave spreads outside homes
INFECTIOUS_DAYS = 14


def make_population(agents: int, seed: int) -> tuple[Population, int]:
    """The New Zealand population of about so many agents, and how many copies of it make up the number."""
    epidemic_data = load_data(study)
    people = int(epidemic_data.population.sum())
    return _built(min(1.0, agents / people), seed), max(1, round(agents / people))


@lru_cache(maxsize=1)
def _built(scale: float, seed: int) -> Population:
    return build_population(load_data(study), scale, seed)[0]


def tiled(population: Population, copies: int) -> Population:
    """Copies of a population side by side: households and venues anew, groups and archetypes shared."""
    if copies == 1:
        return population
    p = population
    ends = p.household_start[1:] + np.arange(copies, dtype=np.int64)[:, None] * p.agents
    step = np.array([len(w) for w in p.venue_weight], dtype=np.int32)[:, None]
    venues = np.concatenate([np.where(p.venues >= 0, p.venues + i * step, -1) for i in range(copies)], axis=1)
    return Population(
        household_start=np.concatenate([[0], ends.ravel()]),
        group=np.tile(p.group, copies),
        archetype=np.tile(p.archetype, copies),
        venues=venues.astype(np.int32),
        venue_weight=tuple(np.tile(w, copies) for w in p.venue_weight),
        household_weight=np.tile(p.household_weight, copies),
        region_of_group=p.region_of_group,
        people_per_agent=p.people_per_agent / copies,
        venue_names=p.venue_names,
    )


def make_rates(
    population: Population, particles: int, days: int, device: torch.device, dtype: torch.dtype, immunity: bool = False
) -> Rates:
    """Rates with the shape of the study's, written out so that no within-host model runs here; particles differ by up to 10 %.

    Transmission, mixing, aversion, forgetting and seeding are the medians of `epi.model.parameters`; schools
    and workplaces close at weekends. Infectiousness rises for four days and fades (a gamma curve that sums to 1), and
    each dose takes away a part of it and of the susceptibility. With `immunity`, what doses took wanes by half within some
    months, and the infected become susceptible again, to a half in three months.
    """
    day, since = torch.arange(days, dtype=torch.float64), torch.arange(1, INFECTIOUS_DAYS + 1, dtype=torch.float64)
    curve = since**3 * torch.exp(-since / 1.2)
    doses = torch.arange(len(study.ages) * len(study.dose_states)) % len(study.dose_states)
    level = (
        torch.linspace(0.9, 1.1, particles, dtype=torch.float64)
        if particles > 1
        else torch.ones(1, dtype=torch.float64)
    )
    opened, weekday = (day >= OPEN).double(), ((day + 3) % 7 < 5).double()
    transmission = torch.stack(
        [0.6 * torch.ones(days, dtype=torch.float64), 1.1 * opened, 0.7 * opened * weekday, 0.6 * opened * weekday]
    )
    growth = torch.exp(0.15 * day) * (1 - opened)
    importation = (1e-3 * growth / growth.sum())[:, None].expand(days, population.groups)

    def ready(x: Tensor) -> Tensor:
        return x.to(device, dtype).contiguous()

    def each(x: Tensor) -> Tensor:
        return ready(x.expand(particles, *x.shape))

    more: dict[str, Tensor] = {}
    if immunity:
        period = torch.arange(-(-days // PERIOD), dtype=torch.float64)
        lost = 0.5 * (1 - torch.exp(-period / 6))
        more["waning"] = each(1 + lost * (0.1 * doses / (1 - 0.1 * doses))[:, None])
        age = torch.arange(1, days + 1, dtype=torch.float64)
        more["reinfection"] = each((0.5 * ((age - 28) / 60).clamp(0, 1)).expand(len(doses), -1))
    return Rates(
        infectiousness=each(curve / curve.sum() * (1 - 0.05 * doses)[:, None]),
        susceptibility=each(1 - 0.1 * doses),
        transmission=ready(level[:, None, None] * transmission),
        mixing=each(_mixing(population)),
        importation=each(importation),
        aversion=each(torch.tensor(0.5, dtype=torch.float64)),
        forgetting=each(torch.tensor(0.07, dtype=torch.float64)),
        **more,
    )


def _mixing(population: Population) -> Tensor:
    """`[G, G]`: 35 % of contacts in the own age band, 5 % in other districts, the rest by size."""
    ages, districts = len(study.ages), len(study.region)
    size = torch.as_tensor(population.group_size, dtype=torch.float64).reshape(districts, ages)
    share = size / size.sum(1, keepdim=True)
    by_age = 0.35 * torch.eye(ages, dtype=torch.float64)[:, None] + 0.65 * share[None]  # [own age, district, age]
    elsewhere = size.sum(1).expand(districts, districts) * (1 - torch.eye(districts, dtype=torch.float64))
    place = 0.95 * torch.eye(districts, dtype=torch.float64) + 0.05 * elsewhere / elsewhere.sum(1, keepdim=True)
    full = place[:, None, :, None] * by_age[None]
    return full.reshape(districts * ages, districts * ages)
