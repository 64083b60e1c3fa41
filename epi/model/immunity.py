"""How protected people are as the wave goes on: antibody wanes, doses are given, infections leave antibody."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import ode
from epi.data import EpidemicData
from epi.study import Study, Vaccination
from sim import PERIOD

WEEK = 7.0


@dataclass(frozen=True, eq=False)
class Campaign:
    """Doses given since the day of the table of doses, to archetypes with one dose less.

    Axes: `S` periods of `sim.PERIOD` days, `K` archetypes; the batch may lead.

    Attributes:
        share: `[*batch, S, K]` share of an archetype that has the dose in the middle of a period; 0 for the others.
        days: `[*batch, S, K]` mean days since that dose.
        since: `[S]` days from the reference day of doses, for which the archetypes' days since the last dose hold, to the middle of a period.
        dose: number of the dose.
    """

    share: Tensor
    days: Tensor
    since: Tensor
    dose: float


def periods(days: int) -> int:
    """S, the number of periods that begin within some days."""
    return -(-days // PERIOD)


def dose_day(study: Study) -> int:
    """Day from which the days since a dose count; day 0 where nobody is vaccinated."""
    vaccination = study.part(Vaccination)
    return 0 if vaccination is None else study.calendar.day_of(vaccination.reference_day)


def make_campaign(data: EpidemicData, days: int, device: torch.device, dtype: torch.dtype) -> Campaign:
    """The campaign of the register up to its last day; nobody is given a dose after it."""
    study, vaccination = data.study, data.study.part(Vaccination)
    given = None if vaccination is None else vaccination.campaign
    middle = np.arange(periods(days)) * PERIOD + PERIOD / 2
    archetypes = np.zeros((2, len(middle), len(study.ages), len(study.dose_states)))
    if given is not None:
        dates = pd.Timestamp(study.calendar.start) + pd.to_timedelta(middle, unit="D")
        share, since = zip(*(campaign_doses_by(data, date) for date in dates), strict=True)
        archetypes[0, :, :, given.dose - 1], archetypes[1, :, :, given.dose - 1] = np.stack(share), np.stack(since)
    of_archetype, days_of = torch.as_tensor(archetypes.reshape(2, len(middle), -1)).to(device, dtype)
    after = torch.as_tensor(middle - dose_day(study)).to(device, dtype)
    return Campaign(of_archetype, days_of, after, 0.0 if given is None else float(given.dose))


def kinds_of_host(data: EpidemicData) -> ode.Archetypes:
    """The archetypes, age band by doses, as on the reference day: days since the campaign's dose from the register, others as declared."""
    study = data.study
    vaccination = study.part(Vaccination)
    since = (0.0,) if vaccination is None else vaccination.days_since_last_dose
    days = np.tile(np.array(since, dtype=float), (len(study.ages), 1))
    if vaccination is not None and vaccination.campaign is not None and data.campaign_doses is not None:
        table = data.campaign_doses.astype(float).loc[: str(vaccination.counted_on)]
        given = table.diff().fillna(table.iloc[:1]).to_numpy()
        # doses counted on a day were given in the week before it
        ago = np.array([(pd.Timestamp(vaccination.reference_day) - day).days for day in table.index]) + WEEK / 2
        total, dose = given.sum(0), vaccination.campaign.dose
        days[:, dose] = np.divide(ago @ given, total, out=days[:, dose].copy(), where=total > 0)
    return ode.archetypes_by_age_and_dose(study.ages.midpoints, torch.as_tensor(days))


