"""One batch of epidemics with third doses given by a policy, and the derivative of a discrete switch from two doses to three."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import ode
import sim
from experiments.nz_calibration._figures import AGE_BANDS, DISTRICTS, DOSES
from experiments.nz_calibration._model import Simulator, _usable
from experiments.nz_calibration._observation import Observation, fatality, severity
from experiments.nz_calibration._rates import HostTables, host_tables, make_rates
from experiments.what_if._dose_people import CLASSES, GROUPS, KINDS, TWO, DosePeople, kind_of_host
from sim import Population, Rates

AGES = len(AGE_BANDS)
Risk = Callable[[Mapping[str, Tensor], HostTables, Observation], Tensor]
TARGETS: dict[str, Risk] = {"admissions": severity, "deaths": fatality}
"""What a policy may be to lower, and `[P, A]` how many of it an infection leads to."""


@dataclass(frozen=True, eq=False)
class DoseRun:
    """A batch of simulations.

    Attributes:
        infections: `[P, T, C, R, A]` agents by day, class (`CLASSES`), district and age.
        ending: `[P, W, C, R, A]` people infected, by the week of the admission (or death) that would follow.
        risk: `[P, C, A]` admissions (or deaths) per infection.
        susceptibility: `[P, 32 + 8]`, infectiousness: `[P, 32 + 8, D]` by kind of host, the last 8 with a third dose by the policy.
        leaves: susceptibility and infectiousness by archetype and `[P, 1, 32 + 8]` kinds' shares of the country, to differentiate in.
    """

    infections: Tensor
    ending: Tensor
    risk: Tensor
    susceptibility: Tensor
    infectiousness: Tensor
    leaves: tuple[Tensor, Tensor, Tensor]

    def target(self) -> Tensor:
        """`[P, W, A]` expected admissions (or deaths) by week and age."""
        return torch.einsum("pwcra,pca->pwa", self.ending, self.risk)


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
    age = torch.tensor(ode.AGE_MIDPOINTS, dtype=torch.float64)
    base = simulator.context.archetypes
    hosts = ode.Archetypes(
        torch.cat((base.age_midpoint, age.to(base.age_midpoint))),
        torch.cat((base.doses, torch.full_like(age, TWO + 1.0).to(base.doses))),
        torch.cat((base.days_since_last_dose, torch.full_like(age, since).to(base.doses))),
    )
    kinds = shares(simulator.context.kinds, u, people).expand(len(streams), 1, -1)
    context = replace(simulator.context, archetypes=hosts)
    tables = host_tables(theta, context)
    index = kind_of_host().to(o.week.device)
    sigma, rho, kinds = (
        x.detach().clone().requires_grad_(track)
        for x in (tables.susceptibility[:, index], tables.infectiousness[:, index], kinds)
    )
    population = people.given(u)
    rates = make_rates(theta, replace(tables, infectiousness=rho, susceptibility=sigma), replace(context, kinds=kinds))
    rates, good = _usable(told_apart(rates, population), tables)
    incidence = sim.epidemic(population, rates, seed, streams=streams, backend=simulator.backend)
    infections = incidence.unflatten(-1, (len(CLASSES), len(DISTRICTS), AGES))
    nan = torch.where(good, 1.0, torch.nan).to(o.week)
    delay = o.admit if target == "admissions" else o.die
    ending = torch.einsum("wt,ptcra->pwcra", o.week @ delay.T, infections * o.people) * nan.reshape(-1, 1, 1, 1, 1)
    risk = risks(theta, tables, o, TARGETS[target])
    risk = risk if level is None else risk * level.to(o.week)[:, None, :]
    return DoseRun(infections, ending, risk, tables.susceptibility, tables.infectiousness, (sigma, rho, kinds))


def shares(kinds: Tensor, u: Tensor, people: DosePeople) -> Tensor:
    """`[32 + 8]` share of a kind in the country's people, from those of the study's kinds `[32]`."""
    given = boosted_by_age(u, people).to(kinds)
    two = torch.arange(AGES, device=kinds.device) * len(DOSES) + TWO
    moved = kinds[two] * given
    return torch.cat((kinds.index_add(0, two, -moved), moved))


def boosted_by_age(u: Tensor, people: DosePeople) -> Tensor:
    """`[A]` share boosted of those with two doses in the country."""
    return (people.eligible * u).sum(0) / people.eligible.sum(0).clamp_min(1e-9)


def told_apart(rates: Rates, population: Population) -> Rates:
    """Rates of the study's 160 groups for groups told apart by class: who meets whom stays as it was.

    The mean infectiousness of a group is that of its classes, each with its share of the agents.
    """
    size = torch.as_tensor(population.group_size).to(rates.mixing).reshape(len(CLASSES), GROUPS)
    part = size / size.sum(0).clamp_min(1.0)
    mixing = rates.mixing[:, None, :, None, :] * part  # [P, 1, G, C', G']
    mixing = mixing.flatten(3).expand(-1, len(CLASSES), -1, -1).flatten(1, 2)
    return replace(rates, mixing=mixing, importation=rates.importation.repeat(1, 1, len(CLASSES)))


def risks(theta: Mapping[str, Tensor], hosts: HostTables, o: Observation, risk: Risk) -> Tensor:
    """`[P, C, A]` admissions or deaths per infection by class, with tables of the 32 + 8 kinds of host.

    Others are mixed as the country's people without two doses are, by number and susceptibility.
    """
    age = torch.arange(AGES, device=o.share.device)
    other = torch.nn.functional.pad(o.share, (0, AGES))
    other[age, age * len(DOSES) + TWO] = 0.0
    other = other + 1e-12 * (other.sum(-1, keepdim=True) == 0)
    two, third = (
        torch.nn.functional.one_hot(k, KINDS + AGES).to(o.share) for k in (age * len(DOSES) + TWO, KINDS + age)
    )
    return torch.stack([risk(theta, hosts, replace(o, share=mix)) for mix in (other, two, third)], 1)


def switched(run: DoseRun, grads: tuple[Tensor, ...], u: Tensor, people: DosePeople) -> Tensor:
    """`[P, R, A]` derivative of each simulation's admissions in the share boosted, from the gradients in `run.leaves`.

    Boosting moves an agent from one kind of host to another, a step and not a small change. Reverse mode gives what a small change of
    susceptibility, infectiousness and risk does, for those with two doses and for those boosted alike; each is weighted so that it says
    what the whole step does to the agent itself, given the pressure on it: with Lambda the pressure summed over the wave, found from the
    infections of the age band, `exp(-s Lambda)` of a kind escape, and the step between two kinds is a secant of that curve, not a tangent.
    """
    sigma, rho = run.susceptibility, run.infectiousness
    two = torch.arange(AGES, device=sigma.device) * len(DOSES) + TWO
    s2, s3 = sigma[:, two], sigma[:, KINDS:]
    n2, n3 = ((people.agents * share.numpy()).sum(0) for share in (1 - u, u))
    n2, n3 = (torch.as_tensor(n).to(sigma) for n in (n2, n3))
    taken = run.infections[:, :, 1:].sum((1, 2, 3))
    pressure = summed_pressure(taken, n2, n3, s2, s3)
    step = (s2 - s3) * pressure
    slope2, slope3 = (torch.where(step.abs() < 1e-6, 1.0, torch.expm1(x) / x) for x in (step, -step))
    ill2, ill3 = (-torch.expm1(-s * pressure) for s in (s2, s3))
    # what an infection does counts at the other kind's number of infections: the product of two steps has then no error
    after2, after3 = ill3 / ill2.clamp_min(1e-9), ill2 / ill3.clamp_min(1e-9)
    by_group = (len(DISTRICTS), AGES)
    g_sigma, g_rho = (g[:, KINDS:].unflatten(1, (2, *by_group)) for g in grads[:2])  # [P, 2, R, A, ...]
    out = (g_sigma[:, 0] * slope2[:, None] + g_sigma[:, 1] * slope3[:, None]) * (s3 - s2)[:, None]
    shed = (g_rho * (rho[:, KINDS:] - rho[:, two])[:, None, None]).sum(-1)
    out = out + shed[:, 0] * after2[:, None] + shed[:, 1] * after3[:, None]
    sent = run.ending.sum(1)  # [P, C, R, A]
    fewer = (run.risk[:, 2] - run.risk[:, 1])[:, None]
    out = out + (sent[:, 1] * after2[:, None] + sent[:, 2] * after3[:, None]) * fewer
    # antibody wanes for all alike, by the mean over the country's kinds of host
    moved = (grads[2][:, 0, KINDS:] - grads[2][:, 0, two]) * kinds_with_two(run)
    part = people.eligible / people.eligible.sum(0).clamp_min(1e-9)
    return out + moved[:, None] * part.to(sigma)


def kinds_with_two(run: DoseRun) -> Tensor:
    """`[P, A]` share of the country's people with two doses or boosted by the policy."""
    kinds = run.leaves[2][:, 0].detach()
    two = torch.arange(AGES, device=kinds.device) * len(DOSES) + TWO
    return kinds[:, two] + kinds[:, KINDS:]


def summed_pressure(taken: Tensor, n2: Tensor, n3: Tensor, s2: Tensor, s3: Tensor) -> Tensor:
    """Lambda `[P, A]` at which `n2 (1 - exp(-s2 Lambda)) + n3 (1 - exp(-s3 Lambda))` agents are infected, by Newton's method from below."""
    people = n2 + n3
    taken = torch.minimum(taken, 0.99 * people)
    out = taken / (n2 * s2 + n3 * s3).clamp_min(1e-9)
    for _ in range(30):
        left2, left3 = n2 * torch.exp(-s2 * out), n3 * torch.exp(-s3 * out)
        out = out + (taken - people + left2 + left3) / (s2 * left2 + s3 * left3).clamp_min(1e-9)
    return torch.where(people > 0, out, 0.0)
