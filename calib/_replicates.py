"""Likelihood of a stochastic simulator averaged over R runs: the log of the mean of p(y | run).

Bias: the mean of p(y | run) is unbiased, its logarithm too low, by about var(p) / (2 R mean(p)^2) nats where that is small. With
s the sd of log p(y | run), nearly normal, that is (exp(s^2) - 1) / (2 R): 0.02 nats for s = 0.5 and R = 8, and hopeless for s
of several nats, where no number of runs one can afford helps. Cost: R simulations for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calib._noise import derive_seed

Outputs = Callable[[Mapping[str, Tensor], int], Tensor]


@dataclass(frozen=True, eq=False)
class ReplicatedOutputs:
    """A simulator run R times with seeds of their own, set side by side: `(theta, seed) -> [P, R * M]`."""

    outputs: Outputs
    runs: int

    def __call__(self, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        """Simulate."""
        return torch.cat([self.outputs(theta, derive_seed(seed, r, "replicate")) for r in range(self.runs)], 1)


@dataclass(frozen=True, eq=False)
class MeanLikelihood:
    """Log of the mean over R runs of p(y | run): `[P, R * M] -> [P]`."""

    log_likelihood: Callable[[Tensor], Tensor]
    runs: int

    def __call__(self, outputs: Tensor) -> Tensor:
        """Evaluate."""
        each = self.log_likelihood(outputs.reshape(len(outputs) * self.runs, -1))
        return each.reshape(len(outputs), self.runs).logsumexp(1) - math.log(self.runs)


def log_mean_bias(sd: float, runs: int) -> float:
    """By how much the log of the mean of p(y | run) is low, nats, for log-normal p(y | run).

    Args:
        sd: of log p(y | run), nats.
        runs: averaged, R.

    Returns:
        The leading term of the bias; it is exact only while it is small.

    Examples:
        >>> round(log_mean_bias(0.5, 8), 3)
        0.018
    """
    return math.expm1(min(sd**2, 700.0)) / (2 * runs)
