"""What a question can change: sites of the Pyro model with the value they have in the calibrated world.

Every lever is a deterministic site whose default leaves the calibrated model as it is, so that chirho's `do` reaches it like any
parameter. Assumptions are sites too: numbers that the calibration did not see and a question needs, drawn from priors of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from torch import Tensor

from epi.errors import StudyError
from epi.model.immunity import Campaign
from epi.model.observation import Observation
from epi.model.parameters import distribution
from epi.model.transmission import Context, HostTables, with_kinds
from epi.scenarios.outcome import reported_share
from epi.scenarios.people import HostKinds
from epi.study import Cases, Delay, Measures, Prior, Study
from sim import COMMUNITY, HOUSEHOLD, VENUES, Rates

CONTACTS = {
    "contacts_household": HOUSEHOLD,
    "contacts_community": COMMUNITY,
    "contacts_school": VENUES,
    "contacts_work": VENUES + 1,
}
"""Levers that multiply transmission day by day, `[T]`, and the row of `sim.Rates.transmission` that each multiplies."""


def measures_of(study: Study) -> Measures:
    """Restrictions and isolation of a study.

    Raises:
        StudyError: it has none, or other layers than school and work.
    """
    if study.measures is None or study.layers != tuple(name.removeprefix("contacts_") for name in CONTACTS):
        raise StudyError(
            f"Questions about contacts need a study with schools, workplaces and measures, and {study.name!r} is another; add them to it."
        )
    return study.measures


def report_delay(study: Study) -> Delay:
    """Delay from infection to report of the study's first cases."""
    found = study.first_stream(Cases)
    if not isinstance(found, Cases):
        raise StudyError(
            f"Questions about isolation need a stream of cases, and study {study.name!r} has none; add one."
        )
    return found.delay


def usual_test_delay(study: Study) -> float:
    """Days from symptoms to the result of the test in the calibrated world."""
    return report_delay(study).mean - measures_of(study).incubation


@dataclass(frozen=True)
class Lever:
    """One lever: what it is, its unit and the smallest and largest value that make sense."""

    name: str
    meaning: str
    unit: str
    low: float
    high: float


LEVERS: tuple[Lever, ...] = (
    *(
        Lever(name, f"factor on transmission {where}, by day", "factor", 0.0, math.inf)
        for name, where in zip(CONTACTS, ("at home", "elsewhere", "at school", "at work"), strict=True)
    ),
    Lever("doses", "vaccine doses of each kind of host", "doses", 0.0, 3.0),
    Lever("days_since_dose", "days between the last dose and exposure, of each kind of host", "days", 0.0, math.inf),
    Lever("red_from", "day on which restrictions begin, counted from the start of the study", "day", -45.0, math.inf),
    Lever("isolation_days", "days that a case isolates from the positive result on", "days", 0.0, math.inf),
    Lever("test_delay", "days from symptoms to the result of the test", "days", 0.0, math.inf),
    Lever("false_positives", "share of positive results that belong to people not infected", "share", 0.0, 0.95),
)


ASSUMPTIONS = ("red_effect", "isolation_effect")
"""Numbers that a question needs and the calibration did not see; a study's `Measures` hold their priors."""


def assumptions(study: Study) -> dict[str, Prior]:
    """The priors of what a question needs and the calibration did not see."""
    measures = measures_of(study)
    return dict(zip(ASSUMPTIONS, (measures.restrictions_effect, measures.isolation_effect), strict=True))


def levers(context: Context, kinds: HostKinds) -> dict[str, Tensor]:
    """Levers and assumptions as sites of the enclosing Pyro model; without `do` the calibrated world."""
    here, study = context.opened, context.study
    measures = measures_of(study)
    values: dict[str, Tensor] = {name: torch.ones_like(here) for name in CONTACTS}
    values |= {"doses": kinds.hosts.doses.to(here), "days_since_dose": kinds.hosts.days_since_last_dose.to(here)}
    values |= {
        "red_from": here.new_tensor(float(study.calendar.day_of(measures.restrictions_from))),
        "isolation_days": here.new_tensor(measures.isolation_days),
        "test_delay": here.new_tensor(usual_test_delay(study)),
        "false_positives": here.new_tensor(0.0),
    }
    out = {name: pyro.deterministic(name, value, event_dim=value.dim()) for name, value in values.items()}
    for name, prior in assumptions(study).items():
        described: Any = {"unit": prior.unit, "reason": prior.reason}
        out[name] = pyro.sample(name, distribution(prior), infer=described)
    return out


def moved_context(theta: Mapping[str, Tensor], context: Context, kinds: HostKinds) -> Context:
    """The context with the doses of this world."""
    doses, days = theta["doses"], theta["days_since_dose"]
    age = kinds.hosts.age_midpoint.to(doses).expand_as(doses)
    hosts = replace(kinds.hosts, age_midpoint=age, doses=doses, days_since_last_dose=days)
    return with_kinds(context, hosts, moved_campaign(doses, context.campaign, kinds))


