"""Expected age compositions and syndromic visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from epi.errors import StudyError
from epi.model.delays import delay_matrix
from epi.model.epidemic import Epidemic, weekly
from epi.model.setting import Setting, Theta, prepare
from epi.study import Admissions, AgeComposition, Deaths, SyndromicVisits

__all__ = ["odds_against_younger", "people_of"]

FEWEST = 1e-9
"""Expected events under which an odds is that of this many: an epidemic that reaches no one has no ages."""


def odds_against_younger(counts: Tensor) -> Tensor:
    """`[..., group - 1]` events of each group over those of all younger ones, of `counts [..., group]` from the youngest on.

    Examples:
        >>> odds_against_younger(torch.tensor([2.0, 4.0, 3.0])).tolist()
        [2.0, 0.5]
    """
    counts = counts.clamp_min(FEWEST)
    return counts[..., 1:] / counts.cumsum(-1)[..., :-1]


@dataclass(frozen=True, eq=False)
class _AgeComposition:
    part: AgeComposition
    fatal: bool
    until: Tensor  # [W, T] share of the infections of a day whose event has come by the end of a week
    group: Tensor  # [group, A]

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Odds of each group against the younger ones, by region, of all events up to a week's end."""
        risk = epidemic.dead if self.fatal else epidemic.admitted
        cells = torch.einsum("...tra,...ta,ga->...trg", epidemic.infections, risk, self.group)
        events = torch.einsum("wt,...trg->...wrg", self.until, cells)
        return odds_against_younger(events).flatten(-2)


@prepare.register
def _(part: AgeComposition, setting: Setting) -> _AgeComposition:
    study = setting.study
    events = study.stream(part.of)
    if not isinstance(events, Admissions | Deaths):
        raise StudyError(
            f"Stream {part.name!r} is of {part.of!r}, a stream of {events.kind}, expected admissions or deaths; name one of these."
        )
    week = study.calendar.week_matrix(setting.days, setting.index)
    ended = np.cumsum(week[:, ::-1], 1)[:, ::-1] > 0  # days up to the end of each week
    delayed = ended.astype(float) @ delay_matrix(setting.days, events.delay).T
    groups = np.array([[float(band in bands) for band in study.ages.names] for bands in part.groups.values()])
    return _AgeComposition(part, isinstance(events, Deaths), setting.real(delayed), setting.real(groups))


@dataclass(frozen=True, eq=False)
class _SyndromicVisits:
    part: SyndromicVisits
    delay: Tensor
    people: Tensor  # [place]

    def expected(self, theta: Theta, epidemic: Epidemic) -> Tensor:
        """Visits per 100,000 people by week."""
        per = epidemic.places(self.part.by, epidemic.infections) / self.people
        ours = weekly(epidemic.fixed.week @ self.delay.T, per)
        level = theta[f"{self.part.option}_baseline"]
        level = level[..., None, None] if self.part.by == "all" else level[..., None, :]
        return level + 1e5 * theta[f"{self.part.option}_per_infection"][..., None, None] * ours


@prepare.register
def _(part: SyndromicVisits, setting: Setting) -> _SyndromicVisits:
    delay = setting.real(delay_matrix(setting.days, part.delay))
    return _SyndromicVisits(part, delay, setting.real(people_of(part.by, setting)))


def people_of(by: str, setting: Setting) -> np.ndarray:
    """`[place]` people along an axis of the study: age, regions, areas, or all."""
    study, people = setting.study, setting.data.population.astype(float)
    if by == "age":
        return np.asarray(people.sum(0))
    if by == "all":
        return people.sum()[None]
    of_region = people.sum(1)
    if by == study.region.axis:
        return np.asarray(of_region)
    areas = study.region.areas.values()
    return np.array([sum(of_region[study.region.names.index(n)] for n in names) for names in areas])
