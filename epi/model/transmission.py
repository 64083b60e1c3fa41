"""From parameters to the rates of the epidemic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import ode
from epi.data.load import AGE_BANDS, DISTRICTS, Figures
from epi.model.immunity import (
    Ahead,
    Campaign,
    after_infection,
    as_time_goes_on,
    kinds_of_host,
    look_ahead,
    make_campaign,
)
from epi.model.parameters import DRIFT_STEPS, KNOTS
from epi.study import calendar
from sim import Population, Rates

EARTH_RADIUS = 6371.0  # km
GRAVITY_LENGTH = 150.0  # km over which contacts between districts fall by 1/e (chosen)
KNOT_DAYS = 28
INFECTIOUS_DAYS = 14
GENERATION = 3.5
"""Days between generations; the serial interval of Omicron (Backer et al. 2022, Eurosurveillance 27:2200042)."""


@dataclass(frozen=True, eq=False)
class Context:
    """What the rates need besides the parameters; tensors on the run's device in its dtype.

    Attributes:
        days: T. population_share: `[G]` share of a group in the people of its district.
        between: `[R, R]` where contacts outside the own district fall, rows sum to 1, zero diagonal.
        school_day, weekday, opened: `[T]` 0 or 1. seeding_day: `[T]` day index before `OPEN`, negative after.
        seed_age: `[A]` relative importation by age, mean 1 over people.
        variant_day: `[T]` days since 5 March. campaign, ahead: how protected the archetypes are as the wave goes on.
        ages, districts: A and R.
    """

    days: int
    population_share: Tensor
    between: Tensor
    school_day: Tensor
    weekday: Tensor
    opened: Tensor
    seed_age: Tensor
    knot: Tensor
    variant_day: Tensor
    archetypes: ode.Archetypes
    campaign: Campaign
    ahead: Ahead
    ages: int
    districts: int


@dataclass(frozen=True)
class HostTables:
    """What the within-host room gives the epidemic and what is seen of it, all from the same trajectories.

    `infectiousness [*batch, K, D]`, `susceptibility [*batch, K]` on the day `DOSES_COUNTED`, `waning [*batch, K, S]` (over that, by period),
    `reinfection [*batch, K, E]` (E = T), `severity [*batch, K, S]`, `shedding [*batch, K, D]`, `finite [*batch]`.
    """

    infectiousness: Tensor
    susceptibility: Tensor
    waning: Tensor
    reinfection: Tensor
    severity: Tensor
    shedding: Tensor
    finite: Tensor


def make_context(
    figures: Figures, population: Population, days: int, device: torch.device, dtype: torch.dtype
) -> Context:
    """Gather the fixed part of the rates."""

    def real(x: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), dtype=dtype, device=device)

    people = figures.population.astype(float)
    since = np.clip(np.arange(days) - calendar.day_of(calendar.DRIFT_FROM), 0, None)
    early = figures.cases_age.loc[: str(calendar.FIRST_WEEK)].to_numpy().sum(0) + 1.0
    per_person = early / people.sum(0)
    kinds = kinds_of_host(figures).to(device, dtype)
    campaign = make_campaign(figures, days, device, dtype)
    return Context(
        days=days,
        population_share=real((people / people.sum(1, keepdims=True)).ravel()),
        between=real(gravity(figures)),
        school_day=real(calendar.school_days(days)),
        weekday=real(calendar.weekdays(days)),
        opened=real((np.arange(days) >= calendar.day_of(calendar.OPEN)).astype(float)),
        seed_age=real(per_person * people.sum() / (per_person * people.sum(0)).sum()),
        knot=torch.as_tensor(np.minimum(since // KNOT_DAYS, len(KNOTS)), device=device),
        variant_day=real(np.arange(days) - calendar.day_of(calendar.VARIANT)),
        archetypes=kinds,
        campaign=campaign,
        ahead=look_ahead(kinds, campaign, days, INFECTIOUS_DAYS),
        ages=len(AGE_BANDS),
        districts=len(DISTRICTS),
    )


def gravity(figures: Figures) -> np.ndarray:
    """`[R, R]` destination of contacts outside the own district: people there times exp(-distance / 150 km), rows sum to 1."""
    place = np.radians(figures.districts.loc[list(DISTRICTS), ["latitude", "longitude"]].to_numpy(float))
    lat, lon = place[:, 0], place[:, 1]
    half = (
        np.sin((lat[:, None] - lat) / 2) ** 2
        + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    )
    distance = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(half))
    weight = figures.population.sum(1) * np.exp(-distance / GRAVITY_LENGTH)
    np.fill_diagonal(weight, 0.0)
    return weight / weight.sum(1, keepdims=True)


def with_kinds(context: Context, kinds: ode.Archetypes, campaign: Campaign | None = None) -> Context:
    """The context with other kinds of host, `[*batch, K]`, and the third doses that they are given."""
    campaign = context.campaign if campaign is None else campaign
    ahead = look_ahead(kinds, campaign, context.days, INFECTIOUS_DAYS)
    return replace(context, archetypes=kinds, campaign=campaign, ahead=ahead)


def host_tables(theta: Mapping[str, Tensor], context: Context, solver: ode.Solver = "auto") -> HostTables:
    """Solve the within-host model of each particle; theta holds `[*batch]` scalars."""
    parameters = ode.WithinHostParameters.from_mapping(theta)
    host = ode.within_host(parameters, context.archetypes, days=INFECTIOUS_DAYS, solver=solver)
    shift, load = theta["severity_shift"], theta["severity_load"]
    waning, severity = as_time_goes_on(host, parameters, context.ahead, shift, load)
    return HostTables(
        ode.infectiousness(host.viral_load),
        ode.susceptibility(host.antibody_at_exposure, parameters),
        waning,
        after_infection(host, parameters, context.ahead),
        severity,
        ode.shedding(host.viral_load),
        host.finite,
    )


def make_rates(theta: Mapping[str, Tensor], hosts: HostTables, context: Context) -> Rates:
    """Rates from parameters with batch `[P]` and the within-host tables of the same particles."""
    c = context
    steps = theta["drift"] * torch.tensor(DRIFT_STEPS).to(theta["drift"])
    walk = torch.nn.functional.pad(steps, (1, 0)).cumsum(-1)
    everywhere = variant(theta, c)
    outside = everywhere * c.opened * torch.exp(walk)[..., c.knot]
    transmission = torch.stack(
        [
            theta["transmission_household"][..., None] * everywhere,
            theta["transmission_community"][..., None] * outside,
            theta["transmission_school"][..., None] * outside * c.school_day,
            theta["transmission_work"][..., None] * outside * c.weekday,
        ],
        dim=-2,
    )
    return Rates(
        infectiousness=hosts.infectiousness,
        susceptibility=hosts.susceptibility,
        transmission=transmission,
        mixing=mixing(theta, c),
        importation=importation(theta, c),
        aversion=theta["aversion"],
        forgetting=theta["forgetting"],
        reinfection=hosts.reinfection,
        waning=hosts.waning,
    )


def variant(theta: Mapping[str, Tensor], c: Context) -> Tensor:
    """`[*batch, T]` transmission over that of BA.1 while BA.2 takes over.

    The share of BA.2 grows logistically, at the rate that its advantage over a generation gives; transmission is the mean over shares.
    """
    advantage = theta["variant_advantage"][..., None]
    share = torch.sigmoid(advantage.log() / GENERATION * (c.variant_day - theta["variant_midpoint"][..., None]))
    return 1 + share * (advantage - 1)


def mixing(theta: Mapping[str, Tensor], c: Context) -> Tensor:
    """`[*batch, G, G]` weight of a group's mean infectiousness for an agent of another group.

    The contacts of an age band are shared between its own band (assortativity) and all bands by size, and between the own
    district and others (coupling, by gravity). Contact rates by age enter on both sides, normalised to mean 1 over people.
    """
    contact = theta["age_contact"]
    assort, couple = theta["assortativity"][..., None, None, None], theta["coupling"][..., None, None]
    share = c.population_share.reshape(c.districts, c.ages)
    contact = contact / (contact * share.mean(0)).sum(-1, keepdim=True)
    weighted = share * contact[..., None, :]
    proportionate = weighted / weighted.sum(-1, keepdim=True)  # [*batch, R, A] of the district met
    own = torch.eye(c.ages, dtype=share.dtype, device=share.device)
    by_age = assort * own[:, None, :] + (1 - assort) * proportionate[..., None, :, :]  # [*batch, A, R', A']
    place = (1 - couple) * torch.eye(c.districts, dtype=share.dtype, device=share.device) + couple * c.between
    effect = torch.exp(theta["district_spread"][..., None] * theta["district_effect"])
    place = effect[..., None] * place
    full = place[..., :, None, :, None] * contact[..., None, :, None, None] * by_age[..., None, :, :, :]
    return full.reshape(*full.shape[:-4], c.districts * c.ages, c.districts * c.ages)


def importation(theta: Mapping[str, Tensor], c: Context) -> Tensor:
    """`[*batch, T, G]` hazard from outside before `OPEN`, growing exponentially; sums to `seed_level` per 10,000 over its days."""
    day = torch.arange(c.days, dtype=c.opened.dtype, device=c.opened.device)
    seeding = 1 - c.opened
    profile = torch.exp(theta["seed_growth"][..., None] * (day - seeding.sum())) * seeding
    profile = profile / profile.sum(-1, keepdim=True)
    level = 1e-4 * theta["seed_level"][..., None] * torch.exp(theta["seed_spread"][..., None] * theta["district_seed"])
    by_group = (level[..., :, None] * c.seed_age).flatten(-2)
    return profile[..., :, None] * by_group[..., None, :]
