"""Observations of which some are positives among the tested: beta-binomial beside counts and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calib import Parameter
from calib.multifidelity import StreamObservations
from epi.model.distributions import observation_distribution, variance
from epi.study import Stream

__all__ = ["Survey", "SurveyObservations"]

SMALLEST_VARIANCE = 1e-12
"""Relative variance of an expectation under which it counts as this much."""


@dataclass(frozen=True, eq=False)
class Survey:
    """The observations of one beta-binomial stream.

    Attributes:
        stream: its declaration.
        which: `[F]` where each stands among the outputs.
        positive, tested: `[F]` people.
        at: where the correlation stands in z. correlation: the parameter; both None for independent people.
    """

    stream: Stream
    which: Tensor
    positive: Tensor
    tested: Tensor
    at: int | None
    correlation: Parameter | None

    def theta(self, z: Tensor) -> dict[str, Tensor]:
        """The correlation at `z [P, D]`, as the distribution wants it."""
        if self.at is None or self.correlation is None:
            return {}
        return {self.correlation.name: self.correlation.map.forward(z[..., self.at])}

    def log_prob(self, z: Tensor, mean: Tensor, error: Tensor | None) -> Tensor:
        """`[P]` at `z [P, D]` with expected positives `mean [P, F]` and their relative variance `error [P, F]`."""
        # the root of a variance of 0 has no derivative, and shared errors may leave none of an output's own
        sd = None if error is None else error.clamp_min(SMALLEST_VARIANCE).sqrt()[:, None, :]
        fn = observation_distribution(self.stream, mean[:, None, :], self.theta(z), sd, self.tested)
        found: Tensor = fn.log_prob(self.positive).flatten(1).sum(1)
        return found

    def variance(self, z: Tensor, mean: Tensor, error: Tensor | None) -> Tensor:
        """`[P, F]` of the positives."""
        sd = None if error is None else error.sqrt()[:, None, :]
        return variance(self.stream, mean[:, None, :], self.theta(z), sd, self.tested)[:, 0]


@dataclass(frozen=True, eq=False)
class SurveyObservations:
    """Observations of streams and surveys, one after the other; an `Observations` of `calib.multifidelity`.

    Attributes:
        streams: counts and measurements, or None.
        surveys: the beta-binomial ones.
    """

    streams: StreamObservations | None
    surveys: Sequence[Survey]

    @property
    def which(self) -> Tensor:
        """`[F]` the output that each observation is compared with."""
        own = [] if self.streams is None else [self.streams.which]
        return torch.cat([*own, *(s.which for s in self.surveys)])

    @property
    def integrates_error(self) -> bool:
        """A relative variance of the outputs adds to that of the observations."""
        return True

    def _parts(self, x: Tensor | None) -> list[Tensor | None]:
        """Of the streams and each survey, of `x [P, F]`."""
        sizes = [0 if self.streams is None else len(self.streams.which), *(len(s.which) for s in self.surveys)]
        return [None] * len(sizes) if x is None else list(x.split(sizes, -1))

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """`[P]` at `z [P, D]` with expected outputs `mean [P, F]` and their relative variance."""
        (first, *means), (known, *errors) = self._parts(mean), self._parts(variance)
        total = torch.zeros(len(z)).to(mean)
        if self.streams is not None and first is not None:
            total = total + self.streams.log_likelihood(z, first, known)
        for survey, m, e in zip(self.surveys, means, errors, strict=True):
            assert m is not None
            total = total + survey.log_prob(z, m, e)
        return total

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """`[P, D, D]` Fisher information with all outputs, as of normal variables; what surveys tell of their correlation is left out."""
        total = torch.zeros(len(z), z.shape[1], z.shape[1]).to(mean)
        if self.streams is not None:
            total = total + self.streams.information(z, mean, jacobian, variance)
        for s in self.surveys:
            rows = jacobian[:, s.which]
            weight = 1 / s.variance(z, mean[:, s.which], None if variance is None else variance[:, s.which])
            total = total + torch.einsum("pfd,pf,pfe->pde", rows, weight, rows)
        return total

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """`[P, F]` information of the data about each logarithm of an output."""
        first, *means = self._parts(mean)
        parts = [] if self.streams is None or first is None else [self.streams.weight(z, first)]
        parts += [m**2 / s.variance(z, m, None) for s, m in zip(self.surveys, means, strict=True) if m is not None]
        return torch.cat(parts, -1)

    def compiled(self, emulator: object, errors: object) -> None:
        """There is no compiled likelihood with surveys in it."""
        return None
