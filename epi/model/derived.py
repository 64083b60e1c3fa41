"""Quantities derived from an epidemic: infections, attack rates, Rt, ascertainment, fatality and admission ratios, hospital days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from epi.model.epidemic import Epidemic, infected_kinds, weekly
from epi.study import Admissions, Cases, Deaths, Fatality, Occupancy, Reporting, Severity, Study

__all__ = ["Derived", "Quantity", "derive", "flatten", "quantities", "renewal", "split"]

ALL = "all"
PRESSURE = 5.0
"""Infections that those before would make in a week at a reproduction number of 1, from which on Rt is given."""


@dataclass(frozen=True)
class Quantity:
    """A derived quantity and its axes.

    Attributes:
        name: of the quantity.
        unit: of its values.
        by: axis of its places, `all` for one.
        places: their names.
        weekly: whether it has a value for each week.
    """

    name: str
    unit: str
    by: str
    places: tuple[str, ...]
    weekly: bool

    def size(self, weeks: int) -> int:
        """Number of its values."""
        return (weeks if self.weekly else 1) * len(self.places)


Derived = Mapping[tuple[str, str], Tensor]
"""Values by (name, axis of places): `[*batch, W, place]`, or `[*batch, 1, place]` where there is one for the whole time."""


def quantities(study: Study) -> tuple[Quantity, ...]:
    """The quantities of a study: those that its parts and streams give."""
    region, age = (study.region.axis, study.region.names), ("age", study.ages.names)
    whole = (ALL, (ALL,))
    found = [Quantity("infections", "people a week", *places, True) for places in (whole, region, age)]
    found += [Quantity("attack rate", "%", *places, False) for places in (whole, region, age)]
    found += [Quantity("infections per 100,000", "per 100,000", *places, False) for places in (whole, region, age)]
    found += [Quantity("Rt", "infections per infection", *places, True) for places in (whole, region)]
    reporting = study.part(Reporting)
    if reporting is not None and study.first_stream(Cases) is not None:
        found.append(Quantity("ascertainment", "%", *whole, True))
        found.append(Quantity("ascertainment", "%", "regime", tuple(r.name for r in reporting.regimes), False))
    if study.part(Severity) is not None and study.first_stream(Admissions) is not None:
        found += [Quantity("infection-hospitalisation ratio", "%", *places, False) for places in (whole, age)]
    if study.part(Fatality) is not None and study.first_stream(Deaths) is not None:
        found += [Quantity("infection-fatality ratio", "%", *places, False) for places in (whole, age)]
    if study.part(Severity) is not None and study.first_stream(Occupancy) is not None:
        found.append(Quantity("hospital days", "days a week", *whole, True))
        found += [Quantity("hospital days of all infected", "days", *places, False) for places in (whole, region)]
    return tuple(found)


def derive(epidemic: Epidemic) -> Derived:
    """The derived quantities of epidemics; rates and ratios refer to the days up to the last week.

    An attack rate counts infections, second ones too, over people. The ratios are those of all who were infected. Ascertainment by week is
    of the infections of that week, whenever they are reported.

    Args:
        epidemic: of particles `[*batch]`.
    """
    o, study = epidemic.fixed, epidemic.fixed.study
    region, x = study.region.axis, epidemic.infections
    last = int(o.week[-1].nonzero().max()) + 1
    people = torch.as_tensor(o.setting.data.population, dtype=x.dtype, device=x.device)
    out: dict[tuple[str, str], Tensor] = {}
    for by in (ALL, region, "age"):
        out["infections", by] = weekly(o.week, epidemic.places(by, x))
        share = epidemic.places(by, x[..., :last, :, :].sum(-3, keepdim=True)) / epidemic.places(by, people[None])
        out["attack rate", by], out["infections per 100,000", by] = 100 * share, 1e5 * share
    profile = generation_interval(epidemic)
    for by in (ALL, region):
        out["Rt", by] = renewal(epidemic.places(by, x), profile, o.week)
    wanted = {(q.name, q.by) for q in quantities(study)}
    if ("ascertainment", ALL) in wanted:
        out["ascertainment", ALL], out["ascertainment", "regime"] = _ascertainment(epidemic)
    total = epidemic.by_age[..., :last, :].sum(-2)
    for name, risk in (("hospitalisation", "admitted"), ("fatality", "dead")):
        if (f"infection-{name} ratio", ALL) in wanted:
            leading = (epidemic.by_age * getattr(epidemic, risk))[..., :last, :].sum(-2)
            out[f"infection-{name} ratio", "age"] = 100 * (leading / total)[..., None, :]
            out[f"infection-{name} ratio", ALL] = 100 * (leading.sum(-1) / total.sum(-1))[..., None, None]
    if ("hospital days", ALL) in wanted:
        each = epidemic.theta["hospital_days"][..., None, None]
        daily = epidemic.with_risk(ALL, epidemic.admitted)
        out["hospital days", ALL] = each * weekly(o.week @ o.stay.T, daily)
        for by in (ALL, region):
            admitted = epidemic.with_risk(by, epidemic.admitted)[..., :last, :]
            out["hospital days of all infected", by] = each * admitted.sum(-2, keepdim=True)
    return out


def generation_interval(epidemic: Epidemic) -> Tensor:
    """`[*batch, D]` share of infectiousness on each day after an infection, mean over who is infected; sum 1.

    Of those infected by age in the whole time and by archetype in the first period; rates that change within a generation are not followed.
    """
    kinds = infected_kinds(epidemic.hosts, epidemic.fixed)[..., 0, :, :]
    by_age = epidemic.by_age.sum(-2)
    weight = torch.einsum("...a,...ak->...k", by_age / by_age.sum(-1, keepdim=True).clamp_min(1e-12), kinds)
    profile = torch.einsum("...k,...kd->...d", weight, epidemic.hosts.infectiousness)
    return profile / profile.sum(-1, keepdim=True).clamp_min(torch.finfo(profile.dtype).tiny)


def renewal(infections: Tensor, profile: Tensor, week: Tensor) -> Tensor:
    """Instantaneous reproduction number by week: infections over what those before would make at a reproduction number of 1.

    `R = sum_t I_t / sum_t sum_s w_s I_{t-s}` over the days t of a week. Infections from outside count as if they were from within, so it is
    too high where they matter. NaN in weeks in which fewer than `PRESSURE` infections are expected at 1.

    References:
        Fraser 2007, PLoS ONE 2:e758 (eq. 1). Cori et al. 2013, Am J Epidemiol 178:1505 (the ratio over a window).

    Args:
        infections: `[*batch, T, X]` by day.
        profile: `[*batch, D]` generation interval from the day after infection on, sum 1.
        week: `[W, T]` 1 where a day lies in a week.

    Returns:
        `[*batch, W, X]`.
    """
    days, pressure = infections.shape[-2], torch.zeros_like(infections)
    for d in range(min(profile.shape[-1], days - 1)):
        before = profile[..., d, None, None] * infections[..., : days - d - 1, :]
        pressure = pressure + torch.nn.functional.pad(before, (0, 0, d + 1, 0))
    expected = weekly(week, pressure)
    return torch.where(expected >= PRESSURE, weekly(week, infections) / expected, torch.nan)


def _ascertainment(epidemic: Epidemic) -> tuple[Tensor, Tensor]:
    """Per cent of infections that are ever reported: `[*batch, W, 1]` by week of infection, `[*batch, 1, regime]` of each regime."""
    o, theta = epidemic.fixed, epidemic.theta
    names = [f"ascertainment_{r.name}" for r in o.study.need(Reporting, "Ascertainment").regimes]
    share = theta[names[0]][..., None].expand(*theta[names[0]].shape, epidemic.days)
    for name, when in zip(names[1:], o.regimes, strict=True):
        share = share + (theta[name][..., None] - share) * when
    delay = o.first(Cases).delay
    beyond = 1 - delay.sum(1)  # reported after the last day, as on the last day
    by_day = share @ delay.T + beyond * share[..., -1:]
    daily = epidemic.places(ALL, epidemic.infections)
    by_week = weekly(o.week, daily * by_day[..., None]) / weekly(o.week, daily)
    return 100 * by_week, 100 * torch.stack([theta[n] for n in names], -1)[..., None, :]


def flatten(study: Study, values: Derived) -> Tensor:
    """All values side by side, `[*batch, Q]`, in the order of `quantities`."""
    return torch.cat([values[q.name, q.by].flatten(-2) for q in quantities(study)], -1)


def split(study: Study, weeks: int, flat: Tensor) -> Derived:
    """Inverse of `flatten`."""
    every = quantities(study)
    parts = flat.split([q.size(weeks) for q in every], -1)
    return {(q.name, q.by): x.unflatten(-1, (-1, len(q.places))) for q, x in zip(every, parts, strict=True)}
