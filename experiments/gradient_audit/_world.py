"""What is audited: the New Zealand population as a sample, and rates as a function of one number for each kind of parameter."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

import ode
from epi.data import load_data
from epi.population import build_population
from experiments.nz_calibration.study import study
from sim import COMMUNITY, HOUSEHOLD, VENUES, Population, Rates

PARAMETERS: dict[str, str] = {
    "household": "log household transmission",
    "school": "log school transmission",
    "work": "log workplace transmission",
    "community": "log community transmission",
    "susceptibility": "log susceptibility of every archetype",
    "infectiousness shape": "log infectiousness from day 5 after infection on (the tail of the curve)",
    "importation": "log hazard from outside",
    "mixing": "log community contacts of people of 20-39 years (their rows of the mixing matrix)",
    "aversion": "log aversion of behaviour to remembered incidence",
    "immune clearance": "log clearance rate of infected cells within the host, through the ODE to infectiousness of every archetype and day",
}
"""The parameters audited, all at 0 where the gradient is taken, and what each is."""

LEVELS: dict[str, float] = {"low": 0.7, "middle": 0.95, "high": 1.25}
"""Attack rates: factors on all transmission."""

DAYS, INFECTIOUS_DAYS = 60, 14
_BASE = {"household": 0.6, "community": 1.1, "school": 0.7, "work": 0.6}
_IMPORTATION = 3e-4  # per person and day: the epidemic does not hang on a handful of first cases
_AVERSION, _FORGETTING = 0.2, 0.07
_TAIL = 5


@lru_cache(maxsize=4)
def population(agents: int, seed: int) -> Population:
    """A sample of New Zealand of about so many agents: 20 districts, 8 ages, households, schools, workplaces."""
    figures = load_data(study)
    return build_population(figures, min(1.0, agents / int(figures.population.sum())), seed, balance=0.0)[0]


def rates(people: Population, theta: Tensor, level: float, days: int = DAYS) -> Rates:
    """Rates at parameters `theta [P, Q]` in the order of `PARAMETERS`, differentiable.

    Args:
        people: from `population`.
        theta: `[P, Q]`, 0 is the base.
        level: factor on all transmission.
        days: T.
    """
    like = dict(zip(PARAMETERS, theta.unbind(1), strict=True))
    particles, dtype = len(theta), theta.dtype
    table, sigma = _host(like["immune clearance"])
    tail = (torch.arange(1, INFECTIOUS_DAYS + 1) >= _TAIL).to(dtype)
    weekday = ((torch.arange(days) + 3) % 7 < 5).to(dtype)
    open_on = {"school": weekday, "work": weekday}
    rows = [torch.empty(0)] * (VENUES + 2)
    for name, row in (("household", HOUSEHOLD), ("community", COMMUNITY), ("school", VENUES), ("work", VENUES + 1)):
        factor = level * _BASE[name] * torch.exp(like[name])
        rows[row] = factor[:, None] * open_on.get(name, torch.ones(days, dtype=dtype))
    ages = torch.arange(people.groups) % len(study.ages)
    grown = ((ages == 2) | (ages == 3)).to(dtype)
    one = torch.ones(particles, dtype=dtype)
    return Rates(
        infectiousness=table * torch.exp(like["infectiousness shape"][:, None, None] * tail),
        susceptibility=sigma * torch.exp(like["susceptibility"])[:, None],
        transmission=torch.stack(rows, 1),
        mixing=_mixing(people).to(dtype) * torch.exp(like["mixing"][:, None] * grown)[..., None],
        importation=(_IMPORTATION * torch.exp(like["importation"]))[:, None, None].expand(-1, days, people.groups),
        aversion=_AVERSION * torch.exp(like["aversion"]),
        forgetting=_FORGETTING * one,
    )


def result_mib(agents: int, level: str, days: int) -> float:
    """MiB of what a run and its gradient in every rate return: incidence, its cotangent, and the rates' gradient."""
    people = population(agents, 0)
    made = rates(people, torch.zeros(1, len(PARAMETERS), dtype=torch.float64), LEVELS[level], days)
    return 8 * (2 * days * people.groups + sum(x.numel() for x in made.tensors())) / 2**20


def _host(log_clearance: Tensor) -> tuple[Tensor, Tensor]:
    """Infectiousness `[P, K, D]` and susceptibility `[P, K]` of every archetype, by the within-host ODE."""
    median = ode.prior_median(dtype=log_clearance.dtype)
    values = {name: getattr(median, name).expand(len(log_clearance)) for name in median.__dataclass_fields__}
    values["immune_clearance"] = median.immune_clearance * torch.exp(log_clearance)
    host_parameters = ode.WithinHostParameters(**values)
    host = ode.within_host(host_parameters, ode.archetypes_by_age_and_dose(), days=INFECTIOUS_DAYS)
    return ode.infectiousness(host.viral_load), ode.susceptibility(host.antibody_at_exposure, host_parameters)


def _mixing(people: Population) -> Tensor:
    """`[G, G]`: 35 % of contacts in the own age band, 5 % in other districts, the rest by size."""
    ages, districts = len(study.ages), len(study.region)
    size = torch.as_tensor(people.group_size, dtype=torch.float64).reshape(districts, ages)
    share = size / size.sum(1, keepdim=True)
    by_age = 0.35 * torch.eye(ages, dtype=torch.float64)[:, None] + 0.65 * share[None]
    elsewhere = size.sum(1).expand(districts, districts) * (1 - torch.eye(districts, dtype=torch.float64))
    place = 0.95 * torch.eye(districts, dtype=torch.float64) + 0.05 * elsewhere / elsewhere.sum(1, keepdim=True)
    return (place[:, None, :, None] * by_age[None]).reshape(districts * ages, districts * ages)
