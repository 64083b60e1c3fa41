"""From infections to expected reports: delays, ascertainment, admission, death, wastewater."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import gamma
from torch import Tensor

from epi.data.load import AGE_BANDS, DISTRICTS, Figures
from epi.model.parameters import SEVERITY_BAND, WASTEWATER_AREA
from epi.model.transmission import HostTables
from epi.study import calendar
from epi.study.streams import AREAS, SIGNALS
from sim import PERIOD, Population

REPORT_DELAY = (5.0, 2.2)
"""Mean and sd in days from infection to report: incubation of Omicron 3.4 days (Wu et al. 2022, JAMA Netw Open 5:e2228008) and
1.6 days from symptoms to a recorded test (chosen)."""
ADMISSION_DELAY = (8.5, 4.0)
"""Mean and sd in days from infection to admission (chosen: incubation and about five days from symptoms)."""
DEATH_DELAY = (19.0, 9.0)
"""Mean and sd in days from infection to death (chosen: incubation and some fifteen days from symptoms, as in earlier waves; Linton et
al. 2020, J Clin Med 9:538)."""
STAY = (5.0, 5.0)
"""Mean and sd in days of a stay in hospital: the shape alone, how many days an admission counts is the parameter `hospital_days` (chosen)."""
DETECTION_DELAY = (6.0, 2.5)
"""Mean and sd in days from infection to the positive test of somebody tested every week (chosen)."""
LONGEST_DELAY = 28
LONGEST_TO_DEATH = 63
REFERENCE_AGE = 35.0
FATALITY_AGE = 75.0
"""Age in years to which `fatality_level` belongs: deaths of people of 35 are too few to know them by."""
WORKING_AGES = ("20-29", "30-39", "40-49", "50-59", "60-69")


@dataclass(frozen=True, eq=False)
class Observation:
    """The fixed part of the observation model, tensors of the run.

    Attributes:
        weeks: the W weeks.
        people: `[R, A]` people an agent of a group stands for.
        report, admit, die, detect: `[T, T]` share of the infections of a day (row) reported, admitted, dead or found by routine tests on
            a day (column). stay: the same for people in hospital, of whom there is one on one day for each admission.
        week: `[W, T]`. day: `[W, T]` 1 over the days of the week on which people in hospital were counted. rapid: `[T]` 1 on report
            dates with rapid tests.
        age: `[Y]` decades from age 35 to the middles of five-year bands. within: `[A, Y]` their share in the people of an age band, rows
            sum to 1. share: `[*batch, A, K]` kinds of host in an age band, rows sum to 1.
        area: `[area, R]` people of a district over those of the area. inhabitants: `[R]`. workers: `[A]` share of people of working
            age in all people of the band over their number, per 1,000.
    """

    weeks: pd.DatetimeIndex
    people: Tensor
    report: Tensor
    admit: Tensor
    die: Tensor
    stay: Tensor
    detect: Tensor
    week: Tensor
    day: Tensor
    rapid: Tensor
    age: Tensor
    within: Tensor
    share: Tensor
    area: Tensor
    inhabitants: Tensor
    workers: Tensor


@dataclass(frozen=True)
class Expected:
    """Expected weekly figures, `[*batch, W, place]`.

    Attributes:
        cases_district, cases_age, admissions_age, infections_district, deaths_age: people.
        occupancy_district: people in hospital on a day, mean of the week.
        wastewater_area: million genome copies a person a day, mean of the week.
        border_cohort: new infections per 1,000 workers.
    """

    cases_district: Tensor
    cases_age: Tensor
    admissions_age: Tensor
    infections_district: Tensor
    deaths_age: Tensor
    occupancy_district: Tensor
    wastewater_area: Tensor
    border_cohort: Tensor

    def flat(self) -> Tensor:
        """All of them side by side, `[*batch, W * places]`."""
        return torch.cat([getattr(self, name).flatten(-2) for name in PLACES], dim=-1)

    @staticmethod
    def from_flat(flat: Tensor, weeks: int) -> Expected:
        """Inverse of `flat`."""
        parts = flat.split([weeks * len(places) for places in PLACES.values()], dim=-1)
        return Expected(
            *(x.unflatten(-1, (weeks, len(places))) for x, places in zip(parts, PLACES.values(), strict=True))
        )


PLACES: dict[str, tuple[str, ...]] = {
    name: DISTRICTS if name == "infections_district" else SIGNALS[name].places for name in Expected.__dataclass_fields__
}
"""Last axis of every field of `Expected`."""


def make_observation(
    figures: Figures,
    population: Population,
    days: int,
    index: pd.DatetimeIndex,
    device: torch.device,
    dtype: torch.dtype,
) -> Observation:
    """Gather the fixed part of the observation model."""

    def real(x: NDArray[np.floating] | NDArray[np.integer]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), dtype=dtype, device=device)

    people = np.repeat(population.people_per_agent[:, None], len(AGE_BANDS), axis=1)
    inhabitants = figures.population.sum(1).astype(float)
    working = np.array([band in WORKING_AGES for band in AGE_BANDS]) * 1e3
    admit, week = delay_matrix(days, *ADMISSION_DELAY), calendar.week_matrix(days, index)
    counted = week * (np.arange(days) >= calendar.day_of(calendar.OCCUPANCY_FROM))
    return Observation(
        weeks=index,
        people=real(people),
        report=real(delay_matrix(days, *REPORT_DELAY)),
        admit=real(admit),
        die=real(delay_matrix(days, *DEATH_DELAY, longest=LONGEST_TO_DEATH)),
        stay=real(admit @ stay_matrix(days, *STAY)),
        detect=real(delay_matrix(days, *DETECTION_DELAY)),
        week=real(week),
        day=real(np.where(counted.any(1, keepdims=True), counted, week)),
        rapid=real((np.arange(days) >= calendar.day_of(calendar.RAPID_TESTS)).astype(float)),
        age=real((figures.ages["from_age"].to_numpy(float) + 2.5 - REFERENCE_AGE) / 10),
        within=real(ages_within(figures)),
        share=real(kinds_by_age(figures)),
        area=real(
            np.array([[(d in districts) * n for d, n in zip(DISTRICTS, inhabitants, strict=True)] for districts, _ in AREAS.values()])
            / np.array([[sum(n for d, n in zip(DISTRICTS, inhabitants, strict=True) if d in districts)] for districts, _ in AREAS.values()])
        ),
        inhabitants=real(inhabitants),
        workers=real(working / (figures.population.sum(0) * (working > 0)).sum()),
    )  # fmt: skip


def kinds_by_age(figures: Figures) -> NDArray[np.float64]:
    """`[A, K]` share of the kinds of host (age band times doses) in the people of an age band."""
    national = (figures.vaccination * figures.population[..., None]).sum(0)
    national = national / national.sum(-1, keepdims=True)
    ages, doses = national.shape
    out = np.zeros((ages, ages * doses))
    for a in range(ages):
        out[a, a * doses : (a + 1) * doses] = national[a]
    return out


def ages_within(figures: Figures) -> NDArray[np.float64]:
    """`[A, Y]` share of five-year bands in the people of an age band. Who is 70 and more is of many ages, and risk grows steeply."""
    part = figures.ages["age_band"].to_numpy() == np.array(AGE_BANDS)[:, None]
    people = part * figures.ages["people"].to_numpy(float)
    shares: NDArray[np.float64] = people / people.sum(1, keepdims=True)
    return shares


def delay_matrix(days: int, mean: float, sd: float, longest: int = LONGEST_DELAY) -> NDArray[np.float64]:
    """`[T, T]` gamma-distributed delay between days, cut at `longest`; rows sum to 1 where the delay fits the days left.

    Both ends lie anywhere in their days, so a lag of k days has the delays between k - 1 and k + 1, most of all k: the mean is kept.
    """
    shape, scale = (mean / sd) ** 2, sd**2 / mean
    x = np.arange(-1, longest + 2).clip(0)
    # the integral of the distribution function, whose second differences are the mass of a lag
    total = x * gamma.cdf(x, shape, scale=scale) - mean * gamma.cdf(x, shape + 1, scale=scale)
    mass = np.diff(total, 2)
    mass /= mass.sum()
    return _by_lag(days, mass)


def stay_matrix(days: int, mean: float, sd: float) -> NDArray[np.float64]:
    """`[T, T]` people there on a day (column) for each who came on a day (row), in all on one day."""
    left = gamma.sf(np.arange(LONGEST_DELAY + 1), (mean / sd) ** 2, scale=sd**2 / mean)
    return _by_lag(days, left / left.sum())


def _by_lag(days: int, mass: NDArray[np.float64]) -> NDArray[np.float64]:
    lag = np.arange(days) - np.arange(days)[:, None]
    return np.where((lag >= 0) & (lag < len(mass)), mass[np.clip(lag, 0, len(mass) - 1)], 0.0)


def observe(theta: Mapping[str, Tensor], hosts: HostTables, incidence: Tensor, o: Observation) -> Expected:
    """Expected weekly figures.

    Args:
        theta: parameters `{site: [*batch, ...]}`.
        hosts: within-host tables of the same particles.
        incidence: `[*batch, T, G]` infections in agents.
        o: the fixed part.
    """
    infections = incidence.unflatten(-1, (len(DISTRICTS), len(AGE_BANDS))) * o.people
    pcr, rapid = theta["ascertainment_pcr"][..., None], theta["ascertainment_rat"][..., None]
    ascertained = pcr + (rapid - pcr) * o.rapid  # by report date
    reporting = (o.week * ascertained[..., None, :]) @ o.report.T  # [*batch, W, T of infection]
    cases = torch.einsum("...wt,...tra->...wra", reporting, infections)
    by_age, by_district = infections.sum(-2), infections.sum(-1)
    admitted, dead = (by_day(f(theta, hosts, o), infections.shape[-3]) for f in (severity, fatality))
    in_hospital = torch.einsum("...tra,...ta->...tr", infections, admitted)
    found = torch.einsum("...ta,a->...t", by_age, o.workers)
    return Expected(
        cases_district=cases.sum(-1),
        cases_age=cases.sum(-2),
        admissions_age=_weekly(o.week @ o.admit.T, by_age * admitted),
        infections_district=_weekly(o.week, by_district),
        deaths_age=_weekly(o.week @ o.die.T, by_age * dead),
        occupancy_district=_weekly(_mean(o.day) @ o.stay.T, in_hospital) * theta["hospital_days"][..., None, None],
        wastewater_area=wastewater(theta, hosts, infections, o),
        border_cohort=(_weekly(o.week @ o.detect.T, found[..., None]) * theta["border_ratio"][..., None, None]),
    )


def _weekly(weekly: Tensor, daily: Tensor) -> Tensor:
    """`[*batch, W, X]` of `[W, T]` and `[*batch, T, X]`."""
    return torch.einsum("wt,...tx->...wx", weekly, daily)


def _mean(week: Tensor) -> Tensor:
    return week / week.sum(-1, keepdim=True)


def by_day(periods: Tensor, days: int) -> Tensor:
    """`[*batch, T, A]` of `[*batch, S, A]` by period of `sim.PERIOD` days."""
    return periods.repeat_interleave(PERIOD, -2)[..., :days, :]


def infected_kinds(hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A, K]` kinds among those infected in an age band and period: by their share and how susceptible they are then.

    That the more susceptible are fewer among those left as the wave goes on is not followed.
    """
    susceptibility = hosts.susceptibility[..., None, :] * hosts.waning.mT
    weight = o.share[..., None, :, :] * susceptibility[..., :, None, :]
    return weight / weight.sum(-1, keepdim=True)


