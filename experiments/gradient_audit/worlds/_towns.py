"""Made-up towns: measles among the few who are not immune, and districts of which one is seeded."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.gradient_audit.worlds._world import World
from sim import Population, Rates

CLASS_SIZE, SHARE_AT_SCHOOL = 25, 0.35
PARAMETERS = (
    "household", "community", "class", "class in one month", "importation", "infectiousness shape",
    "mixing of districts",
)  # fmt: skip


def measles(agents: int = 4_000) -> World:
    """95 % immune, reproduction number without immunity 15 to 25, a handful of imported cases in the first two months."""
    rng = np.random.default_rng(1)
    people = _town(agents, 1, rng)
    # those who are not immune live together: 8 % of households hold most of them
    shielded = (rng.random(people.households) > 0.08)[people.household] | (rng.random(agents) < 1 - 0.05 / 0.08)
    people = _with_archetypes(people, shielded.astype(np.int16))
    shed = (0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2)
    rates = partial(_rates, (6.0, 7.0, 12.0), _seeding(120, 1, 60, 4e-4), shed, 0.0)
    outcomes = _outcomes(120, 1, None)
    return World("measles", people, PARAMETERS[:-1], outcomes, rates, streams=6_000, runs=3_000)


def seeded_district(agents: int = 20_000, districts: int = 10) -> World:
    """One imported case on average, in the first of ten districts; 2 % of community contacts go to other districts."""
    people = _town(agents, districts, np.random.default_rng(2))
    seeding = _seeding(90, districts, 10, districts / agents / 10)
    seeding[:, 1:] = 0.0
    rates = partial(_rates, (0.6, 0.8, 0.85), seeding, (0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2), 0.02)
    outcomes = _outcomes(90, districts, 0)
    return World("seeded-district", people, PARAMETERS, outcomes, rates, streams=2_500, runs=1_500, compared=False)


def _town(agents: int, districts: int, rng: np.random.Generator) -> Population:
    """Households of 2 to 4, districts one after the other, a third of the people in classes of 25 of their district."""
    sizes = rng.integers(2, 5, agents)
    start = np.concatenate([[0], np.cumsum(sizes)])
    start = np.append(start[start < agents], agents)
    homes = np.arange(len(start) - 1)
    group = np.repeat(homes * districts // len(homes), np.diff(start)).astype(np.int16)
    venue, classes = np.full(agents, -1, np.int32), 0
    for d in range(districts):
        pupils = rng.permutation(np.flatnonzero((group == d) & (rng.random(agents) < SHARE_AT_SCHOOL)))
        here = max(1, len(pupils) // CLASS_SIZE)
        venue[pupils] = classes + np.arange(len(pupils)) % here
        classes += here
    members = np.bincount(venue[venue >= 0], minlength=classes)
    return Population(
        household_start=start,
        group=group,
        archetype=np.zeros(agents, np.int16),
        venues=venue[None],
        venue_weight=(1 / np.maximum(members - 1.0, 1.0),),
        household_weight=1 / np.maximum(np.diff(start) - 1.0, 1.0),
        region_of_group=np.arange(districts, dtype=np.int16),
        people_per_agent=np.ones(districts),
        venue_names=("class",),
    )


def _with_archetypes(people: Population, archetype: NDArray[np.int16]) -> Population:
    columns = {name: getattr(people, name) for name in people.__dataclass_fields__}
    return Population(**{**columns, "archetype": archetype})


def _seeding(days: int, districts: int, last: int, hazard: float) -> Tensor:
    """`[T, G]` hazard from outside on the first `last` days."""
    table = torch.zeros(days, districts, dtype=torch.float64)
    table[:last] = hazard
    return table


def _outcomes(days: int, districts: int, district: int | None) -> dict[str, Tensor]:
    total, half, week = (torch.zeros(days, districts, dtype=torch.float64) for _ in range(3))
    total[:], half[days // 2 :] = 1.0, 1.0
    week[days // 2 : days // 2 + 7, district or 0] = 1.0
    return {"total": total, "one district's week" if district is not None else "one week": week, "second half": half}


def _rates(
    base: tuple[float, float, float], seeding: Tensor, shed: tuple[float, ...], elsewhere: float, theta: Tensor
) -> Rates:
    days, districts = seeding.shape
    home, community, at_school, month, outside, _, *mixing = torch.exp(theta).unbind(1)
    one, t = torch.ones_like(home), torch.arange(days)
    curve = theta.new_tensor(shed)
    tail = (torch.arange(len(shed)) > np.flatnonzero(shed).mean()).to(theta)
    curve = curve * torch.exp(theta[:, 5:6] * tail)
    some = torch.where((t >= days // 3) & (t < days // 3 + 30), month[:, None], one[:, None])
    own = torch.eye(districts).to(theta)
    away = elsewhere * (mixing[0] if mixing else one)[:, None, None]
    return Rates(
        infectiousness=curve[:, None].expand(-1, 2, -1),
        susceptibility=torch.stack([one, 0 * one], 1),
        transmission=torch.stack(
            [base[0] * home[:, None] * torch.ones_like(some), base[1] * community[:, None] * torch.ones_like(some),
             base[2] * at_school[:, None] * some], 1
        ),
        mixing=(1 - elsewhere) * own + away * (1 - own) / max(districts - 1, 1),
        importation=seeding.to(theta) * outside[:, None, None],
        aversion=0 * one,
        forgetting=0.1 * one,
    )  # fmt: skip
