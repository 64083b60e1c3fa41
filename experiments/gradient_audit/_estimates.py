"""One-run gradients by every estimator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

import sim
from experiments.gradient_audit._world import LEVELS, PARAMETERS, population, rates
from sim import EstimatorOptions


@dataclass(frozen=True)
class Variant:
    """An estimator with its settings; `taped` ones keep a tape over days in plain tensors."""

    estimator: str
    options: EstimatorOptions = field(default_factory=EstimatorOptions)
    taped: bool = True


VARIANTS: dict[str, Variant] = {
    "local-score": Variant("local-score", taped=False),
    "straight-through": Variant("straight-through"),
    "gumbel-softmax, hard": Variant("gumbel-softmax", EstimatorOptions(temperature=0.5)),
    "gumbel-softmax, soft": Variant("gumbel-softmax", EstimatorOptions(temperature=0.5, hard=False)),
    "score-function": Variant("score-function", EstimatorOptions(baseline=4)),
}
"""What the table compares, beside single finite differences."""


@dataclass(frozen=True)
class Sample:
    """`gradient [runs, Q]` of the total in each parameter, and the `total [runs]` itself."""

    gradient: NDArray[np.float64]
    total: NDArray[np.float64]


def sample(agents: int, level: str, name: str, seed: int, runs: int) -> Sample:
    """Gradients of `runs` runs, each with a stream of its own.

    Args:
        agents: about how many agents.
        level: one of `LEVELS`.
        name: one of `VARIANTS`.
        seed: of the epidemics.
        runs: how many.
    """
    torch.set_num_threads(1)
    people, variant = population(agents, 0), VARIANTS[name]
    # a tape is as long as memory allows: one run at a time; without one a few together
    batch = 1 if variant.taped else max(2, round(480_000 / agents))
    gradients, totals = [], []
    for first in range(0, runs, batch):
        streams = torch.arange(first, min(first + batch, runs))
        theta = torch.zeros(len(streams), len(PARAMETERS), dtype=torch.float64, requires_grad=True)
        x = sim.epidemic(
            people,
            rates(people, theta, LEVELS[level]),
            seed,
            streams=streams,
            estimator=variant.estimator,
            options=variant.options,
        ).sum((1, 2))
        (gradient,) = torch.autograd.grad(x.sum(), theta)
        gradients.append(gradient.numpy())
        totals.append(x.detach().numpy())
    return Sample(np.concatenate(gradients), np.concatenate(totals))
