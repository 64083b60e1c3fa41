"""People who meet in one closed group each, and people who meet nobody: exact by recursion."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from experiments.gradient_audit.exact import Answer, reed_frost
from experiments.gradient_audit.worlds._world import World
from sim import Population, Rates

MEMBERS = (2, 3, 6, 12, 25, 60)
REACH = (0.5, 1.5, 4.0)
SEEDS = (0.01, 0.001)
AGENTS = 2_100
"""About how many agents of all groups together."""


def reed_frost_groups(members: int, reach: float, seed: float) -> World:
    """Groups of so many members, each member infected from outside on day 0 with hazard `seed`.

    Whoever is infected infects the others two days later, each with hazard `reach / (members - 1)`.
    """
    groups = AGENTS // members
    return World(
        name=f"reed-frost-n{members}-reach{reach:g}-seed{seed:g}",
        people=_grouped(members, groups),
        parameters=("transmission", "importation"),
        outcomes={"total": torch.ones(2 * members + 2, 1, dtype=torch.float64)},
        rates=partial(_rates, reach, seed, 2 * members + 2),
        exact=lambda: reed_frost(members, reach / (members - 1), seed) * groups,
        method="recursion",
        runs=2_000 if seed > 0.005 else 6_000,
        compared=reach == 1.5 and members in (2, 6, 25) and seed == 0.01,
    )


def alone(agents: int = 2_000, seed: float = 0.2) -> World:
    """People who meet nobody, so that the total is a sum of independent draws: every draw is linear in the outcome."""
    expected = agents * -np.expm1(-seed)
    answer = Answer(np.array([expected]), np.array([[agents * seed * np.exp(-seed)]]))
    return World(
        name="alone",
        people=_grouped(1, agents),
        parameters=("importation",),
        outcomes={"total": torch.ones(2, 1, dtype=torch.float64)},
        rates=lambda theta: _rates(0.0, seed, 2, torch.cat([0 * theta, theta], 1)),
        exact=lambda: answer,
        method="closed form",
        runs=200,
    )


def _grouped(members: int, groups: int) -> Population:
    agents = members * groups
    return Population(
        household_start=np.arange(agents + 1),
        group=np.zeros(agents, np.int16),
        archetype=np.zeros(agents, np.int16),
        venues=np.repeat(np.arange(groups, dtype=np.int32), members)[None],
        venue_weight=(np.full(groups, 1 / max(members - 1, 1)),),
        household_weight=np.zeros(agents),
        region_of_group=np.zeros(1, np.int16),
        people_per_agent=np.ones(1),
        venue_names=("group",),
    )


def _rates(reach: float, seed: float, days: int, theta: Tensor) -> Rates:
    factor, one = torch.exp(theta), torch.ones_like(theta[:, :1])
    nothing = torch.zeros_like(one).expand(-1, days)
    first = theta.new_zeros(days, 1)
    first[0] = seed
    return Rates(
        infectiousness=(theta.new_tensor([0.0, 1.0, 0.0]) * one)[:, None],
        susceptibility=one,
        transmission=torch.stack([nothing, nothing, (reach * factor[:, :1]).expand(-1, days)], 1),
        mixing=one[:, None],
        importation=first * factor[:, 1, None, None],
        aversion=0 * one[:, 0],
        forgetting=0.1 * one[:, 0],
    )
