"""What a world leads to: infections, admissions and deaths by week, region and age, people in hospital, isolation without cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from epi.model.observation import Observation, by_day, fatality, severity
from epi.model.transmission import HostTables
from epi.study import Reporting, Study


@dataclass(frozen=True, eq=False)
class Outcome:
    """Expected numbers of people.

    Attributes:
        infections: `[*batch, W, R, A]`.
        admissions: `[*batch, W, R, A]`, by week of admission.
        deaths: `[*batch, W, R, A]`, by week of death.
        in_hospital: `[*batch, W, R]`, people in hospital on a day, mean of the week.
        needless_isolation: `[*batch, W]`, days of isolation of people who are not infected, by week of the infections found.
    """

    infections: Tensor
    admissions: Tensor
    deaths: Tensor
    in_hospital: Tensor
    needless_isolation: Tensor


MEASURES = tuple(f.name for f in fields(Outcome))
EVENT = {name: {"in_hospital": 2, "needless_isolation": 1}.get(name, 3) for name in MEASURES}
"""Number of axes of a measure behind the batch."""


def outcome(theta: Mapping[str, Tensor], hosts: HostTables, incidence: Tensor, o: Observation) -> Outcome:
    """Outcome of `incidence [*batch, T, G]` in agents, with the levers and parameters of its world."""
    people = incidence.unflatten(-1, o.setting.sizes) * o.people
    on_a_day = o.week / o.week.sum(-1, keepdim=True)
    admitted, dead = (people * by_day(f(theta, hosts, o), people.shape[-3])[..., None, :] for f in (severity, fatality))
    infections = _by_week(o.week, people)
    found = theta[reported_share(o.study)][..., None] * infections.sum((-1, -2))
    false = theta["false_positives"] / (1 - theta["false_positives"])
    return Outcome(
        infections=infections,
        admissions=_by_week(o.week @ o.admit.T, admitted),
        deaths=_by_week(o.week @ o.die.T, dead),
        in_hospital=_by_week(on_a_day @ o.stay.T, admitted).sum(-1) * theta["hospital_days"][..., None, None],
        needless_isolation=found * (false * theta["isolation_days"])[..., None],
    )


def reported_share(study: Study) -> str:
    """The parameter that holds the share of infections reported in the last regime."""
    return f"ascertainment_{study.need(Reporting, 'Isolation').regimes[-1].name}"


def _by_week(weekly: Tensor, people: Tensor) -> Tensor:
    """`[*batch, W, R, A]` of `[*batch, T, R, A]`, one particle at a time: the same bits whatever the batch."""
    rows = people.flatten(-2).reshape(-1, people.shape[-3], people.shape[-2] * people.shape[-1])
    out = torch.stack([weekly @ row for row in rows])
    return out.unflatten(-1, people.shape[-2:]).unflatten(0, people.shape[:-3])
