"""What a world leads to: infections and admissions by week, district and age, and isolation without cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from experiments.nz_calibration._figures import AGE_BANDS, DISTRICTS
from experiments.nz_calibration._observation import Observation, severity
from experiments.nz_calibration._rates import HostTables


@dataclass(frozen=True, eq=False)
class Outcome:
    """Expected numbers of people.

    Attributes:
        infections: `[*batch, W, R, A]`.
        admissions: `[*batch, W, R, A]`, by week of admission.
        needless_isolation: `[*batch, W]`, days of isolation of people who are not infected, by week of the infections found.
    """

    infections: Tensor
    admissions: Tensor
    needless_isolation: Tensor


MEASURES = tuple(f.name for f in fields(Outcome))


def outcome(theta: Mapping[str, Tensor], hosts: HostTables, incidence: Tensor, o: Observation) -> Outcome:
    """Outcome of `incidence [*batch, T, G]` in agents, with the levers and parameters of its world."""
    people = incidence.unflatten(-1, (len(DISTRICTS), len(AGE_BANDS))) * o.people
    infections, admitted = (_by_week(m, people) for m in (o.week, o.week @ o.admit.T))
    found = theta["ascertainment_rat"][..., None] * infections.sum((-1, -2))
    false = theta["false_positives"] / (1 - theta["false_positives"])
    return Outcome(
        infections=infections,
        admissions=admitted * severity(theta, hosts, o)[..., None, None, :],
        needless_isolation=found * (false * theta["isolation_days"])[..., None],
    )


def _by_week(weekly: Tensor, people: Tensor) -> Tensor:
    """`[*batch, W, R, A]` of `[*batch, T, R, A]`, one particle at a time: the same bits whatever the batch."""
    rows = people.flatten(-2).reshape(-1, people.shape[-3], people.shape[-2] * people.shape[-1])
    out = torch.stack([weekly @ row for row in rows])
    return out.unflatten(-1, people.shape[-2:]).unflatten(0, people.shape[:-3])
