"""One batch of epidemics with third doses given by a policy, and the derivative of a discrete switch from two doses to three."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import ode
import sim
from epi.model.observation import Observation, by_day, fatality, severity
from epi.model.simulator import Simulator, usable
from epi.model.transmission import HostTables, host_tables, make_rates, with_kinds
from epi.scenarios.allocation.dose_people import CLASSES, DosePeople
from sim import PERIOD, Population, Rates

Risk = Callable[[Mapping[str, Tensor], HostTables, Observation], Tensor]
TARGETS: dict[str, Risk] = {"admissions": severity, "deaths": fatality}
"""What a policy may be to lower, and `[P, A]` how many of it an infection leads to."""


@dataclass(frozen=True, eq=False)
class DoseRun:
    """A batch of simulations; axes as in the study, `S` periods of `sim.PERIOD` days.

    Attributes:
        infections: `[P, T, C, R, A]` agents by day, class (`CLASSES`), region and age.
        target: `[P, W, A]` expected admissions (or deaths) by week and age.
        sent: `[P, S, C, R, A]` people infected whose admission (or death) would fall into the weeks.
        risk: `[P, S, C, A]` admissions (or deaths) per infection.
        susceptibility: `[P, 32 + 8, S]`, infectiousness: `[P, 32 + 8, D]` by kind of host, the last 8 with a third dose by the policy.
        leaves: factors of susceptibility by period, and infectiousness, by archetype, to differentiate in.
        first: `[P, archetypes, 1]` susceptibility that the factors multiply.
    """

    infections: Tensor
    target: Tensor
    sent: Tensor
    risk: Tensor
    susceptibility: Tensor
    infectiousness: Tensor
    leaves: tuple[Tensor, Tensor]
    first: Tensor


def simulate(
    simulator: Simulator,
    people: DosePeople,
    theta: Mapping[str, Tensor],
    u: Tensor,
    level: Tensor | None,
    since: float,
    target: str,
    seed: int,
    streams: Tensor,
    track: bool = False,
) -> DoseRun:
    """Simulate with shares `u [R, A]` of those with two doses boosted, agent by agent.

    Args:
        simulator: the study's.
        people: who may be boosted.
        theta: parameters `[P, *event]`.
        u: shares.
        level: `[P, A]` factor on the risk; None for 1.
        since: days between the dose and exposure.
        target: one of `TARGETS`.
        seed: of the epidemic.
        streams: `[P]`.
        track: whether to differentiate in `DoseRun.leaves`.
    """
    o = simulator.observation
    theta = {name: value.to(o.week) for name, value in theta.items()}
    age = torch.tensor(simulator.study.ages.midpoints, dtype=torch.float64)
    base, base_campaign = simulator.context.archetypes, simulator.context.campaign
    hosts = ode.Archetypes(
        torch.cat((base.age_midpoint, age.to(base.age_midpoint))),
        torch.cat((base.doses, torch.full_like(age, float(people.dose)).to(base.doses))),
        torch.cat((base.days_since_last_dose, torch.full_like(age, since).to(base.doses))),
    )
    none = base_campaign.share.new_zeros(*base_campaign.share.shape[:-1], people.ages)
    campaign = replace(
        base_campaign,
        share=torch.cat((base_campaign.share, none), -1),
        days=torch.cat((base_campaign.days, none), -1),
    )
    tables = host_tables(theta, with_kinds(simulator.context, hosts, campaign))
    index = people.kind_of_host().to(o.week.device)
    waning, rho = (
        x.detach().clone().requires_grad_(track) for x in (tables.waning[:, index], tables.infectiousness[:, index])
    )
    first = tables.susceptibility[:, index]
    by_group = replace(
        tables, infectiousness=rho, susceptibility=first, waning=waning, reinfection=tables.reinfection[:, index]
    )
    population = people.given(u)
    rates, good = usable(told_apart(make_rates(theta, by_group, simulator.context), population), tables)
    incidence = sim.epidemic(
        population, rates, seed, streams=streams, backend=simulator.backend, estimator=simulator.estimator
    )
    infections = incidence.unflatten(-1, (len(CLASSES), *people.agents.shape))
    infected = infections * o.people * torch.where(good, 1.0, torch.nan).to(o.week).reshape(-1, 1, 1, 1, 1)
    weeks = o.week @ (o.admit if target == "admissions" else o.die).T
    risk = risks(theta, tables, o, TARGETS[target], people)
    risk = risk if level is None else risk * level.to(o.week)[:, None, None, :]
    days = by_day(risk.flatten(-2), infected.shape[1]).unflatten(-1, risk.shape[-2:])
    return DoseRun(
        infections,
        torch.einsum("wt,ptca->pwa", weeks, infected.sum(3) * days),
        by_period(infected.detach() * weeks.sum(0)[:, None, None, None]),
        risk,
        tables.susceptibility[..., None] * tables.waning,
        tables.infectiousness,
        (waning, rho),
        first[..., None],
    )


def by_period(daily: Tensor) -> Tensor:
    """`[P, S, ...]` sums over the days of a period of `[P, T, ...]`."""
    return torch.stack([x.sum(1) for x in daily.split(PERIOD, 1)], 1)


def told_apart(rates: Rates, population: Population) -> Rates:
    """Rates of the study's groups for groups told apart by class: who meets whom stays as it was.

    The mean infectiousness of a group is that of its classes, each with its share of the agents.
    """
    size = torch.as_tensor(population.group_size).to(rates.mixing).reshape(len(CLASSES), -1)
    part = size / size.sum(0).clamp_min(1.0)
    mixing = rates.mixing[:, None, :, None, :] * part  # [P, 1, G, C', G']
    mixing = mixing.flatten(3).expand(-1, len(CLASSES), -1, -1).flatten(1, 2)
    return replace(rates, mixing=mixing, importation=rates.importation.repeat(1, 1, len(CLASSES)))


def risks(theta: Mapping[str, Tensor], hosts: HostTables, o: Observation, risk: Risk, people: DosePeople) -> Tensor:
    """`[P, S, C, A]` admissions or deaths per infection by class, with tables of the 32 + 8 kinds of host.

    Others are mixed as the country's people without two doses are, by number and susceptibility.
    """
    age = torch.arange(people.ages, device=o.share.device)
    less = people.two.to(age.device)
    other = torch.nn.functional.pad(o.share, (0, people.ages))
    other[age, less] = 0.0
    other = other + 1e-12 * (other.sum(-1, keepdim=True) == 0).to(other)
    two, third = (
        torch.nn.functional.one_hot(k, people.kinds + people.ages).to(o.share) for k in (less, people.kinds + age)
    )
    return torch.stack([risk(theta, hosts, replace(o, share=mix)) for mix in (other, two, third)], 2)


def switched(run: DoseRun, grads: tuple[Tensor, ...], u: Tensor, people: DosePeople) -> Tensor:
    """`[P, R, A]` derivative of each simulation's admissions in the share boosted, from the gradients in `run.leaves`.

    Boosting moves an agent from one kind of host to another, a step and not a small change. Reverse mode gives what a small change of
    susceptibility, infectiousness and risk does, for those with two doses and for those boosted alike; each is weighted so that it says
    what the whole step does to the agent itself, given the pressure on it: of a kind with the hazard H summed over the wave (`summed_hazards`)
    `exp(-H)` escape, and the step between two kinds is a secant of that curve, not a tangent.
    """
    two, kinds = people.two.to(run.infectiousness.device), people.kinds
    s2, s3, rho = run.susceptibility[:, two], run.susceptibility[:, kinds:], run.infectiousness
    n2, n3 = ((people.agents * share.numpy()).sum(0) for share in (1 - u, u))
    n2, n3 = (torch.as_tensor(n).to(s2) for n in (n2, n3))
    taken = by_period(run.infections[:, :, 1:].sum((2, 3))).mT
    hazard2, hazard3 = summed_hazards(taken, n2, n3, s2, s3)
    step = hazard2 - hazard3
    slope2, slope3 = (torch.where(step.abs() < 1e-6, 1.0, torch.expm1(x) / x) for x in (step, -step))
    ill2, ill3 = (-torch.expm1(-x) for x in (hazard2, hazard3))
    # what an infection does counts at the other kind's number of infections: the product of two steps has then no error
    after2, after3 = ill3 / ill2.clamp_min(1e-9), ill2 / ill3.clamp_min(1e-9)
    by_group = people.agents.shape
    factors = grads[0] / run.first.clamp_min(1e-12)
    g_sigma, g_rho = (g[:, kinds:].unflatten(1, (2, *by_group)) for g in (factors, grads[1]))  # [P, 2, R, A, ...]
    each = g_sigma[:, 0] * slope2[:, None, :, None] + g_sigma[:, 1] * slope3[:, None, :, None]
    out = (each * (s3 - s2)[:, None]).sum(-1)
    shed = (g_rho * (rho[:, kinds:] - rho[:, two])[:, None, None]).sum(-1)
    out = out + shed[:, 0] * after2[:, None] + shed[:, 1] * after3[:, None]
    fewer = (run.risk[:, :, 2] - run.risk[:, :, 1])[:, :, None]
    return out + ((run.sent[:, :, 1] * after2[:, None, None] + run.sent[:, :, 2] * after3[:, None, None]) * fewer).sum(
        1
    )


def summed_hazards(taken: Tensor, n2: Tensor, n3: Tensor, s2: Tensor, s3: Tensor) -> tuple[Tensor, Tensor]:
    """Hazards `[P, A]` summed over the wave of somebody with two doses and of somebody boosted.

    Period by period, the pressure Lambda on a susceptibility of 1 is that which infects as many of those left as were infected.

    Args:
        taken: `[P, A, S]` agents infected of both kinds.
        n2: `[A]` agents with two doses.
        n3: `[A]` agents boosted.
        s2: `[P, A, S]` susceptibility with two doses.
        s3: `[P, A, S]` susceptibility boosted.
    """
    hazard2 = hazard3 = torch.zeros_like(taken[..., 0])
    for s in range(taken.shape[-1]):
        left2, left3 = n2 * torch.exp(-hazard2), n3 * torch.exp(-hazard3)
        pressure = summed_pressure(taken[..., s], left2, left3, s2[..., s], s3[..., s])
        hazard2, hazard3 = hazard2 + s2[..., s] * pressure, hazard3 + s3[..., s] * pressure
    return hazard2, hazard3


def summed_pressure(taken: Tensor, n2: Tensor, n3: Tensor, s2: Tensor, s3: Tensor) -> Tensor:
    """Lambda `[P, A]` at which `n2 (1 - exp(-s2 Lambda)) + n3 (1 - exp(-s3 Lambda))` agents are infected, by Newton's method from below."""
    people = n2 + n3
    taken = torch.minimum(taken, 0.99 * people)
    out = taken / (n2 * s2 + n3 * s3).clamp_min(1e-9)
    for _ in range(30):
        left2, left3 = n2 * torch.exp(-s2 * out), n3 * torch.exp(-s3 * out)
        out = out + (taken - people + left2 + left3) / (s2 * left2 + s3 * left3).clamp_min(1e-9)
    return torch.where(people > 0, out, 0.0)
