"""The state of an epidemic on a date: infections up to then, by day, group and archetype, from which a forecast restarts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd
import torch
from torch import Tensor

from epi.errors import StudyError
from epi.study import Study
from sim import InfectedBefore, Population

__all__ = ["State", "day_after", "state_from_infections"]


def day_after(study: Study, until: date, least: int, most: int) -> int:
    """Number of the day after a date, from `least` to `most`.

    Raises:
        StudyError: it lies outside these.
    """
    day = study.calendar.day_of(until) + 1
    if not least <= day <= most:
        raise StudyError(
            f"The state ends on {until}, expected a day from {study.calendar.date_of(least - 1)} to {study.calendar.date_of(most - 1)}; "
            "choose another date or calendar."
        )
    return day


@dataclass(frozen=True, eq=False)
class State:
    """Infections up to a date.

    Streams see those on days of the study's calendar: let it start as many days before the first week as a delay lasts.

    Attributes:
        until: the last day that is known; an epidemic restarts on the day after.
        infected: who was infected when, counted back from the day after `until`.
    """

    until: date
    infected: InfectedBefore

    def first_day(self, study: Study, days: int) -> int:
        """Number of the day on which an epidemic of some days restarts; 0 where the calendar begins after the state.

        Raises:
            StudyError: it is not one of them.
        """
        return day_after(study, self.until, 0, days - 1)

    def known(self, population: Population, days: int, like: Tensor) -> Tensor:
        """`[P, days, G]` infections in agents on the days up to `until`, for as many particles as `like` has; 0 before its first day."""
        found = self.infected.incidence
        found = self.infected.counts(population).sum(-1) if found is None else found
        found = torch.nn.functional.pad(found.to(like), (0, 0, max(days - found.shape[1], 0), 0))
        return found[:, found.shape[1] - days :].expand(len(like), -1, -1)

    def table(self, study: Study, population: Population) -> pd.DataFrame:
        """Mean infections over particles, in people, by date, region, age band and archetype; rows without any are left out."""
        mean = self.infected.counts(population).double().mean(0)
        ages = len(study.ages)
        day, group, archetype = mean.nonzero().unbind(1)
        per = torch.from_numpy(population.people_per_agent)[group // ages]
        first = self.until - timedelta(days=self.infected.days - 1)
        return pd.DataFrame(
            {
                "date": [str(first + timedelta(days=d)) for d in day.tolist()],
                study.region.axis: [study.region.names[g // ages] for g in group.tolist()],
                "age": [study.ages.names[g % ages] for g in group.tolist()],
                "archetype": archetype.tolist(),
                "infections": (mean[day, group, archetype] * per).tolist(),
            }
        )


def state_from_infections(
    study: Study, population: Population, infections: Tensor, until: date, seed: int, streams: Tensor | None = None
) -> State:
    """A state from infections by day, region and age (and archetype), observed or drawn; who they were is drawn at random.

    An agent stands for several people: numbers of agents are rounded at random, so that their mean is that of the people.

    Args:
        study: gives regions and age bands.
        population: the agents.
        infections: `[P, B, R, A]` or `[P, B, R, A, K]` people, oldest day first; the last is `until`.
        until: the last day.
        seed: names the random numbers, with the stream.
        streams: `[P]`, as for `sim.epidemic`.

    Raises:
        StudyError: infections of another shape, negative, or more than there are people.
    """
    wanted = (len(study.region), len(study.ages))
    if infections.dim() not in (4, 5) or tuple(infections.shape[2:4]) != wanted:
        raise StudyError(
            f"Infections of the state have shape {tuple(infections.shape)}, expected [particle, day, {wanted[0]}, {wanted[1]}], with "
            "an axis of archetypes if these are known; correct them."
        )
    if not bool((torch.isfinite(infections) & (infections >= 0)).all()):
        raise StudyError("Infections of the state must be finite and not negative; correct them.")
    per = torch.from_numpy(population.people_per_agent).reshape(-1, *[1] * (infections.dim() - 3))
    agents = infections.double() / per
    generator = torch.Generator().manual_seed(seed)
    whole = agents.floor() + (
        torch.rand(agents.shape, generator=generator, dtype=torch.float64) < agents - agents.floor()
    )
    try:
        infected = InfectedBefore.at_random(population, whole.flatten(2, 3), seed, streams)
    except ValueError as error:
        raise StudyError(f"The state cannot be drawn: {error}") from error
    return State(until, infected)
