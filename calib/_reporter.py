"""Progress of a calibration from its first simulation on, not from its first round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from calib._config import Progress
from calib._reuse import Round


@dataclass(frozen=True)
class Spent:
    """What has been spent so far.

    Attributes:
        simulations: made.
        budget: simulations that may be spent.
        seconds: since the start.
    """

    simulations: int
    budget: int
    seconds: float


class Reporter:
    """Passes on what a method says of itself, and between that the simulations made.

    Args:
        progress: what is called.
        budget: simulations that may be spent.
    """

    def __init__(self, progress: Callable[[Any], None], budget: int) -> None:
        self.progress, self.budget = progress, budget
        self.started, self.simulations, self.by_steps = time.perf_counter(), 0, False

    def __call__(self, item: Any) -> None:
        """A round or a step."""
        if isinstance(item, Round):
            self.simulations = max(self.simulations, item.simulations)
        self.by_steps = self.by_steps or isinstance(item, Progress)
        self.progress(item)

    def simulated(self, rows: int) -> None:
        """Rows that were simulated; steps tell of themselves often enough."""
        self.simulations += rows
        if not self.by_steps:
            self.progress(Spent(min(self.simulations, self.budget), self.budget, time.perf_counter() - self.started))
