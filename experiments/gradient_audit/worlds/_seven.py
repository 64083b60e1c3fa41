"""Seven agents with everything switched on: exact by enumeration of every course."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from experiments.gradient_audit.exact import enumerate_courses
from experiments.gradient_audit.worlds._world import World
from sim import PERIOD, Population, Rates

ACTIVE = 5
"""Days on which anybody can be infected."""
PARAMETERS = (
    "household", "community", "school", "school on two days", "work", "importation", "importation of one district",
    "contacts of the old", "susceptibility of one archetype", "infectiousness shape", "aversion", "forgetting",
)  # fmt: skip
WITH_REINFECTION = (*PARAMETERS, "reinfection", "waning")


def seven(reinfection: bool, active: int = ACTIVE) -> World:
    """Three households, one of them in two districts, two venue layers, rates that change daily, and a response to prevalence.

    Args:
        reinfection: whether three of them can be infected again, and immunity wanes at a change of period among the active days.
        active: days on which anybody can be infected. The number of courses grows as their number to the seventh power.
    """
    quiet = PERIOD - active // 2 if reinfection else 0
    names, days = WITH_REINFECTION if reinfection else PARAMETERS, quiet + active
    total, district, old = (torch.zeros(days, 3, dtype=torch.float64) for _ in range(3))
    total[:] = 1.0
    district[quiet + 1 : quiet + 4, 2] = 1.0
    old[quiet + active // 2 :, 1] = 1.0
    outcomes = {"total": total, "one district's three days": district, "one age's second half": old}
    rates = partial(_rates, quiet, active, reinfection)
    return World(
        name="seven-reinfection" if reinfection else "seven",
        people=_people(),
        parameters=names,
        outcomes=outcomes,
        rates=rates,
        exact=lambda: enumerate_courses(
            _people(), rates, len(names), list(outcomes.values()), range(quiet, quiet + active)
        ),
        method="enumeration",
        runs=100_000,
        compared=not reinfection,
    )


def _people() -> Population:
    # groups: young and old of the first district, everybody of the second; agent 5 lives with 4 and 6 but in the other district
    return Population(
        household_start=np.array([0, 2, 4, 7]),
        group=np.array([0, 1, 2, 2, 0, 2, 1], np.int16),
        archetype=np.array([0, 1, 0, 1, 1, 0, 1], np.int16),
        venues=np.array([[0, -1, 1, 1, 0, 0, -1], [-1, 0, 0, -1, -1, 1, 1]], np.int32),
        venue_weight=(np.array([0.4, 0.9]), np.array([0.7, 0.5])),
        household_weight=np.array([1.0, 1.0, 0.5]),
        region_of_group=np.array([0, 0, 1], np.int16),
        people_per_agent=np.ones(2),
        venue_names=("school", "work"),
    )


def _rates(quiet: int, active: int, reinfection: bool, theta: Tensor) -> Rates:
    factor = torch.exp(theta)
    home, community, school, two_days, work, outside, there, of_old, kind, shape, aversion, forgetting = factor[
        :, :12
    ].unbind(1)
    one, t = torch.ones_like(home), torch.arange(quiet + active) - quiet
    wave = 1 + 0.5 * torch.sin(1.0 * t).to(theta)
    open_on = (t % 4 < 3).to(theta)
    some = torch.where((t == 1) | (t == 2), two_days[:, None], one[:, None])
    shed = theta.new_tensor([[0.8, 0.5], [0.3, 0.9]]) * torch.stack([one, shape], 1)[:, None]
    mixing = theta.new_tensor([[0.6, 0.2, 0.1], [0.3, 0.5, 0.2], [0.2, 0.2, 0.9]])
    rows = torch.stack([one, of_old, one], 1)[..., None]
    place = torch.stack([one, one, 0.6 * there], 1)[:, None]
    daily = (0.03 * (1 + t % 3) * (t >= 0)).to(theta)[:, None]
    more = {}
    if reinfection:
        later_factor, waned = factor[:, 12], factor[:, 13]
        later = torch.stack([0 * one, 0 * one, 0.7 * later_factor, 0.9 * later_factor], 1)
        more["reinfection"] = torch.stack([later, 0 * later], 1)
        more["waning"] = torch.stack([torch.stack([one, 1.3 * waned], 1), torch.stack([one, 1.1 * waned], 1)], 1)
    return Rates(
        infectiousness=shed,
        susceptibility=torch.stack([one, 0.6 * kind], 1),
        transmission=torch.stack(
            [0.9 * home[:, None] + 0 * wave, 0.9 * community[:, None] * wave, 1.4 * school[:, None] * some * open_on,
             1.2 * work[:, None] * (2 - wave)], 1
        ),
        mixing=mixing * rows,
        importation=daily * outside[:, None, None] * place,
        aversion=0.03 * aversion,
        forgetting=0.3 * forgetting,
        **more,
    )  # fmt: skip
