"""What a question is, and what it may ask about."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.errors import StudyError
from epi.scenarios.interventions import ASSUMPTIONS, LEVERS
from epi.scenarios.people import HostKinds
from epi.study import Calendar

Named = TypeVar("Named")
Action = Callable[[Tensor], Tensor]
"""From the value of a site in the calibrated world to its value in the world of the question."""
World = Mapping[str, Action]
"""The sites that a world changes."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a question may look at to say what it changes.

    Attributes:
        days: simulated days T.
        weeks: days that end the W weeks.
        infections: `[W]` posterior median of the country's weekly infections in the calibrated world.
        kinds: the archetypes.
        calendar: of the study.
    """

    days: int
    weeks: pd.DatetimeIndex
    infections: NDArray[np.float64]
    kinds: HostKinds
    calendar: Calendar

    def days_between(self, first: date, last: date) -> slice:
        """The days from `first` to `last`, both included.

        Raises:
            StudyError: a day is not simulated, or the last comes before the first.
        """
        begin, end = self.calendar.day_of(first), self.calendar.day_of(last)
        final = self.calendar.date_of(self.days - 1)
        if not 0 <= begin <= end < self.days:
            raise StudyError(
                f"An intervention from {first} to {last} was asked for, and the simulated days are {self.calendar.start} to {final}; "
                "choose days among them, the first not after the last."
            )
        return slice(begin, end + 1)

    def peak_weeks(self, count: int) -> tuple[date, date]:
        """First and last day of the `count` weeks in a row with most infections."""
        if not 1 <= count <= len(self.weeks):
            raise StudyError(
                f"{count} peak weeks were asked for, and there are {len(self.weeks)} weeks; choose a number of them."
            )
        sums = np.convolve(self.infections, np.ones(count), mode="valid")
        first = int(np.argmax(sums))
        return (self.weeks[first] - pd.Timedelta(days=6)).date(), self.weeks[first + count - 1].date()

    def scaled(self, first: date, last: date, factor: float) -> Action:
        """An action on a lever by day: times `factor` from `first` to `last`."""
        when = self.days_between(first, last)

        def action(value: Tensor) -> Tensor:
            value = value.clone()
            value[..., when] = value[..., when] * factor
            return value

        return action


@dataclass(frozen=True, eq=False)
class Question:
    """A question to the fitted model: what if some sites had other values?

    Attributes:
        name: short, for the command line.
        title: the question in words.
        world: from the setting to what the world of the question changes: `{site: action}`; any lever, assumption or parameter.
        against: the world that it is compared with; None for the calibrated world.
        carries: what in the model carries the effect.
        leaves_out: what the answer does not contain.
        against_label: name of the reference in plots.
    """

    name: str
    title: str
    world: Callable[[Setting], World]
    carries: str
    leaves_out: str
    against: Callable[[Setting], World] | None = None
    against_label: str = "as calibrated"


def same(value: Tensor) -> Tensor:
    """The action that changes nothing."""
    return value


def to(number: float) -> Action:
    """The action that sets a site to a number."""
    return lambda value: torch.full_like(value, number)


def plus(number: float) -> Action:
    """The action that adds a number to a site."""
    return lambda value: value + number


def choose(names: list[str], registry: Mapping[str, Named]) -> list[Named]:
    """Questions by name, all for none, in the registry's order of first mention.

    Raises:
        StudyError: a name is not in the registry.
    """
    for name in names:
        if name not in registry:
            raise StudyError(f"There is no question {name!r}; choose among {', '.join(registry)}.")
    return [registry[name] for name in (dict.fromkeys(names) if names else registry)]


def check_world(name: str, world: World, usual: Mapping[str, Tensor]) -> None:
    """Apply the actions of a world to the calibrated values and refuse what makes no sense.

    Args:
        name: of the question.
        world: what it changes.
        usual: levers, assumptions and parameters with the values of some draws, `[*batch, *event]`.

    Raises:
        StudyError: a site does not exist, or an action gives another shape, a number that is not finite, or one out of range.
    """
    ranges = {lever.name: (lever.low, lever.high) for lever in LEVERS}
    ranges |= dict.fromkeys(ASSUMPTIONS, (0.0, 1.0))
    for site, action in world.items():
        if site not in usual:
            raise StudyError(
                f"Question {name!r} changes {site!r}, which the model does not have; choose a lever ({', '.join(x.name for x in LEVERS)}) "
                "or a parameter of the study."
            )
        try:
            value = action(usual[site])
        except (RuntimeError, IndexError, TypeError) as error:
            raise StudyError(
                f"Question {name!r}: its action on {site!r} failed ({str(error).splitlines()[0]}); correct it."
            ) from error
        if value.shape != usual[site].shape:
            raise StudyError(
                f"Question {name!r} gives {site!r} the shape {tuple(value.shape)}, and {tuple(usual[site].shape)} was expected; "
                "return a value of the same shape."
            )
        low, high = ranges.get(site, (-math.inf, math.inf))
        if not bool(torch.isfinite(value).all()) or bool((value < low).any()) or bool((value > high).any()):
            bad = value[~(torch.isfinite(value) & (value >= low) & (value <= high))][0]
            raise StudyError(
                f"Question {name!r} sets {site!r} to {float(bad):g}, and a number from {low:g} to {high:g} was expected; correct its action."
            )
