"""An epidemic as streams see it: infections by day, region and age, and how severe they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from epi.data import EpidemicData
from epi.model.setting import HostTables, Theta
from epi.study import Delay, Fatality, Reporting, Severity
from sim import PERIOD

if TYPE_CHECKING:
    from epi.model.observation import Observation

__all__ = ["Epidemic", "by_day", "fatality", "infected_kinds", "mean_severity", "severity", "weekly"]


def weekly(week: Tensor, daily: Tensor) -> Tensor:
    """`[*batch, W, X]` of `[W, T]` and `[*batch, T, X]`."""
    return torch.einsum("wt,...tx->...wx", week, daily)


def by_day(periods: Tensor, days: int) -> Tensor:
    """`[*batch, T, A]` of `[*batch, S, A]` by period of `sim.PERIOD` days."""
    return periods.repeat_interleave(PERIOD, -2)[..., :days, :]


def infected_kinds(hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A, K]` archetypes among those infected in an age band and period: by their share and how susceptible they are then.

    That the more susceptible are fewer among those left as the wave goes on is not followed.
    """
    susceptibility = hosts.susceptibility[..., None, :] * hosts.waning.mT
    weight = o.share[..., None, :, :] * susceptibility[..., :, None, :]
    return weight / weight.sum(-1, keepdim=True)


def mean_severity(hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A]` severity of an infection over that of a host without immunity, mean over who is infected.

    Second infections count as first ones of their archetype: they are one in a hundred.
    """
    return (infected_kinds(hosts, o) * hosts.severity.mT[..., :, None, :]).sum(-1)


def severity(theta: Theta, hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A]` admissions per infection: log-linear in age but for an effect of each band, lowered by immunity."""
    part = o.study.need(Severity, "Admissions")
    line = theta["severity_level"][..., None] * _of_bands(theta["severity_age"], o.age, o)
    if part.band is not None:
        line = line * torch.exp(part.band_sd * theta["severity_band"])
    return line[..., None, :] * mean_severity(hosts, o)


def fatality(theta: Theta, hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A]` deaths per infection: log-linear in age, lowered by immunity as admissions are."""
    part, other = o.study.need(Fatality, "Deaths"), o.study.part(Severity)
    reference = 35.0 if other is None else other.reference_age
    decades = o.age - (part.reference_age - reference) / 10
    line = theta["fatality_level"][..., None] * _of_bands(theta["fatality_age"], decades, o)
    return line[..., None, :] * mean_severity(hosts, o)


def _of_bands(slope: Tensor, decades: Tensor, o: Observation) -> Tensor:
    """`[*batch, A]` of what grows as `exp(slope * decades)`: the mean over the people of a band, all infected alike."""
    return torch.exp(slope[..., None] * decades) @ o.within.mT


@dataclass(frozen=True, eq=False)
class Epidemic:
    """What a stream may use.

    Attributes:
        theta: parameters.
        hosts: host tables of the same particles.
        infections: `[*batch, T, R, A]` people.
        fixed: of the observation model.
    """

    theta: Theta
    hosts: HostTables
    infections: Tensor
    fixed: Observation
    _reported: dict[Delay, Tensor] = field(default_factory=dict)

    @property
    def days(self) -> int:
        """T."""
        return self.infections.shape[-3]

    @property
    def data(self) -> EpidemicData:
        """The tables of the study."""
        return self.fixed.setting.data

    def reported(self, delay: Delay, matrix: Tensor) -> Tensor:
        """`[*batch, W, R, A]` reported infections by week of report, by the share that `Reporting` says; computed once for each delay.

        Args:
            delay: from infection to report.
            matrix: `[T, T]` of this delay.
        """
        if delay not in self._reported:
            o = self.fixed
            first, *later = o.study.need(Reporting, "Cases").regimes
            share = self.theta[f"ascertainment_{first.name}"][..., None]
            for regime, when in zip(later, o.regimes, strict=True):
                share = share + (self.theta[f"ascertainment_{regime.name}"][..., None] - share) * when
            ascertained = share.expand(*share.shape[:-1], self.days)  # by report date
            if not o.testing:
                reporting = (o.week * ascertained[..., None, :]) @ matrix.T  # [*batch, W, T of infection]
                self._reported[delay] = torch.einsum("...wt,...tra->...wra", reporting, self.infections)
            else:
                self._reported[delay] = self._tested(ascertained, matrix)
        return self._reported[delay]

    def _tested(self, ascertained: Tensor, matrix: Tensor) -> Tensor:
        """`[*batch, W, R, A]` reported infections where archetypes report more or less than the share of all `[*batch, T]`, on log odds."""
        o, (part,) = self.fixed, self.fixed.testing
        off, found = part.log_odds(self.theta), torch.zeros_like(self.infections[..., :1, :, :])
        for k in range(off.shape[-2]):
            own = torch.sigmoid(torch.logit(ascertained) + off[..., k, :])
            reporting = (o.week * own[..., None, :]) @ matrix.T
            cells = (part.archetype == k).to(self.infections)
            found = found + torch.einsum("...wt,...tra->...wra", reporting, self.infections * cells)
        return found

    @cached_property
    def by_age(self) -> Tensor:
        """`[*batch, T, A]` infections of all regions."""
        return self.infections.sum(-2)

    @cached_property
    def by_region(self) -> Tensor:
        """`[*batch, T, R]` infections of all ages."""
        return self.infections.sum(-1)

    @cached_property
    def admitted(self) -> Tensor:
        """`[*batch, T, A]` admissions per infection of a day."""
        return self._by_variant(by_day(severity(self.theta, self.hosts, self.fixed), self.days))

    @cached_property
    def dead(self) -> Tensor:
        """`[*batch, T, A]` deaths per infection of a day."""
        return self._by_variant(by_day(fatality(self.theta, self.hosts, self.fixed), self.days))

    def _by_variant(self, risk: Tensor) -> Tensor:
        """`risk [*batch, T, A]` as the variants of a day make it."""
        for part in self.fixed.severities:
            risk = risk * part.severity_factor(self.theta)[..., : self.days, None]
        return risk

    def places(self, by: str, cells: Tensor) -> Tensor:
        """`[*batch, X, place]` along an axis of the study, of `cells [*batch, X, R, A]`: sums over the others."""
        study = self.fixed.study
        if by == "age":
            return cells.sum(-2)
        if by == "all":
            return cells.sum((-1, -2))[..., None]
        return self._of_regions(by, cells.sum(-1)) if by != study.region.axis else cells.sum(-1)

    def with_risk(self, by: str, risk: Tensor) -> Tensor:
        """`[*batch, T, place]` infections that lead to what has `risk [*batch, T, A]`, along an axis of the study."""
        if by == "age":
            return self.by_age * risk
        if by == "all":
            return (self.by_age * risk).sum(-1, keepdim=True)
        by_region = torch.einsum("...tra,...ta->...tr", self.infections, risk)
        return by_region if by == self.fixed.study.region.axis else self._of_regions(by, by_region)

    def _of_regions(self, by: str, by_region: Tensor) -> Tensor:
        """Sums over the regions of each area."""
        assert self.fixed.area is not None
        return by_region @ self.fixed.area.mT
