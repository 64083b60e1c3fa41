"""How protected people are as the wave goes on: antibody wanes, third doses are given, infections leave antibody."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import ode
from epi.data.load import DOSES, Figures
from epi.study import calendar
from sim import PERIOD

TWO, THIRD, WEEK = 2, 3.0, 7.0
WAVE = calendar.date(2022, 3, 1)
"""Day of most infections: how susceptible somebody infected before is, is given relative to people infected then and not before."""


@dataclass(frozen=True, eq=False)
class Campaign:
    """Third doses given since the day of the table of doses, to people of kinds with two.

    Axes: `S` periods of `sim.PERIOD` days, `K` kinds of host; the batch may lead.

    Attributes:
        share: `[*batch, S, K]` share of a kind that has a third dose in the middle of a period; 0 for kinds without two doses.
        days: `[*batch, S, K]` mean days since that dose.
        since: `[S]` days from `DOSES_COUNTED`, for which the kinds' days since the last dose hold, to the middle of a period.
    """

    share: Tensor
    days: Tensor
    since: Tensor


def periods(days: int) -> int:
    """S, the number of periods that begin within some days."""
    return -(-days // PERIOD)


def make_campaign(figures: Figures, days: int, device: torch.device, dtype: torch.dtype) -> Campaign:
    """The campaign of the register up to `DOSES_KNOWN`; nobody is given a dose after it."""
    middle = np.arange(periods(days)) * PERIOD + PERIOD / 2
    dates = pd.Timestamp(calendar.START) + pd.to_timedelta(middle, unit="D")
    share, since = zip(*(third_doses_by(figures, date) for date in dates), strict=True)
    kinds = np.zeros((2, len(middle), figures.vaccination.shape[1], len(DOSES)))
    kinds[0, :, :, TWO], kinds[1, :, :, TWO] = np.stack(share), np.stack(since)
    share_of_kind, days_of_kind = torch.as_tensor(kinds.reshape(2, len(middle), -1)).to(device, dtype)
    after = torch.as_tensor(middle - calendar.day_of(calendar.DOSES_COUNTED)).to(device, dtype)
    return Campaign(share_of_kind, days_of_kind, after)


def kinds_of_host(figures: Figures) -> ode.Archetypes:
    """The 32 kinds of host, age band by doses, as on `DOSES_COUNTED`: days since a third dose by age from the register, others chosen."""
    table = figures.third_doses.astype(float).loc[: str(calendar.DOSES_TABLE)]
    given = table.diff().fillna(table.iloc[:1]).to_numpy()
    # doses counted on a day were given in the week before it
    ago = np.array([(pd.Timestamp(calendar.DOSES_COUNTED) - day).days for day in table.index]) + WEEK / 2
    total = given.sum(0)
    days = np.tile(np.array(ode.DAYS_SINCE_LAST_DOSE), (len(total), 1))
    days[:, TWO + 1] = np.divide(ago @ given, total, out=days[:, TWO + 1].copy(), where=total > 0)
    return ode.archetypes_by_age_and_dose(days_since_last_dose=torch.as_tensor(days))


def third_doses_by(figures: Figures, day: pd.Timestamp) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Third doses given from the day of the table to `day`, or to `DOSES_KNOWN` if that is before it, by age.

    As many more as the register counted, per third dose of the table, but no more than have two doses.

    Returns:
        `[A]` share of those with two doses on the day of the table, and `[A]` mean days between these doses and `day`; 0 without any.
    """
    table, known = figures.third_doses.astype(float), pd.Timestamp(calendar.DOSES_KNOWN)
    start, end = pd.Timestamp(calendar.DOSES_TABLE), min(day, known)
    if end <= start:
        return np.zeros(len(table.columns)), np.zeros(len(table.columns))
    weeks = table.index[(table.index >= start) & (table.index <= known)]
    at = np.array([(t - start).days for t in weeks], dtype=float)
    upto = np.append(at[at < (end - start).days], (end - start).days)
    given = np.stack([np.interp(upto, at, table.loc[weeks, age].to_numpy()) for age in table.columns], 1)  # [week, A]
    more, middle = np.diff(given, axis=0), (upto[1:] + upto[:-1]) / 2
    total = more.sum(0)
    ago = (day - start).days - np.divide(middle @ more, total, out=np.zeros_like(total), where=total > 0)
    people = figures.population.astype(float)
    two, third = ((figures.vaccination[..., doses] * people).sum(0) for doses in (TWO, TWO + 1))
    ratio = np.divide(total * third, given[0] * two, out=np.zeros_like(two), where=(given[0] * two) > 0)
    return np.clip(ratio, 0.0, 1.0), np.where(total > 0, ago, 0.0)