def moved_campaign(doses: Tensor, campaign: Campaign, kinds: HostKinds) -> Campaign:
    """The third doses given during the wave in a world with `doses [*batch, K]`.

    Where a kind has its calibrated number of doses they are given as they were, to people told apart and others alike. Where those told
    apart, who were given them, have another number from the start, nobody else of their age is given one.
    """
    as_it_was = doses == kinds.hosts.doses.to(doses)
    told_apart = as_it_was[..., kinds.soon]
    as_it_was = as_it_was.index_copy(-1, kinds.two.to(doses.device), as_it_was[..., kinds.two] & told_apart)
    alike = kinds.alike.to(doses.device)
    share = campaign.share[..., alike] * as_it_was[..., None, :]
    return replace(campaign, share=share, days=campaign.days[..., alike].expand_as(share))


def moved_observation(o: Observation, kinds: HostKinds) -> Observation:
    """The observation with the kinds of host of the questions; what their doses do lies in their within-host tables."""
    return replace(o, share=kinds.share.to(o.share))


def moved_theta(theta: Mapping[str, Tensor], hosts: HostTables, study: Study) -> dict[str, Tensor]:
    """The parameters with the seeding that an earlier or later red setting would have left.

    Each day by which red comes earlier (before people meet outside their homes) lowers what is seeded by the factor
    `(1 - red_effect)^(1 / generation time)`: chains of infection that were not continued.
    """
    day = torch.arange(1, hosts.infectiousness.shape[-1] + 1).to(hosts.infectiousness)
    mean = hosts.infectiousness.mean(-2)
    generation = (mean * day).sum(-1) / mean.sum(-1)
    opened = float(study.calendar.day_of(study.calendar.opened))
    earlier = study.calendar.day_of(measures_of(study).restrictions_from) - theta["red_from"].clamp(max=opened)
    factor = (torch.log1p(-theta["red_effect"]) * earlier / generation).exp()
    return {**theta, "seed_level": theta["seed_level"] * factor}


def moved_hosts(theta: Mapping[str, Tensor], hosts: HostTables, study: Study) -> HostTables:
    """Host tables with the isolation of this world in place of the calibrated one."""
    days = hosts.infectiousness.shape[-1]
    here = isolated(theta["test_delay"], theta["isolation_days"], days, study)
    one = torch.ones_like(here[..., 0])
    usual = isolated(usual_test_delay(study) * one, measures_of(study).isolation_days * one, days, study)
    share = (theta[reported_share(study)] * theta["isolation_effect"])[..., None]
    factor = (1 - share * here) / (1 - share * usual)
    return replace(hosts, infectiousness=hosts.infectiousness * factor[..., None, :])


def isolated(delay: Tensor, length: Tensor, days: int, study: Study) -> Tensor:
    """Probability `[*batch, D]` that a case isolates on the day d after infection.

    From the positive result, at incubation plus `delay` days (gamma as the study's report delay, moved along), for `length` days.
    """
    report = report_delay(study)
    shape, rate = (report.mean / report.sd) ** 2, report.mean / report.sd**2
    day = torch.arange(1, days + 1).to(delay) - (delay[..., None] - usual_test_delay(study))

    def known(x: Tensor) -> Tensor:
        return torch.special.gammainc(torch.full_like(x, shape), rate * x.clamp_min(1e-6))

    return known(day) - known(day - length[..., None])


def moved_rates(theta: Mapping[str, Tensor], rates: Rates, usual: HostTables, context: Context) -> Rates:
    """Rates with the contacts of this world.

    Isolation is from people outside the home: transmission at home is scaled so that what a case passes on there in all stays as it was.
    """
    factors = [torch.ones_like(rates.transmission[..., 0, :])] * rates.transmission.shape[-2]
    for name, row in CONTACTS.items():
        factors[row] = factors[row] * theta[name]
    day = torch.arange(context.days, dtype=context.opened.dtype, device=context.opened.device)
    late = (day < theta["red_from"][..., None]) & (day >= context.study.calendar.day_of(context.study.calendar.opened))
    loose = torch.where(late, 1 / (1 - theta["red_effect"][..., None]), 1.0)
    for row in (COMMUNITY, VENUES, VENUES + 1):
        factors[row] = factors[row] * loose
    home = usual.infectiousness.sum((-1, -2)) / rates.infectiousness.sum((-1, -2))
    factors[HOUSEHOLD] = factors[HOUSEHOLD] * home[..., None]
    return replace(rates, transmission=rates.transmission * torch.stack(factors, -2))
