"""Immunity from infections before the study, as classes of people."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from epi.model.immunity import periods
from epi.model.setting import HostTables, Setting, Theta, prepare
from epi.study import PriorInfection
from sim import PERIOD

__all__ = ["PriorInfectionModel"]


@dataclass(frozen=True, eq=False)
class PriorInfectionModel:
    """Archetype `k` of the disease becomes `k * C + c`, with class c of C.

    Attributes:
        part: the declaration.
        since: `[S, A]` mean days from the prior infection to the middle of each period.
        steps: `[C - 1]` infections per reported case that end the classes.
    """

    part: PriorInfection
    since: Tensor
    steps: Tensor

    def infected(self, theta: Theta) -> Tensor:
        """`[*batch, C]` share of each class that was infected: all of the reported, none of the last, one class in part."""
        per_case = 1 / theta["prior_ascertainment"][..., None]
        between = (per_case - self.steps[:-1]) / self.steps.diff()
        inside = between.clamp(0.0, 1.0)
        return torch.cat((torch.ones_like(per_case), inside, torch.zeros_like(per_case)), -1)

    def protection(self, theta: Theta) -> Tensor:
        """`[*batch, S, A]` protection of people infected before, by period."""
        now = theta["prior_protection"][..., None, None].expand(*theta["prior_protection"].shape, *self.since.shape)
        if self.part.half_life is None:
            return now
        return now * torch.exp2(-self.since / theta["prior_half_life"][..., None, None])

    def changed_hosts(self, theta: Theta, hosts: HostTables) -> HostTables:
        """The tables with an archetype for each class."""
        classes, ages = self.part.classes, self.since.shape[-1]
        infected = self.infected(theta)[..., None, :, None]  # [*batch, 1, C, 1]
        kinds = hosts.susceptibility.shape[-1]
        left = 1 - self.protection(theta).mT  # [*batch, A, S]
        left = left.repeat_interleave(kinds // ages, -2)[..., None, :]  # [*batch, K, 1, S]
        reinfected = infected * left
        factor = 1 - infected + reinfected  # [*batch, K, C, S]
        waning = (hosts.waning[..., None, :] * factor).flatten(-3, -2)
        severity = hosts.severity[..., None, :]
        if self.part.against_severe is not None:
            milder = theta["prior_against_severe"][..., None, None, None]
            severity = severity * (1 - milder * reinfected / factor)
        else:
            severity = severity.expand_as(factor)
        wide = {
            name: getattr(hosts, name).repeat_interleave(classes, -2)
            for name in ("infectiousness", "reinfection", "shedding")
        }
        return replace(
            hosts,
            susceptibility=hosts.susceptibility.repeat_interleave(classes, -1),
            waning=waning,
            severity=severity.flatten(-3, -2),
            **wide,
        )


@prepare.register
def _(part: PriorInfection, setting: Setting) -> PriorInfectionModel:
    cases = setting.data.prior_cases
    assert cases is not None
    middle = np.arange(periods(setting.days)) * PERIOD + PERIOD / 2 - setting.study.calendar.day_of(part.counted_on)
    since = np.maximum(middle[:, None] + cases.days, 0.0)
    return PriorInfectionModel(part, setting.real(since), setting.real(np.array(part.infections_per_case)))