def campaign_doses_by(data: EpidemicData, day: pd.Timestamp) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Doses of the campaign given from the day of the table to `day`, or to its last known day if that is before it, by age.

    As many more as the register counted, per such dose of the table, but no more than have one dose less.

    Returns:
        `[A]` share of those with one dose less on the day of the table, and `[A]` mean days between these doses and `day`; 0 without any.
    """
    vaccination = data.study.need(Vaccination, "The campaign")
    campaign, register = vaccination.campaign, data.campaign_doses
    if campaign is None or register is None:
        return np.zeros(len(data.study.ages)), np.zeros(len(data.study.ages))
    table, known = register.astype(float), pd.Timestamp(campaign.known_until)
    start, end = pd.Timestamp(vaccination.counted_on), min(day, known)
    if end <= start:
        return np.zeros(len(table.columns)), np.zeros(len(table.columns))
    weeks = table.index[(table.index >= start) & (table.index <= known)]
    at = np.array([(t - start).days for t in weeks], dtype=float)
    upto = np.append(at[at < (end - start).days], (end - start).days)
    given = np.stack([np.interp(upto, at, table.loc[weeks, age].to_numpy()) for age in table.columns], 1)  # [week, A]
    more, middle = np.diff(given, axis=0), (upto[1:] + upto[:-1]) / 2
    total = more.sum(0)
    ago = (day - start).days - np.divide(middle @ more, total, out=np.zeros_like(total), where=total > 0)
    people = data.population.astype(float)
    less, had = ((data.vaccination[..., doses] * people).sum(0) for doses in (campaign.dose - 1, campaign.dose))
    ratio = np.divide(total * had, given[0] * less, out=np.zeros_like(less), where=(given[0] * less) > 0)
    return np.clip(ratio, 0.0, 1.0), np.where(total > 0, ago, 0.0)


@dataclass(frozen=True, eq=False)
class Ahead:
    """The archetypes as the wave goes on; fixed, so that it is made once.

    Attributes:
        share: `[*batch, 2 S, K]` share of an archetype without and with a dose of the campaign in each period.
        people: `[*batch, 2 S, K]` who these are.
        never: `[*batch, E - D, K]` people never infected D + 1 to E days after the day of most infections.
        lapse: `[E - D, 1]` from 0 to E - D - 1.
    """

    share: Tensor
    people: ode.Archetypes
    never: ode.Archetypes
    lapse: Tensor


def look_ahead(kinds: ode.Archetypes, campaign: Campaign, days: int, infectious_days: int, since_doses: int) -> Ahead:
    """What `as_time_goes_on` and `after_infection` need of K archetypes, `[*batch, K]`, over some days.

    Args:
        kinds: the archetypes on the reference day of doses.
        campaign: doses given since.
        days: T.
        infectious_days: D.
        since_doses: days from the reference day of doses to the day of most infections.
    """
    age, doses, since = (x[..., None, :] for x in (kinds.age_midpoint, kinds.doses, kinds.days_since_last_dose))
    share = campaign.share.expand(*torch.broadcast_shapes(age.shape, campaign.share.shape))
    own = (since + campaign.since[:, None]).clamp_min(0.0).expand_as(share)
    people = ode.Archetypes(
        torch.cat((age.expand_as(share), age.expand_as(share)), -2),
        torch.cat((doses.expand_as(share), torch.full_like(share, campaign.dose)), -2),
        torch.cat((own, campaign.days.expand_as(share)), -2),
    )
    lapse = torch.arange(days - infectious_days, dtype=share.dtype, device=share.device)[:, None]
    later = (since + float(since_doses + infectious_days) + lapse).clamp_min(0.0)
    never = ode.Archetypes(age.expand_as(later), doses.expand_as(later), later)
    return Ahead(torch.cat((1 - share, share), -2), people, never, lapse)


def as_time_goes_on(
    host: ode.WithinHost, parameters: ode.WithinHostParameters, ahead: Ahead, shift: Tensor, load: Tensor
) -> tuple[Tensor, Tensor]:
    """Susceptibility and severity of people never infected, period by period.

    Args:
        host: course of an infection, of the archetypes as on the reference day of doses.
        parameters: `[*batch]` each.
        ahead: the archetypes later.
        shift: of `ode.severity`, `[*batch]`.
        load: of `ode.severity`, `[*batch]`.

    Returns:
        `[*batch, K, S]` susceptibility over that on the reference day, and `[*batch, K, S]` severity of an infection, the mean over those
        of the archetype with and without a dose of the campaign, each by its share and susceptibility.
    """
    each = _by_time(parameters)
    titre = ode.antibody_titre(each, ahead.people)
    course = replace(host, viral_load=host.viral_load[..., None, :, :], antibody_at_exposure=titre)
    taken = ahead.share * ode.susceptibility(titre, each)
    severe = taken * ode.severity(course, each, shift[..., None], load[..., None])
    taken, severe = (x.unflatten(-2, (2, -1)).sum(-3) for x in (taken, severe))
    first = ode.susceptibility(host.antibody_at_exposure, parameters)
    return (taken / first[..., None, :]).mT, (severe / taken).mT


def after_infection(host: ode.WithinHost, parameters: ode.WithinHostParameters, ahead: Ahead) -> Tensor:
    """Susceptibility 1 to E days after an infection over that of somebody of the archetype who was never infected: `[*batch, K, E]`.

    0 while an infection lasts; then that of the antibody it left, as it wanes (`ode.waned`). Those never infected are as
    they would be after infections on the day of most infections.
    """
    each = _by_time(parameters)
    left = ode.waned(host.antibody[..., None, :, -1], ahead.lapse, each)  # [*batch, E - D, K]
    never = ode.antibody_titre(each, ahead.never)
    relative = ode.susceptibility(left, each) / ode.susceptibility(never, each)
    return torch.nn.functional.pad(relative.mT, (host.antibody.shape[-1], 0))


def _by_time(parameters: ode.WithinHostParameters) -> ode.WithinHostParameters:
    """The same with an axis of time after the batch."""
    return ode.WithinHostParameters(**{p.name: getattr(parameters, p.name)[..., None] for p in ode.PRIORS})
