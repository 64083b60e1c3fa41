"""New Zealand, as a sample and as a whole: 20 districts, 8 ages, households, schools, workplaces, a response to prevalence.

The only place that takes anything from the New Zealand study.
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor

import ode
from epi.data import load_data
from epi.population import build_population
from experiments.gradient_audit.worlds._world import World
from experiments.nz_calibration.study import study
from sim import COMMUNITY, HOUSEHOLD, VENUES, Population, Rates

PARAMETERS = (
    "household", "school", "school in one month", "work", "community", "susceptibility", "susceptibility of one age",
    "infectiousness shape", "importation", "importation of one district", "contacts at 20-39", "contacts of the old",
    "aversion", "immune clearance",
)  # fmt: skip
"""Logs of factors: on transmission by venue (school also in days 30-59 alone), on susceptibility (of everybody, of people of 10-19),
on infectiousness from day 5 on, on the hazard from outside (everywhere, in one district), on rows of the mixing matrix, on the
response to prevalence, and on the clearance rate of infected cells within the host, which acts through the within-host model."""

LEVELS: dict[int, float] = {5: 0.775, 15: 0.89, 30: 1.0, 50: 1.22}
"""Per cent infected in the sample, and the factor on all transmission that leads to it."""
DAYS, INFECTIOUS_DAYS, DISTRICT, AGE = 90, 14, 3, 2
TODAY = 3e-4
"""Hazard from outside per person and day in the whole country; the sample has a tenth."""
_BASE = {"household": 0.6, "community": 1.1, "school": 0.7, "work": 0.6}
_AVERSION, _FORGETTING, _TAIL = 0.2, 0.07, 5


def sample(percent: int, agents: int, days: int = DAYS) -> World:
    """A sample of about so many agents, of whom about `percent` are infected within 90 days."""
    people = population(agents)
    return World(
        name=f"new-zealand-{percent}",
        people=people,
        parameters=PARAMETERS,
        outcomes=_outcomes(people, days, 6),
        rates=partial(_rates, people, LEVELS[percent], TODAY / 10, days),
        streams=400,
        runs=400,
        compared=False,
    )


def country(share: float = 1.0) -> World:
    """Everybody (or a share): 5.1 million agents, of whom about 17 % are infected within 60 days."""
    people = population(round(share * int(load_data(study).population.sum())))
    return World(
        name="country",
        people=people,
        parameters=PARAMETERS,
        outcomes=_outcomes(people, 60, 5),
        rates=partial(_rates, people, 0.79, TODAY, 60),
        streams=96,
        runs=96,
        compared=False,
    )


@lru_cache(maxsize=2)
def population(agents: int) -> Population:
    """About so many agents, all districts sampled alike."""
    data = load_data(study)
    return build_population(data, min(1.0, agents / int(data.population.sum())), 0, balance=0.0)[0]


def _outcomes(people: Population, days: int, week: int) -> dict[str, Tensor]:
    """Total, one district's week, and people of 20-29 in the second half."""
    group = torch.arange(people.groups)
    total, district, age = (torch.zeros(days, people.groups, dtype=torch.float64) for _ in range(3))
    total[:] = 1.0
    district[7 * week : 7 * week + 7, group // len(study.ages.names) == DISTRICT] = 1.0
    age[days // 2 :, group % len(study.ages.names) == AGE] = 1.0
    return {"total": total, "one district's week": district, "one age's second half": age}


def _rates(people: Population, level: float, outside: float, days: int, theta: Tensor) -> Rates:
    like = dict(zip(PARAMETERS, theta.unbind(1), strict=True))
    factor = {name: torch.exp(x) for name, x in like.items()}
    one, t = torch.ones_like(theta[:, 0]), torch.arange(days)
    table, sigma = _host(like["immune clearance"])
    tail = (torch.arange(1, INFECTIOUS_DAYS + 1) >= _TAIL).to(theta)
    weekday = ((t + 3) % 7 < 5).to(theta)
    in_month = ((t >= 30) & (t < 60)).to(theta.device)
    month = torch.where(in_month, factor["school in one month"][:, None], one[:, None])
    rows = [torch.empty(0)] * (VENUES + 2)
    for name, row in (("household", HOUSEHOLD), ("community", COMMUNITY), ("school", VENUES), ("work", VENUES + 1)):
        rows[row] = (level * _BASE[name] * factor[name])[:, None] * torch.ones(days).to(theta)
    rows[VENUES] = rows[VENUES] * weekday * month
    rows[VENUES + 1] = rows[VENUES + 1] * weekday
    group = torch.arange(people.groups, device=theta.device)
    age, district = group % len(study.ages.names), group // len(study.ages.names)
    of_age = torch.arange(sigma.shape[1], device=theta.device) // (sigma.shape[1] // len(study.ages.names))
    contacts = torch.where((age == 2) | (age == 3), factor["contacts at 20-39"][:, None], one[:, None])
    contacts = contacts * torch.where(
        age == len(study.ages.names) - 1, factor["contacts of the old"][:, None], one[:, None]
    )
    place = torch.where(district == DISTRICT, factor["importation of one district"][:, None], one[:, None])
    some = torch.where(of_age == 1, factor["susceptibility of one age"][:, None], one[:, None])
    return Rates(
        infectiousness=table * torch.exp(like["infectiousness shape"][:, None, None] * tail),
        susceptibility=sigma * factor["susceptibility"][:, None] * some,
        transmission=torch.stack(rows, 1),
        mixing=_mixing(people).to(theta) * contacts[..., None],
        importation=(outside * factor["importation"][:, None] * place)[:, None].expand(-1, days, -1),
        aversion=_AVERSION * factor["aversion"],
        forgetting=_FORGETTING * one,
    )


def _host(log_clearance: Tensor) -> tuple[Tensor, Tensor]:
    """Infectiousness `[P, K, D]` and susceptibility `[P, K]` of every archetype, by the within-host model."""
    log_clearance, like = log_clearance.cpu().double(), log_clearance
    median = ode.prior_median(dtype=torch.float64)
    values = {name: getattr(median, name).expand(len(log_clearance)) for name in median.__dataclass_fields__}
    values["immune_clearance"] = median.immune_clearance * torch.exp(log_clearance)
    host_parameters = ode.WithinHostParameters(**values)
    host = ode.within_host(host_parameters, ode.archetypes_by_age_and_dose(), days=INFECTIOUS_DAYS)
    table = ode.infectiousness(host.viral_load)
    return table.to(like), ode.susceptibility(host.antibody_at_exposure, host_parameters).to(like)


@lru_cache(maxsize=2)
def _mixing(people: Population) -> Tensor:
    """`[G, G]`: 35 % of contacts in the own age band, 5 % in other districts, the rest by size."""
    ages, districts = len(study.ages.names), len(study.region.names)
    size = torch.as_tensor(people.group_size, dtype=torch.float64).reshape(districts, ages)
    share = size / size.sum(1, keepdim=True)
    by_age = 0.35 * torch.eye(ages, dtype=torch.float64)[:, None] + 0.65 * share[None]
    elsewhere = size.sum(1).expand(districts, districts) * (1 - torch.eye(districts, dtype=torch.float64))
    place = 0.95 * torch.eye(districts, dtype=torch.float64) + 0.05 * elsewhere / elsewhere.sum(1, keepdim=True)
    return (place[:, None, :, None] * by_age[None]).reshape(districts * ages, districts * ages)