@dataclass(frozen=True, eq=False)
class Ahead:
    """The kinds of host as the wave goes on; fixed, so that it is made once.

    Attributes:
        share: `[*batch, 2 S, K]` share of a kind without and with a third dose of the campaign in each period.
        people: `[*batch, 2 S, K]` who these are.
        never: `[*batch, E - D, K]` people never infected D + 1 to E days after the day `WAVE`. lapse: `[E - D, 1]` from 0 to E - D - 1.
    """

    share: Tensor
    people: ode.Archetypes
    never: ode.Archetypes
    lapse: Tensor


def look_ahead(kinds: ode.Archetypes, campaign: Campaign, days: int, infectious_days: int) -> Ahead:
    """What `as_time_goes_on` and `after_infection` need of K kinds, `[*batch, K]`, over some days."""
    age, doses, since = (x[..., None, :] for x in (kinds.age_midpoint, kinds.doses, kinds.days_since_last_dose))
    share = campaign.share.expand(*torch.broadcast_shapes(age.shape, campaign.share.shape))
    own = (since + campaign.since[:, None]).clamp_min(0.0).expand_as(share)
    people = ode.Archetypes(
        torch.cat((age.expand_as(share), age.expand_as(share)), -2),
        torch.cat((doses.expand_as(share), torch.full_like(share, THIRD)), -2),
        torch.cat((own, campaign.days.expand_as(share)), -2),
    )
    lapse = torch.arange(days - infectious_days, dtype=share.dtype, device=share.device)[:, None]
    after = calendar.day_of(WAVE) - calendar.day_of(calendar.DOSES_COUNTED) + infectious_days
    later = since + float(after) + lapse
    never = ode.Archetypes(age.expand_as(later), doses.expand_as(later), later)
    return Ahead(torch.cat((1 - share, share), -2), people, never, lapse)


def as_time_goes_on(
    host: ode.WithinHost, parameters: ode.WithinHostParameters, ahead: Ahead, shift: Tensor, load: Tensor
) -> tuple[Tensor, Tensor]:
    """Susceptibility and severity of people never infected, period by period.

    Args:
        host: course of an infection, of the kinds as on `DOSES_COUNTED`.
        parameters: `[*batch]` each.
        ahead: the kinds later.
        shift: of `ode.severity`, `[*batch]`.
        load: of `ode.severity`, `[*batch]`.

    Returns:
        `[*batch, K, S]` susceptibility over that on `DOSES_COUNTED`, and `[*batch, K, S]` severity of an infection, the mean over those of
        the kind with and without a third dose of the campaign, each by its share and susceptibility.
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
    """Susceptibility 1 to E days after an infection over that of somebody of the kind who was never infected: `[*batch, K, E]`.

    0 while an infection lasts; then that of the antibody it left, as it wanes (`ode.waned`). Those never infected are as
    they would be after infections on the day `WAVE`.
    """
    each = _by_time(parameters)
    left = ode.waned(host.antibody[..., None, :, -1], ahead.lapse, each)  # [*batch, E - D, K]
    never = ode.antibody_titre(each, ahead.never)
    relative = ode.susceptibility(left, each) / ode.susceptibility(never, each)
    return torch.nn.functional.pad(relative.mT, (host.antibody.shape[-1], 0))


def _by_time(parameters: ode.WithinHostParameters) -> ode.WithinHostParameters:
    """The same with an axis of time after the batch."""
    return ode.WithinHostParameters(**{p.name: getattr(parameters, p.name)[..., None] for p in ode.PRIORS})