def mean_severity(hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A]` severity of an infection over that of a host without antibody (`ode.severity`), mean over who is infected.

    Second infections count as first ones of their kind: they are one in a hundred.
    """
    return (infected_kinds(hosts, o) * hosts.severity.mT[..., :, None, :]).sum(-1)


def severity(theta: Mapping[str, Tensor], hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A]` admissions per infection: log-linear in age but for an effect of each band, lowered by antibody."""
    line = theta["severity_level"][..., None] * _of_bands(theta["severity_age"], o.age, o)
    return (line * torch.exp(SEVERITY_BAND * theta["severity_band"]))[..., None, :] * mean_severity(hosts, o)


def fatality(theta: Mapping[str, Tensor], hosts: HostTables, o: Observation) -> Tensor:
    """`[*batch, S, A]` deaths per infection: log-linear in age, lowered by antibody as admissions are."""
    decades = o.age - (FATALITY_AGE - REFERENCE_AGE) / 10
    line = theta["fatality_level"][..., None] * _of_bands(theta["fatality_age"], decades, o)
    return line[..., None, :] * mean_severity(hosts, o)


def _of_bands(slope: Tensor, decades: Tensor, o: Observation) -> Tensor:
    """`[*batch, A]` of what grows as `exp(slope * decades)`: the mean over the people of a band, all infected alike.

    With the slope of deaths it is 2.0 for those of 70 and more over that at 75, the middle of their first ten years.
    """
    return torch.exp(slope[..., None] * decades) @ o.within.mT


def wastewater(theta: Mapping[str, Tensor], hosts: HostTables, infections: Tensor, o: Observation) -> Tensor:
    """`[*batch, W, area]` million genome copies a person a day: infections of each age shed as their hosts do (`ode.shedding`)."""
    kernel = torch.einsum("...sak,...kd->...sad", infected_kinds(hosts, o), hosts.shedding)
    shed = torch.zeros_like(infections[..., 0])
    days = infections.shape[-3]
    for d in range(min(kernel.shape[-1], days - 1)):  # the kernel begins on the day after infection
        left = days - d - 1
        moved = torch.einsum("...tra,...ta->...tr", infections[..., :left, :, :], by_day(kernel[..., d], left))
        shed = shed + torch.nn.functional.pad(moved, (0, 0, d + 1, 0))
    per_person = _weekly(_mean(o.week), shed / o.inhabitants) @ o.area.mT
    level = 1e3 * theta["wastewater_level"][..., None] * torch.exp(WASTEWATER_AREA * theta["wastewater_area_effect"])
    return per_person * level[..., None, :]
