"""Does a simulator scatter at fixed parameters, how strongly, and do the runs of one call share their random numbers?

Strength is s, the sd of log p(y | run) over runs at one point, in nats. Below 0.1 the mean of log p(y | run) and the log of
the mean of p(y | run) differ by less than 0.01 nats, and a simulator may be treated as one without noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calib._noise import derive_seed
from calib._space import ParameterSpace

Outputs = Callable[[Mapping[str, Tensor], int], Tensor]
POINTS, RUNS = 5, 20
NEGLIGIBLE = 0.1  # nats


@dataclass(frozen=True)
class Pilot:
    """What a few runs say of a simulator's noise.

    Attributes:
        scatters: whether runs at the same parameters differ.
        shared: whether rows of one call with the same parameters are equal although calls with other seeds differ.
        sd: s at the best of five draws of the prior, nats; 0 without scatter, infinite where some run has likelihood 0.
        largest: largest s of the five, from three runs each: where epidemics die out the best may be one without scatter.
        simulations: spent.
        outputs: of the runs that were finite, `[S, M]`.
    """

    scatters: bool
    shared: bool
    sd: float
    largest: float
    simulations: int
    outputs: Tensor = field(repr=False)

    @property
    def negligible(self) -> bool:
        """Whether the noise may be left out."""
        return max(self.sd, self.largest) < NEGLIGIBLE


def run_noise_pilot(
    outputs: Outputs, log_likelihood: Callable[[Tensor], Tensor], space: ParameterSpace, seed: int
) -> Pilot:
    """Run a simulator twice at five draws of the prior, then twenty times at the best if the outputs differ.

    Args:
        outputs: the simulator, `(theta, seed) -> [P, M]`.
        log_likelihood: of outputs, `[P, M] -> [P]`, nats.
        space: parameters and priors.
        seed: of everything random.

    Returns:
        What was found, for 15 simulations or 35.

    Examples:
        >>> from torch.distributions import Normal
        >>> from calib import Parameter, ParameterSpace
        >>> space = ParameterSpace((Parameter("x", Normal(0.0, 1.0)),))
        >>> noisy = lambda theta, seed: theta["x"][:, None] + torch.randn(
        ...     len(theta["x"]), 1, generator=torch.Generator().manual_seed(seed))
        >>> run_noise_pilot(noisy, lambda out: -0.5 * (out[:, 0] - 1) ** 2, space, 0).scatters
        True
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "noise-pilot"))
    z = torch.randn(POINTS, space.dim, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        twice = outputs(space.to_theta(z.repeat(2, 1)), derive_seed(seed, 1, "noise-pilot"))
        third = outputs(space.to_theta(z), derive_seed(seed, 2, "noise-pilot"))
        first, second = twice[:POINTS], twice[POINTS:]
        within, between = _differ(first, second), _differ(first, third)
        spent, made = 3 * POINTS, torch.cat([twice, third])
        made = made[torch.isfinite(made).all(1)]
        if not (within or between):
            return Pilot(False, False, 0.0, 0.0, spent, made)
        value = _finite(log_likelihood(torch.cat([first, second, third]))).reshape(3, POINTS)
        largest = max(log_likelihood_sd(three) for three in value.T)
        best = z[value.logsumexp(0).argmax()]
        runs = simulate_apart(outputs, space, best.expand(RUNS, -1), derive_seed(seed, 3, "noise-pilot"), not within)
        sd = log_likelihood_sd(log_likelihood(runs))
    return Pilot(True, not within, sd, largest, spent + RUNS, made)


def simulate_apart(outputs: Outputs, space: ParameterSpace, z: Tensor, seed: int, shared: bool) -> Tensor:
    """Outputs `[P, M]` at `z [P, D]` with independent noise: one call a run where the rows of a call share their noise."""
    if not shared:
        return outputs(space.to_theta(z), seed)
    return torch.cat([outputs(space.to_theta(row[None]), derive_seed(seed, i, "run")) for i, row in enumerate(z)])


def _differ(one: Tensor, other: Tensor) -> bool:
    return not torch.equal(one.nan_to_num(nan=math.pi), other.nan_to_num(nan=math.pi))


def _finite(value: Tensor) -> Tensor:
    return value.double().nan_to_num(nan=-math.inf, posinf=-math.inf)


def log_likelihood_sd(value: Tensor) -> float:
    """Sd of log likelihoods of runs at one point, nats; infinite where some run cannot give the data."""
    value = _finite(value)
    return float(value.std()) if bool(torch.isfinite(value).all()) else math.inf
