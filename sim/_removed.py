"""Which infections of a run are removed: all of a run with few, a random part of a run with many, each of which counts for several.

The gradient is a sum over the infections of a run (docs/gradient.md). A random part of its terms, divided by the chance of each to be in it,
has the same mean. In large epidemics most of the cost buys little: with a tenth of the terms the standard deviation of most
derivatives grows by a factor below two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sim._random import MASK, splitmix, uniform

MOST = 100_000
"""Infections of a run that are removed, on average, where it has more."""
CHOICE = 5
"""Purpose of the random numbers, next to those of `_removals_reference`."""


def weights(key: Tensor, particle: Tensor, agent: Tensor, order: Tensor, agents: int, given: Tensor) -> Tensor:
    """For how many infections of its run each counts, `[M]` double; 0: it is not removed.

    Args:
        key: `[P]` int64, of the runs' random numbers.
        particle: `[M]` int64, of each infection.
        agent: `[M]` int64.
        order: `[M]` int64, how many infections the agent had before.
        agents: of the population.
        given: `[M]` whether an infection was given before the run began.
    """
    out = torch.zeros(len(agent), dtype=torch.float64, device=agent.device)
    for p, k in enumerate(key.tolist()):
        own = (particle == p) & ~given
        chance = MOST / max(int(own.sum()), MOST)
        # hashed twice: once is the key of the draws of a day, which decided who is infected
        u = uniform(splitmix(splitmix((k & MASK) ^ splitmix(CHOICE))), order * agents + agent)
        out += torch.where(own & (u < chance), 1.0 / chance, 0.0)
    return out


@contextmanager
def removing_at_most(number: int) -> Iterator[None]:
    """Remove about so many infections of a run, in place of 100,000, in the derivatives taken inside; for audits, in the whole process.

    Raises:
        ValueError: `number` is below 1.
    """
    global MOST  # the derivatives of a GPU are taken in threads that do not see the context of this one
    if number < 1:
        raise ValueError(f"number is {number}, but a gradient removes at least one infection; give a positive number.")
    before, MOST = MOST, number
    try:
        yield
    finally:
        MOST = before
