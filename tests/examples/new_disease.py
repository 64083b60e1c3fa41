"""Another disease, by its own arithmetic: a cold that leaves a short immunity, after which people fall ill again, the old more easily.

`epi.NaturalHistory` describes a plain SEIR disease by two delays; this one is a class of the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import epi
import ode
from epi import LogNormal, Parameter, Prior
from epi.model import HostTables, Setting
from sim import PERIOD
from tests.made_up.study import study as known


@dataclass(frozen=True)
class Cold:
    """A disease that is infectious from the next day on, less every day.

    Attributes:
        duration: mean days of infectiousness.
        immunity: mean days of immunity after an infection.
        old: susceptibility of those of 60 and more over that of the others.
        days: after which nobody is infectious.
    """

    duration: Prior
    immunity: Prior
    old: Prior
    days: int = 12

    def parameters(self, study: epi.Study) -> tuple[Parameter, ...]:
        """Three numbers."""
        return (
            Parameter("cold_duration", self.duration),
            Parameter("cold_immunity", self.immunity),
            Parameter("cold_old", self.old),
        )

    def prepare(self, setting: Setting) -> ColdModel:
        """One archetype an age band."""
        bands = setting.study.ages
        kinds = ode.archetypes_by_age_and_dose(bands.midpoints, (0.0,)).to(setting.device, setting.dtype)
        old = torch.tensor([age >= 60 for age in bands.breaks], device=setting.device)
        return ColdModel(self, setting.days, kinds, old)


@dataclass(frozen=True, eq=False)
class ColdModel:
    """The cold over `length` days for K archetypes, one an age band; `old [K]` says which are old."""

    part: Cold
    length: int
    archetypes: ode.Archetypes
    old: Tensor

    def hosts(self, theta: Mapping[str, Tensor], solver: ode.Solver = "auto") -> HostTables:
        """The tables of each particle; theta holds `[*batch]` numbers."""
        duration, immunity, old = (theta[f"cold_{name}"][..., None] for name in ("duration", "immunity", "old"))
        kinds, days = self.archetypes.count, torch.arange(self.length).to(duration)
        strength = torch.exp(-days[: self.part.days] / duration)
        strength = strength / strength.sum(-1, keepdim=True)
        # nobody is infected again while infectious; then immunity ends for a share of people every day
        after = 1 - torch.exp(-(days - self.part.days).clamp_min(0.0) / immunity)
        ones = torch.ones_like(duration)

        def each(table: Tensor) -> Tensor:
            return table[..., None, :].expand(*table.shape[:-1], kinds, table.shape[-1])

        same = each(ones.expand(*ones.shape[:-1], -(-self.length // PERIOD)))
        return HostTables(
            infectiousness=each(strength),
            susceptibility=torch.where(self.old, old, ones),
            waning=same,
            reinfection=each(after),
            severity=same,
            shedding=each(strength),
            finite=ones[..., 0] > 0,
        )


study = replace(
    known,
    name="cold",
    title="A cold in two counties",
    disease=Cold(
        duration=LogNormal(2.5, 0.2, unit="days"),
        immunity=LogNormal(40.0, 0.4, unit="days"),
        old=LogNormal(1.5, 0.3, unit="factor"),
    ),
)
