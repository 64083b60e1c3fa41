"""What is audited: an epidemic, the parameters to differentiate in and the outcomes to differentiate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.gradient_audit.exact import Answer
from sim import Population, Rates

__all__ = ["World"]


@dataclass(frozen=True, eq=False)
class World:
    """A test epidemic. Parameters are logs of factors on rates, 0 where the gradient is taken.

    Attributes:
        name: as given to `--worlds`.
        people: the population.
        parameters: Q names.
        outcomes: by name, weights `[T, G]` of the incidence; an outcome is the weighted sum.
        rates: `theta [P, Q]` to the rates of P particles, differentiable, on the device and of the type of theta.
        exact: the exact answer in the order of `outcomes` and `parameters`; None where differences have to do.
        method: how the exact answer is found.
        streams: of differences for the truth at most.
        runs: of a cheap estimator, so that its standard error is near 1 %.
        compared: whether the expensive estimators run here, too.
    """

    name: str
    people: Population
    parameters: tuple[str, ...]
    outcomes: dict[str, Tensor]
    rates: Callable[[Tensor], Rates]
    exact: Callable[[], Answer] | None = None
    method: str = "differences"
    streams: int = 0
    runs: int = 400
    compared: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of outcomes and of parameters."""
        return len(self.outcomes), len(self.parameters)

    @property
    def days(self) -> int:
        """Days simulated."""
        return len(next(iter(self.outcomes.values())))

    @property
    def reinfection(self) -> bool:
        """Whether people can be infected again."""
        return self.rates(torch.zeros(1, len(self.parameters), dtype=torch.float64)).reinfection.shape[-1] > 0

    def weights(self, like: Tensor) -> Tensor:
        """`[O, T, G]` weights of all outcomes."""
        return torch.stack(list(self.outcomes.values())).to(like)

    def fingerprint(self) -> str:
        """Names the world that a number belongs to: its columns, outcomes and rates, to five digits."""
        digest = hashlib.sha256(" ".join((*self.parameters, *self.outcomes)).encode())
        for column in (self.people.household_start, self.people.group, self.people.archetype, self.people.venues):
            digest.update(np.ascontiguousarray(column, dtype=np.int64).tobytes())
        theta = torch.zeros(1, len(self.parameters), dtype=torch.float64)
        for at in (theta, theta + 0.1 * torch.arange(1, len(self.parameters) + 1)):
            for x in (*self.rates(at).tensors(), *self.outcomes.values()):
                weight = torch.cos(torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape)
                number = float((x.double() * weight).sum())
                digest.update(np.format_float_scientific(number, precision=4).encode())
        return digest.hexdigest()[:16]
