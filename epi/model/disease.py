"""From disease parameters to host tables: the within-host model, or the delays of a plain SEIR disease."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import gamma
from torch import Tensor

import ode
from epi.errors import StudyError
from epi.model.immunity import (
    Ahead,
    Campaign,
    after_infection,
    as_time_goes_on,
    dose_day,
    kinds_of_host,
    look_ahead,
    make_campaign,
)
from epi.model.setting import HostTables, Setting, Theta, prepare
from epi.study import NaturalHistory, WithinHost

__all__ = ["SeirModel", "WithinHostModel", "generation_profile"]

KEPT = 0.995
"""Share of infectiousness within the days of a natural history whose length is not given."""


@dataclass(frozen=True, eq=False)
class WithinHostModel:
    """The within-host model of a study.

    Attributes:
        days: T. infectious_days: D. since_doses: days from the reference day of doses to that of most infections.
        archetypes: on the reference day of doses. campaign: doses given since. ahead: both as the wave goes on.
    """

    days: int
    infectious_days: int
    since_doses: int
    archetypes: ode.Archetypes
    campaign: Campaign
    ahead: Ahead

    def with_kinds(self, kinds: ode.Archetypes, campaign: Campaign | None = None) -> WithinHostModel:
        """The same disease in other archetypes, `[*batch, K]`, and the doses that they are given."""
        campaign = self.campaign if campaign is None else campaign
        ahead = look_ahead(kinds, campaign, self.days, self.infectious_days, self.since_doses)
        return WithinHostModel(self.days, self.infectious_days, self.since_doses, kinds, campaign, ahead)

    def hosts(self, theta: Theta, solver: ode.Solver = "auto") -> HostTables:
        """Solve the within-host model of each particle; theta holds `[*batch]` numbers."""
        parameters = ode.WithinHostParameters.from_mapping(theta)
        host = ode.within_host(parameters, self.archetypes, days=self.infectious_days, solver=solver)
        shift, load = theta["severity_shift"], theta["severity_load"]
        waning, severity = as_time_goes_on(host, parameters, self.ahead, shift, load)
        return HostTables(
            ode.infectiousness(host.viral_load),
            ode.susceptibility(host.antibody_at_exposure, parameters),
            waning,
            after_infection(host, parameters, self.ahead),
            severity,
            ode.shedding(host.viral_load),
            host.finite,
        )


@prepare.register
def _(part: WithinHost, setting: Setting) -> WithinHostModel:
    calendar = setting.study.calendar
    if setting.days <= part.days:
        raise StudyError(
            f"The simulation has {setting.days} days and WithinHost is infectious for {part.days}; start the calendar earlier."
        )
    kinds = kinds_of_host(setting.data).to(setting.device, setting.dtype)
    campaign = make_campaign(setting.data, setting.days, setting.device, setting.dtype)
    since = calendar.day_of(part.reference_day or calendar.forecast_from) - dose_day(setting.study)
    ahead = look_ahead(kinds, campaign, setting.days, part.days, since)
    return WithinHostModel(setting.days, part.days, since, kinds, campaign, ahead)


def generation_profile(part: NaturalHistory) -> NDArray[np.float64]:
    """`[D]` share of all infectiousness on each day after infection: `P(latent < t < latent + infectious)`, integrated over the day.

    With rates constant in time and everybody susceptible, infections grow as the renewal equation with this generation interval does.
    """
    step, longest = 0.02, 400.0
    t = np.arange(0.0, longest, step) + step / 2
    latent = gamma.pdf(t, part.latent.shape, scale=part.latent.scale)
    infectious = gamma.sf(t - step / 2, part.infectious.shape, scale=part.infectious.scale)
    inside = np.convolve(latent, infectious)[: len(t)] * step
    by_day = inside.reshape(-1, round(1 / step)).sum(1)
    by_day /= by_day.sum()
    days = part.days or int(np.searchsorted(by_day.cumsum(), KEPT)) + 1
    kept = by_day[:days]
    return kept / kept.sum()


@dataclass(frozen=True, eq=False)
class SeirModel:
    """A plain SEIR disease; archetypes are age band x doses x class of all-or-nothing protection, the last fastest.

    Attributes:
        part: the declaration. states: names of the doses. ages: A. classes: of protection, 1 unless it is all-or-nothing.
        profile: `[D]` infectiousness by day since infection, sum 1.
        since: `[S, K]` days since the last dose in the middle of each period.
        archetypes: age, doses and days since the last dose.
        campaign: doses given since the table, by archetype.
    """

    part: NaturalHistory
    states: tuple[str, ...]
    ages: int
    classes: int
    profile: Tensor
    since: Tensor
    archetypes: ode.Archetypes
    campaign: Campaign

    def hosts(self, theta: Theta, solver: ode.Solver = "auto") -> HostTables:
        """Tables of each particle; theta holds `[*batch]` numbers and `[*batch, A]` susceptibility by age."""
        one = torch.ones_like(theta["transmission_household"])
        kinds = self.archetypes.count
        infectiousness = self.profile.expand(*one.shape, kinds, len(self.profile))
        susceptibility = one[..., None].expand(*one.shape, kinds)
        if "age_susceptibility" in theta:
            susceptibility = susceptibility * theta["age_susceptibility"].repeat_interleave(kinds // self.ages, -1)
        waning = self._left(theta, one).mT
        severity = torch.ones_like(waning)
        if "efficacy_severe" in theta:
            vaccinated = (self.archetypes.doses > 0).to(waning)[:, None]
            severity = 1 - theta["efficacy_severe"][..., None, None] * vaccinated * severity
        # infected once: no days since an infection count
        return HostTables(
            infectiousness, susceptibility, waning, infectiousness[..., :0], severity, infectiousness, one > 0
        )

    def _left(self, theta: Theta, one: Tensor) -> Tensor:
        """`[*batch, S, K]` susceptibility that doses leave, by period."""
        immunity = self.part.immunity
        if immunity is None:
            return one[..., None, None].expand(*one.shape, *self.since.shape)
        efficacy = torch.stack([torch.zeros_like(one), *(theta[f"efficacy_{n}"] for n in self.states[1:])], -1)
        own = self._unprotected(theta, efficacy[..., self.archetypes.doses.long()], self.since)
        if not self.campaign.dose:
            return own
        given = efficacy[..., int(self.campaign.dose)][..., None].expand(*one.shape, self.archetypes.count)
        share = self.campaign.share
        return (1 - share) * own + share * self._unprotected(theta, given, self.campaign.days)

    def _unprotected(self, theta: Theta, efficacy: Tensor, since: Tensor) -> Tensor:
        """`[*batch, S, K]` of efficacies `[*batch, K]` at no days since the dose, `since [S, K]` days after it."""
        now = efficacy[..., None, :].expand(*efficacy.shape[:-1], *since.shape)
        if "efficacy_half_life" in theta:
            now = now * torch.exp2(-since / theta["efficacy_half_life"][..., None, None])
        if self.classes == 1:
            return 1 - now
        # of the classes in order the first are protected: as many as the efficacy says, one of them in part
        number = torch.arange(self.archetypes.count, device=since.device) % self.classes
        return (number + 1 - self.classes * now).clamp(0.0, 1.0)


@prepare.register
def _(part: NaturalHistory, setting: Setting) -> SeirModel:
    immunity = part.immunity
    classes = immunity.classes if immunity is not None and immunity.kind == "all-or-nothing" else 1
    base = kinds_of_host(setting.data)
    features = (x.repeat_interleave(classes, -1) for x in base.features(torch.zeros((), dtype=torch.float64)))
    kinds = ode.Archetypes(*features).to(setting.device, setting.dtype)
    campaign = make_campaign(setting.data, setting.days, setting.device, setting.dtype)
    share, days = (x.repeat_interleave(classes, -1) for x in (campaign.share, campaign.days))
    campaign = replace(campaign, share=share, days=days)
    since = (kinds.days_since_last_dose + campaign.since[:, None]).clamp_min(0.0)
    profile = setting.real(generation_profile(part))
    return SeirModel(part, setting.study.dose_states, len(setting.study.ages), classes, profile, since, kinds, campaign)
