"""From infections to expected reports: delays, ascertainment, admission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import gamma
from torch import Tensor

from experiments.nz_calibration import _calendar as calendar
from experiments.nz_calibration._figures import AGE_BANDS, DISTRICTS, Figures
from experiments.nz_calibration._parameters import SEVERITY_BAND
from sim import Population

REPORT_DELAY = (5.0, 2.2)
"""Mean and sd in days from infection to report: incubation of Omicron 3.4 days (Wu et al. 2022, JAMA Netw Open 5:e2228008) and
1.6 days from symptoms to a recorded test (chosen)."""
ADMISSION_DELAY = (8.5, 4.0)
"""Mean and sd in days from infection to admission (chosen: incubation and about five days from symptoms)."""
LONGEST_DELAY = 28
REFERENCE_AGE = 35.0


@dataclass(frozen=True, eq=False)
class Observation:
    """The fixed part of the observation model, tensors of the run.

    Attributes:
        weeks: the W weeks.
        people: `[R, A]` people an agent of a group stands for.
        report, admit: `[T, T]` share of the infections of a day (row) reported or admitted on a day (column).
        week: `[W, T]`. rapid: `[T]` 1 on report dates with rapid tests.
        age: `[A]` decades from age 35. doses: `[*batch, A, S]` share of an age band with s doses.
    """

    weeks: pd.DatetimeIndex
    people: Tensor
    report: Tensor
    admit: Tensor
    week: Tensor
    rapid: Tensor
    age: Tensor
    doses: Tensor


@dataclass(frozen=True)
class Expected:
    """Expected weekly counts, people: `cases_district, infections_district [*batch, W, R]`, `cases_age, admissions_age [*batch, W, A]`."""

    cases_district: Tensor
    cases_age: Tensor
    admissions_age: Tensor
    infections_district: Tensor

    def flat(self) -> Tensor:
        """All of them side by side, `[*batch, W * (2 R + 2 A)]`."""
        return torch.cat([getattr(self, name).flatten(-2) for name in self.__dataclass_fields__], dim=-1)

    @staticmethod
    def from_flat(flat: Tensor, weeks: int, places: tuple[int, ...] = (20, 8, 8, 20)) -> Expected:
        """Inverse of `flat`; `places` are the last axes of the four fields."""
        parts = flat.split([weeks * n for n in places], dim=-1)
        return Expected(*(x.unflatten(-1, (weeks, n)) for x, n in zip(parts, places, strict=True)))


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
    national = (figures.vaccination * figures.population[..., None]).sum(0)
    return Observation(
        weeks=index,
        people=real(people),
        report=real(delay_matrix(days, *REPORT_DELAY)),
        admit=real(delay_matrix(days, *ADMISSION_DELAY)),
        week=real(calendar.week_matrix(days, index)),
        rapid=real((np.arange(days) >= calendar.day_of(calendar.RAPID_TESTS)).astype(float)),
        age=real((np.arange(len(AGE_BANDS)) * 10 + 5 - REFERENCE_AGE) / 10),
        doses=real(national / national.sum(-1, keepdims=True)),
    )


def delay_matrix(days: int, mean: float, sd: float) -> NDArray[np.float64]:
    """`[T, T]` gamma-distributed delay between days, cut at four weeks; rows sum to 1 where the delay fits the days left."""
    shape, scale = (mean / sd) ** 2, sd**2 / mean
    mass = np.diff(gamma.cdf(np.arange(LONGEST_DELAY + 2), shape, scale=scale))
    mass /= mass.sum()
    lag = np.arange(days) - np.arange(days)[:, None]
    return np.where((lag >= 0) & (lag <= LONGEST_DELAY), mass[np.clip(lag, 0, LONGEST_DELAY)], 0.0)


def observe(theta: Mapping[str, Tensor], incidence: Tensor, o: Observation) -> Expected:
    """Expected weekly counts of people from `incidence [*batch, T, G]` in agents."""
    infections = incidence.unflatten(-1, (len(DISTRICTS), len(AGE_BANDS))) * o.people
    pcr, rapid = theta["ascertainment_pcr"][..., None], theta["ascertainment_rat"][..., None]
    ascertained = pcr + (rapid - pcr) * o.rapid  # by report date
    reporting = (o.week * ascertained[..., None, :]) @ o.report.T  # [*batch, W, T of infection]
    cases = torch.einsum("...wt,...tra->...wra", reporting, infections)
    by_age = infections.sum(-2)
    admitted = torch.einsum("wt,...ta->...wa", o.week @ o.admit.T, by_age) * severity(theta, o)[..., None, :]
    return Expected(
        cases_district=cases.sum(-1),
        cases_age=cases.sum(-2),
        admissions_age=admitted,
        infections_district=torch.einsum("wt,...tr->...wr", o.week, infections.sum(-1)),
    )


def severity(theta: Mapping[str, Tensor], o: Observation) -> Tensor:
    """`[*batch, A]` admissions per infection: log-linear in age but for an effect of each band, lowered by each dose."""
    line = theta["severity_level"][..., None] * torch.exp(theta["severity_age"][..., None] * o.age)
    line = line * torch.exp(SEVERITY_BAND * theta["severity_band"])
    dose = torch.arange(o.doses.shape[-1], dtype=o.doses.dtype, device=o.doses.device)
    protected = (o.doses * torch.exp(-theta["severity_dose"][..., None, None] * dose)).sum(-1)
    return line * protected
