"""Five inference tasks of sbibm (Lueckmann et al. 2021), in torch: prior, simulator, distribution of the observation.

Each simulator gives the parameters of the distribution of the data ("outputs"), as smooth functions of the task's parameters; a draw
of that distribution is what sbibm calls the simulator. Definitions follow sbibm 1.1.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Binomial,
    Distribution,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
    Uniform,
    constraints,
)

from calib import Parameter, ParameterSpace
from experiments.benchmark_posteriors._ode import log_infected_share, log_prey_and_predators

Theta = Mapping[str, Tensor]


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: as in sbibm.
        space: parameters and priors.
        simulator: `(theta {name: [P, *event]}, seed) -> outputs [P, M]`.
        likelihood: `outputs [*batch, M] -> ` distribution of the data, event `[K]`.
    """

    name: str
    space: ParameterSpace
    simulator: Callable[[Theta, int], Tensor]
    likelihood: Callable[[Tensor], Distribution]


def _sir(theta: Theta, seed: int) -> Tensor:
    del seed
    return log_infected_share(theta["rates"][..., 0], theta["rates"][..., 1])


def _counts(outputs: Tensor) -> Distribution:
    return Independent(Binomial(1000, probs=outputs.exp().clamp(max=1.0), validate_args=False), 1, validate_args=False)


def _lotka_volterra(theta: Theta, seed: int) -> Tensor:
    del seed
    return log_prey_and_predators(theta["rates"])


def _log_normal(outputs: Tensor) -> Distribution:
    inside = outputs.clamp(math.log(1e-10), math.log(1e4))
    return Independent(LogNormal(inside, 0.1, validate_args=False), 1, validate_args=False)


def _gaussian_linear(theta: Theta, seed: int) -> Tensor:
    del seed
    return theta["mean"]


def _normal(outputs: Tensor) -> Distribution:
    return Independent(Normal(outputs, math.sqrt(0.1), validate_args=False), 1, validate_args=False)


class Crescent(Distribution):
    """`centre + (0.25 + r cos a, r sin a)` with r ~ N(0.1, 0.01^2) and a uniform on the right half circle.

    Args:
        centre: `[*batch, 2]`.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (the interface of torch)
    support = constraints.real_vector
    offset, radius, width = 0.25, 0.1, 0.01

    def __init__(self, centre: Tensor) -> None:
        self.centre = centre
        super().__init__(centre.shape[:-1], centre.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact density in the plane, the `1 / r` of polar coordinates included, `[*batch]`."""
        u, v = (value - self.centre).unbind(-1)
        r = torch.hypot(u - self.offset, v)
        inside = Normal(self.radius, self.width, validate_args=False).log_prob(r) - r.log() - math.log(math.pi)
        return torch.where(u > self.offset, inside, -math.inf)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws `[*sample, *batch, 2]` from torch's global random state, as every distribution of torch does."""
        shape = (*sample_shape, *self.batch_shape)
        angle = math.pi * (torch.rand(shape, dtype=self.centre.dtype) - 0.5)
        r = self.radius + self.width * torch.randn(shape, dtype=self.centre.dtype)
        return self.centre + torch.stack([self.offset + r * angle.cos(), r * angle.sin()], -1)


def _two_moons(theta: Theta, seed: int) -> Tensor:
    del seed
    a, b = theta["position"].unbind(-1)
    return torch.stack([-(a + b).abs(), b - a], -1) / math.sqrt(2)


def _slcp(theta: Theta, seed: int) -> Tensor:
    del seed
    a, b, c, d, e = theta["shape"].unbind(-1)
    return torch.stack([a, b, c**2, d**2, e.tanh()], -1)


def _four_points(outputs: Tensor) -> Distribution:
    mean, scale, rho = outputs[..., :2], outputs[..., 2:4], outputs[..., 4].clamp(-1.0, 1.0)
    cross = rho * scale[..., 0] * scale[..., 1]
    first, second = (scale**2 + 1e-6).unbind(-1)
    # The Cholesky factor by hand: rows of a pair, far cheaper than a batched decomposition.
    corner = first.sqrt()
    below = cross / corner
    factor = torch.stack(
        [
            torch.stack([corner, torch.zeros_like(corner)], -1),
            torch.stack([below, (second - below**2).clamp_min(1e-12).sqrt()], -1),
        ],
        -2,
    )
    return _Flat(MultivariateNormal(mean, scale_tril=factor, validate_args=False))


class _Flat(Distribution):
    """Four independent draws of a distribution in the plane, side by side: event `[8]`."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (the interface of torch)
    support = constraints.real_vector

    def __init__(self, base: MultivariateNormal) -> None:
        self.base = base
        super().__init__(base.batch_shape, torch.Size((8,)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        full = value.expand(torch.broadcast_shapes(value.shape, (*self.batch_shape, 8)))
        points = full.reshape(*full.shape[:-1], 4, 2).movedim(-2, 0)
        return self.base.log_prob(points).sum(0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        draws = self.base.sample(torch.Size((4, *sample_shape)))
        return draws.movedim(0, -2).flatten(-2)


def _vector(
    name: str, prior: Distribution, reason: str, labels: tuple[str, ...] = (), unit: str = ""
) -> ParameterSpace:
    return ParameterSpace((Parameter(name, prior, unit=unit, reason=reason, labels=labels),))


def _tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def task(name: str) -> Task:
    """One of the tasks by its name.

    Raises:
        ValueError: there is no such task.
    """
    reason = "sbibm 1.1.0"
    if name == "sir":
        prior = LogNormal(_tensor(math.log(0.4), math.log(0.125)), _tensor(0.5, 0.2))
        return Task(name, _vector("rates", prior, reason, ("beta", "gamma"), "per day"), _sir, _counts)
    if name == "lotka_volterra":
        prior = LogNormal(_tensor(-0.125, -3.0, -0.125, -3.0), _tensor(0.5, 0.5, 0.5, 0.5))
        labels = ("alpha", "beta", "gamma", "delta")
        return Task(name, _vector("rates", prior, reason, labels), _lotka_volterra, _log_normal)
    if name == "gaussian_linear":
        normal = Normal(torch.zeros(10, dtype=torch.float64), math.sqrt(0.1))
        return Task(name, _vector("mean", normal, reason), _gaussian_linear, _normal)
    if name == "two_moons":
        uniform = Uniform(_tensor(-1, -1), _tensor(1, 1))
        return Task(name, _vector("position", uniform, reason), _two_moons, Crescent)
    if name == "slcp":
        uniform = Uniform(_tensor(*[-3] * 5), _tensor(*[3] * 5))
        return Task(name, _vector("shape", uniform, reason), _slcp, _four_points)
    raise ValueError(f"no task is called {name!r}: choose from {', '.join(TASKS)}.")


TASKS = ("sir", "lotka_volterra", "gaussian_linear", "two_moons", "slcp")
