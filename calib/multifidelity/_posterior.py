"""The posterior by an emulator: no simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calib._problem import Gradient
from calib._problem import Problem as FitProblem
from calib._slopes import with_slope
from calib.multifidelity._compiled import Compiled
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._problem import Problem
from calib.multifidelity._shared_error import SharedError, shared_error

MAX_COMPONENTS = 48
"""Errors that observations share: leading components of the residuals of runs."""
MAX_DRAWN = 150
"""The same where the likelihood integrates over no error, so that all of it is drawn."""

NEGLIGIBLE = 0.1
"""Variance of the mean over that of the real system's residual, below which it does not matter that the emulator extrapolates."""


@dataclass(frozen=True, eq=False)
class EmulatorPosterior:
    """A problem with an emulator in the simulator's place.

    Attributes:
        problem: the problem. emulator: of all its outputs.
    """

    problem: Problem
    emulator: Emulator

    @cached_property
    def fitted(self) -> Emulator:
        """The emulator of the outputs that are compared with data."""
        return self.emulator.of(self.problem.observations.which)

    def fit_problem(self) -> FitProblem:
        """The log likelihood on z as `calib.fit` wants it; the emulator's error counts as independent noise of each observation."""
        space, observations = self.problem.space, self.problem.observations
        compiled = observations.compiled(self.fitted, None)

        def log_likelihood(z: Tensor, seed: int, gradient: Gradient) -> Tensor:
            if compiled is not None:
                return compiled(z, z[:, :0])
            return observations.log_likelihood(z, *self.fitted.predict(z))

        return FitProblem(
            space.dim, log_likelihood, space.names, lambda z: space.flatten(space.to_theta(z)), self.problem.fingerprint
        )

    def shared_error(self, z: Tensor) -> SharedError:
        """Errors that the observations share, weighed by what these tell at `z [D]`."""
        observations, at = self.problem.observations, z[None]
        weight = observations.weight(at, self.fitted(at))[0]
        count = MAX_COMPONENTS if observations.integrates_error else MAX_DRAWN
        return shared_error(self.fitted, weight, self.problem.variance_share, count)

    def joint(self, errors: SharedError) -> Joint:
        """Log posterior of parameters and errors, up to a constant."""
        return Joint(self, errors, self.problem.observations.compiled(self.fitted, errors))

    def outputs_given(self, z: Tensor, errors: SharedError, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Expected outputs compared, `[P, F]`, at `z [P, D]` and errors `drawn [P, K]`, and the variance that remains of them."""
        mean, predictive, _ = self.fitted.predict_factors(z)
        return errors.of(mean, predictive, drawn)

    def least_known(self, z: Tensor, count: int) -> Tensor:
        """Those of `z [P, D]` that would tell most of the mean if they were run, `[count, D]`; none without a quadratic term."""
        emulator = self.emulator
        if emulator.quadratic is None:
            return z[:0]
        return z[emulator.quadratic.predictive.least_known(emulator.feature_map(z) - emulator.centre, count)]

    def extrapolated(self, z: Tensor) -> float:
        """Share of draws `z [P, D]` at which the emulator is less certain than at a run that it was not fitted to.

        A variance that is small against that of the real system's own residual does not count.
        """
        fitted = self.fitted
        if fitted.quadratic is None:
            return 0.0
        predictive = fitted.quadratic.predictive
        bound = max(predictive.typical, NEGLIGIBLE * float(self.problem.variance_share.min()))
        return float((predictive(fitted.feature_map(z) - fitted.centre) > bound).double().mean())


@dataclass(frozen=True, eq=False)
class Joint:
    """Log posterior, up to a constant, of parameters and errors `[P, D + K]`; both are N(0, I) before any data.

    Attributes:
        posterior: by an emulator. errors: that the observations share. compiled: the likelihood, if there is such a thing.
    """

    posterior: EmulatorPosterior
    errors: SharedError
    compiled: Compiled | None

    def __call__(self, both: Tensor) -> Tensor:
        """`[P]`, differentiable once."""
        z, e = self._split(both)
        observations = self.posterior.problem.observations
        found = (
            self.compiled(z, e)
            if self.compiled
            else observations.log_likelihood(z, *self.posterior.outputs_given(z, self.errors, e))
        )
        return found - 0.5 * both.square().sum(-1)

    def with_slope(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """`[P]` and its derivative `[P, D + K]`, without a graph."""
        if self.compiled is None:
            ask: Callable[[Tensor], Tensor] = self.__call__
            return with_slope(ask, both)
        both = both.detach()
        value, to_z, to_errors = self.compiled.value_and_gradients(*self._split(both))
        return value - 0.5 * both.square().sum(-1), torch.cat([to_z, to_errors], -1) - both

    def _split(self, both: Tensor) -> tuple[Tensor, ...]:
        return both.split([both.shape[-1] - self.errors.count, self.errors.count], -1)
