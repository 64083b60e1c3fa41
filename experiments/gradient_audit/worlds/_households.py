"""Chain-binomial households: no contact outside them, exact by enumeration of each size."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from experiments.gradient_audit.exact import Answer, enumerate_courses
from experiments.gradient_audit.worlds._world import World
from sim import Population, Rates

SIZES, COPIES, DAYS = (1, 2, 3, 4), 100, 6
PARAMETERS = ("household", "importation", "susceptibility of one archetype", "infectiousness shape")


def households(copies: int = COPIES) -> World:
    """`copies` households of each size of `SIZES`, infected from outside at random and from inside by chain."""
    outcomes = {"total": torch.ones(DAYS, 1, dtype=torch.float64), "second half": torch.zeros(DAYS, 1).double()}
    outcomes["second half"][DAYS // 2 :] = 1.0

    def exact() -> Answer:
        weights = list(outcomes.values())
        one_each = [enumerate_courses(_people((n,)), _rates, len(PARAMETERS), weights, range(DAYS)) for n in SIZES]
        return reduce(Answer.__add__, one_each) * copies

    return World(
        name="households",
        people=_people(SIZES * copies),
        parameters=PARAMETERS,
        outcomes=outcomes,
        rates=_rates,
        exact=exact,
        method="enumeration",
        runs=2_000,
    )


def _people(sizes: tuple[int, ...]) -> Population:
    start = np.concatenate([[0], np.cumsum(sizes)])
    place = np.arange(start[-1]) - np.repeat(start[:-1], sizes)  # within the household
    return Population(
        household_start=start,
        group=np.zeros(start[-1], np.int16),
        archetype=(place % 2).astype(np.int16),
        venues=np.empty((0, start[-1]), np.int32),
        venue_weight=(),
        household_weight=1 / np.maximum(np.array(sizes) - 1.0, 1.0),
        region_of_group=np.zeros(1, np.int16),
        people_per_agent=np.ones(1),
    )


def _rates(theta: Tensor) -> Rates:
    household, outside, susceptible, shape = torch.exp(theta).unbind(1)
    one = torch.ones_like(household)
    shed = theta.new_tensor([[0.9, 0.6, 0.3], [0.4, 0.8, 0.5]]) * one[:, None, None]
    tail = torch.stack([one, one, shape], 1)[:, None]
    return Rates(
        infectiousness=shed * tail,
        susceptibility=torch.stack([one, 0.6 * susceptible], 1),
        transmission=torch.stack([household, 0 * household], 1)[..., None].expand(-1, -1, DAYS),
        mixing=one[:, None, None],
        importation=(0.03 * outside)[:, None, None].expand(-1, DAYS, 1),
        aversion=0 * one,
        forgetting=0.1 * one,
    )
