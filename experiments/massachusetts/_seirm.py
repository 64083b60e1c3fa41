"""A mean-field epidemic with deaths (SEIRM) for all counties at once, differentiable: what blocks of transmission stand before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import torch
from scipy.stats import gamma
from torch import Tensor

from experiments.massachusetts._data import START

LATENT, INFECTIOUS = 3.0, 2.5
"""Mean days; their sum, 5.5, is the generation time (Ferretti et al. 2020, Science 368:eabb6936: 5.0; Ganyani et al. 2020: 5.2)."""
TO_DEATH = (21.0, 9.0)
"""Mean and sd of the days from infection to a reported death: incubation 5, onset to death 18 (Verity et al. 2020), rounded down."""
TO_REPORT = (10.0, 5.0)
"""The same to a reported case: incubation 5, onset to report 5 (chosen)."""
FATALITY = (0.00005, 0.0003, 0.0008, 0.0016, 0.006, 0.019, 0.043, 0.078)
"""Deaths per infection by age band (Verity et al. 2020, Lancet Infect Dis 20:669, table 1; 0-19 chosen between its bands)."""
CLOSING = (date(2020, 3, 14), date(2020, 3, 26))
"""From the first weekend after the state of emergency (10 March) to two days after the stay-at-home advisory (24 March): transmission falls
from its first level to its second."""


def delay_matrix(mean_sd: tuple[float, float], days: int) -> Tensor:
    """`[report day, infection day]` share of infections that are reported so, by a gamma distribution cut into days."""
    mean, sd = mean_sd
    edges = gamma((mean / sd) ** 2, scale=sd**2 / mean).cdf(np.arange(days + 1))
    share = torch.as_tensor(np.diff(edges))
    lag = torch.arange(days)[:, None] - torch.arange(days)
    return torch.where(lag >= 0, share[lag.clamp_min(0)], 0.0)


def knot_matrix(knots: int, days: int) -> Tensor:
    """`[day, knot]` linear interpolation between the middles of weeks; level before the first and after the last."""
    at = ((torch.arange(days, dtype=torch.float64) - 3.0) / 7.0).clamp(0.0, knots - 1.0)
    low = at.floor().long().clamp_max(max(knots - 2, 0))
    share = at - low
    out = torch.zeros(days, knots, dtype=torch.float64)
    out[torch.arange(days), low] += 1 - share
    out[torch.arange(days), (low + 1).clamp_max(knots - 1)] += share
    return out


@dataclass(frozen=True, eq=False)
class Seirm:
    """The epidemic of R counties.

    Attributes:
        people: `[county]`.
        fatality: `[county]` deaths per infection by the ages of each.
        knots: weeks for which transmission is given, from `START` on.
    """

    people: Tensor
    fatality: Tensor
    knots: int

    @staticmethod
    def of(people_by_age: np.ndarray, knots: int) -> Seirm:
        """From people by county and age."""
        people = torch.as_tensor(people_by_age, dtype=torch.float64)
        return Seirm(people.sum(1), people @ torch.tensor(FATALITY, dtype=torch.float64) / people.sum(1), knots)

    def incidence(self, theta: Mapping[str, Tensor], days: int) -> Tensor:
        """New infections `[P, day, county]`.

        Args:
            theta: `first` and `closed` `[P]` log reproduction numbers before and after closing; `seed_level [P]` log infections per million on
                day 0, `seed [P, county, 1]` what a county differs by; `transmission [P, county, knot]` what log transmission differs by.
            days: simulated.
        """
        closed = torch.as_tensor(
            np.clip((np.arange(days) - (CLOSING[0] - START).days) / (CLOSING[1] - CLOSING[0]).days, 0, 1)
        )
        level = theta["first"][:, None] * (1 - closed) + theta["closed"][:, None] * closed
        own = torch.einsum("tk,prk->ptr", knot_matrix(self.knots, days), theta["transmission"])
        rate = (level[..., None] + own).clamp(-4.0, 2.5).exp() / INFECTIOUS
        infectious = torch.exp(theta["seed_level"][:, None] + theta["seed"][..., 0]) * self.people / 1e6
        exposed = infectious * LATENT / INFECTIOUS
        susceptible = self.people - exposed - infectious
        rows = []
        for t in range(days):
            # the hazard of a day, so that no more are infected than there are
            new = susceptible * -torch.expm1(-rate[:, t] * infectious / self.people)
            onset, removed = exposed / LATENT, infectious / INFECTIOUS
            susceptible = susceptible - new
            exposed, infectious = exposed + new - onset, infectious + onset - removed
            rows.append(new)
        return torch.stack(rows, 1)

    def deaths(self, theta: Mapping[str, Tensor], incidence: Tensor) -> Tensor:
        """Expected reported deaths `[P, day, county]`."""
        matrix = delay_matrix(TO_DEATH, incidence.shape[1])
        factor = theta["fatality"][:, None, None]
        return torch.einsum("ts,psr->ptr", matrix, incidence) * self.fatality * factor

    def cases(self, theta: Mapping[str, Tensor], incidence: Tensor) -> Tensor:
        """Expected reported cases `[P, day, county]`; the log share reported is `reported [P]` plus `ascertainment [P, county, knot]`."""
        days = incidence.shape[1]
        matrix = delay_matrix(TO_REPORT, days)
        share = torch.einsum("tk,prk->ptr", knot_matrix(self.knots, days), theta["ascertainment"])
        share = (theta["reported"][:, None, None] + share).clamp_max(1.0).exp()
        return torch.einsum("ts,psr->ptr", matrix, incidence) * share
