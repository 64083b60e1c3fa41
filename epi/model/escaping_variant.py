"""Two variants in one epidemic: who catches which, how severe it is, and the odds among sequences; reports still to come."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from epi.model.epidemic import Epidemic, weekly
from epi.model.layers import variant_factor
from epi.model.setting import HostTables, Setting, Theta, prepare
from epi.study import EscapingVariant, RightTruncation, VariantOdds
from sim import PERIOD

__all__ = ["EscapingVariantModel", "escaped", "new_odds"]


def escaped(left: Tensor, escape: Tensor) -> Tensor:
    """Susceptibility to the new variant of hosts with susceptibility `left` to the former: log odds of protection lower by `escape`.

    Examples:
        >>> round(float(escaped(torch.tensor(0.1), torch.tensor(1.8))), 2)  # protected to 0.9, then to 0.6
        0.4
    """
    return left / (left + (1 - left) * torch.exp(-escape))


def new_odds(advantage: Tensor, midpoint: Tensor, generation: float, day: Tensor) -> Tensor:
    """`[*batch, T]` new infections with the new variant over those with the former.

    Where each infection with the new variant makes `advantage` times as many as one with the former, a generation later, odds grow by this
    factor a generation. Among those who infect on a day they are `sigmoid`'s of `Variant`; among whom they infect `advantage` times that.
    """
    return torch.exp(advantage.log()[..., None] * ((day - midpoint[..., None]) / generation + 1))


@dataclass(frozen=True, eq=False)
class EscapingVariantModel:
    """The variant of a study.

    Attributes:
        part: the declaration.
        day: `[T]` days since the part's day.
        share: `[K]` share of each kind of host in all people.
        at: period in which means over people are taken: that of the part's day.
    """

    part: EscapingVariant
    day: Tensor
    share: Tensor
    at: int

    def factor(self, theta: Theta) -> Tensor:
        """`[*batch, 1, T]` transmission over that of the former variant, as for `Variant`."""
        return variant_factor(self.part, theta, self.day)[..., None, :]

    def among_new(self, theta: Theta) -> Tensor:
        """`[*batch, T]` share of the new variant in the infections of a day."""
        advantage, midpoint = (theta[f"{self.part.key}_{name}"] for name in ("advantage", "midpoint"))
        odds = new_odds(advantage, midpoint, self.part.generation, self.day)
        return odds / (1 + odds)

    def changed_hosts(self, theta: Theta, hosts: HostTables) -> HostTables:
        """Susceptibility to the mixture of variants by period, mean over people as to the former one alone on the part's day."""
        found = self.among_new(theta)
        whole = torch.nn.functional.pad(found, (0, -found.shape[-1] % PERIOD), value=1.0)
        new = whole.unflatten(-1, (-1, PERIOD)).mean(-1)[..., None, :]  # [*batch, 1, S]
        left = hosts.waning
        other = escaped(left, theta[f"{self.part.key}_escape"][..., None, None])
        base = self.share * hosts.susceptibility
        mean, mean_other = ((base * x[..., self.at]).sum(-1)[..., None, None] for x in (left, other))
        return replace(hosts, waning=(1 - new) * left + new * other * mean / mean_other)

    def severity_factor(self, theta: Theta) -> Tensor:
        """`[*batch, T]` severity of a day's infections over that with the former variant alone."""
        return 1 + self.among_new(theta) * (theta[f"{self.part.key}_severity"][..., None] - 1)


@prepare.register
def _(part: EscapingVariant, setting: Setting) -> EscapingVariantModel:
    from_day = setting.study.calendar.day_of(part.day)
    data = setting.data
    kinds = data.vaccination * data.population[..., None] / data.population.sum()  # [R, A, states]
    share = kinds.sum(0)[..., None]
    if data.prior_cases is not None:
        share = (kinds[..., None] * data.prior_cases.classes[:, :, None, :]).sum(0)
    at = min(max(from_day, 0), setting.days - 1) // PERIOD
    return EscapingVariantModel(
        part, setting.real(np.arange(setting.days) - from_day), setting.real(share.reshape(-1)), at
    )


@dataclass(frozen=True, eq=False)
class _Odds:
    part: VariantOdds
    variant: EscapingVariantModel

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Odds by week, of the infections that sampling finds in it."""
        lag, share = self.part.delay_days, self.variant.among_new(theta)
        daily = epidemic.places("all", epidemic.infections)[..., 0].clamp_min(1e-9)
        both = torch.stack((daily * share, daily * (1 - share)), -1)
        new, old = weekly(epidemic.fixed.week[:, lag:], both[..., : both.shape[-2] - lag, :]).unbind(-1)
        return (new / old.clamp_min(1e-12))[..., None]


@prepare.register
def _(part: VariantOdds, setting: Setting) -> _Odds:
    return _Odds(part, prepare(setting.study.need(EscapingVariant, "VariantOdds"), setting))


@dataclass(frozen=True, eq=False)
class TruncationModel:
    """What is known of a stream's weeks: `rows` of the weeks that are named, in the order of the part's."""

    part: RightTruncation
    rows: tuple[int, ...]

    def reported(self, theta: Theta, expected: Tensor) -> Tensor:
        """`expected [*batch, W, place]`, the weeks concerned times the share that is known."""
        out = list(expected.unbind(-2))
        for week, row in zip(self.part.weeks, self.rows, strict=True):
            if row >= 0:
                out[row] = out[row] * theta[self.part.name_of(week)][..., None]
        return torch.stack(out, -2)


@prepare.register
def _(part: RightTruncation, setting: Setting) -> TruncationModel:
    return TruncationModel(part, tuple(setting.index.get_indexer(pd.DatetimeIndex(part.weeks)).tolist()))
