"""What an antibody survey would find in an epidemic: seroconversion, waning, the test, who is sampled, and chance among those sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.errors import StudyError
from epi.model.antibody import apparent_prevalence, design_effect
from epi.study import AgeBands, Calendar, Delay

__all__ = ["SurveyDesign", "ages_covered", "draw_positives", "groups_of", "share_positive", "shifted", "window_mean"]


@dataclass(frozen=True)
class SurveyDesign:
    """Who is tested when, and with what.

    Attributes:
        first_sample: first day of sampling.
        last_sample: last day; people are taken evenly over the days.
        sensitivity: share of people with antibody who test positive.
        specificity: share of people without who test negative.
        first_age: youngest age in years.
        last_age: oldest; None for no limit.
        people: number tested; None for the expected share alone.
        cluster: people of one cluster, such as a household or a shop.
        correlation: between members of a cluster.
        seroconversion: delay from infection to antibody.

    Raises:
        StudyError: a number out of range, or a test that finds antibody more often in people without.
    """

    first_sample: date
    last_sample: date
    sensitivity: float = 1.0
    specificity: float = 1.0
    first_age: int = 0
    last_age: int | None = None
    people: int | None = None
    cluster: int = 1
    correlation: float = 0.0
    seroconversion: Delay = field(default=Delay(17.0, 6.0, longest=49))

    def __post_init__(self) -> None:
        if self.last_sample < self.first_sample:
            raise StudyError(
                f"The survey samples from {self.first_sample} to {self.last_sample}; put its first day first."
            )
        for name in ("sensitivity", "specificity", "correlation"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise StudyError(f"The survey has {name} {value:g}, expected a share from 0 to 1; correct it.")
        if self.sensitivity < 1 - self.specificity:
            raise StudyError(
                f"The survey's test has sensitivity {self.sensitivity:g}, below 1 - specificity = {1 - self.specificity:g}, expected to find "
                "antibody more often in people with it than without; correct the two."
            )
        if (self.people is not None and self.people < 1) or self.cluster < 1:
            raise StudyError(
                f"The survey tests {self.people} people in clusters of {self.cluster}, expected at least 1; correct them."
            )

    @property
    def effective_people(self) -> float:
        """Independent people whose share would be as uncertain: the number tested over `1 + (cluster - 1) * correlation`.

        References:
            Kish 1965, Survey Sampling, section 5.4.
        """
        if self.people is None:
            raise StudyError("The survey has no number of people, which its uncertainty needs; give one.")
        return self.people / float(design_effect(self.cluster, self.correlation))


def ages_covered(ages: AgeBands, first: int, last: int | None = None) -> NDArray[np.float64]:
    """`[A]` share of each band's years from `first` to `last`, both inclusive.

    Examples:
        >>> ages_covered(AgeBands((0, 10, 20)), 15).tolist()
        [0.0, 0.5, 1.0]
    """
    return np.array(ages.overlap(first, max(ages.end, 150) if last is None else last)).clip(0.0, 1.0)


def shifted(share: Tensor, log_odds: Tensor | float) -> Tensor:
    """A share whose odds are multiplied: who takes part is not a random sample of all people, such as shoppers."""
    return torch.sigmoid(torch.logit(share, eps=1e-12) + log_odds)


def share_positive(design: SurveyDesign, antibody: Tensor, calendar: Calendar) -> Tensor:
    """`[*batch, X]` expected share that tests positive, mean over the days of sampling, of `antibody [*batch, T, X]`."""
    have = window_mean(design, antibody, calendar)
    sensitivity, specificity = (have.new_tensor(x) for x in (design.sensitivity, design.specificity))
    return apparent_prevalence(have, sensitivity, specificity)


def window_mean(design: SurveyDesign, daily: Tensor, calendar: Calendar) -> Tensor:
    """`[*batch, X]` mean of `daily [*batch, T, X]` over the days of sampling.

    Raises:
        StudyError: a day is not simulated.
    """
    first, last = calendar.day_of(design.first_sample), calendar.day_of(design.last_sample)
    if first < 0 or last >= daily.shape[-2]:
        raise StudyError(
            f"The survey samples from {design.first_sample} to {design.last_sample}, and the simulated days are {calendar.start} to "
            f"{calendar.date_of(daily.shape[-2] - 1)}; choose days among them, or simulate longer."
        )
    return daily[..., first : last + 1, :].mean(-2)


def draw_positives(design: SurveyDesign, share: Tensor, generator: torch.Generator) -> Tensor:
    """Positives among the people of a survey at expected shares: beta-binomial, its variance that of clusters.

    The correlation of the whole sample that gives the design effect: `(deff - 1) / (n - 1)`.
    """
    if design.people is None:
        raise StudyError("The survey has no number of people, which chance among them needs; give one.")
    n = design.people
    if float(design_effect(design.cluster, design.correlation)) > 1 and n > 1:
        rho = min((float(design_effect(design.cluster, design.correlation)) - 1) / (n - 1), 0.999)
        total = (1 - rho) / rho
        p = share.clamp(1e-9, 1 - 1e-9)
        one = torch._standard_gamma(p * total, generator=generator)
        two = torch._standard_gamma((1 - p) * total, generator=generator)
        share = one / (one + two)
    found = torch.binomial(torch.full_like(share, float(n)), share.clamp(0.0, 1.0), generator=generator)
    return found


def groups_of(ages: AgeBands, groups: Mapping[str, tuple[int, int | None]]) -> NDArray[np.float64]:
    """`[group, A]` share of each band in groups `{label: (first age, last age)}`."""
    return np.stack([ages_covered(ages, first, last) for first, last in groups.values()])
