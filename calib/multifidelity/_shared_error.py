"""What all outputs of an emulator are off by together, as errors drawn along with the parameters.

One run of a system residuals from its mean in all weeks together; so does the real system, which ran once, and so does a mean that was
fitted to such runs. A likelihood that takes these errors for independent noise believes the data too much where errors add up,
and its fitted scatter is too small by what it takes them for. Here the leading components of the residuals are errors of their own,
`log output = log mean + sd loading e`, e ~ N(0, I), drawn with the parameters (the covariance of a Gaussian process for many outputs,
Conti & O'Hagan 2010, J Stat Plan Inference 140:640); what these components leave remains independent noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calib._config import FitError
from calib._flows import Flow
from calib._layers import Back
from calib._short_repr import short_repr
from calib.multifidelity._emulator import Emulator, Link

START_SD = 0.3
"""Standard deviation of the errors that chains start with: of 1, all start far off."""


@dataclass(frozen=True, eq=False)
class SharedError:
    """Log errors of outputs for a run's own variance: `loading e` and independent noise.

    Attributes:
        loading: `[M, K]`. rest: `[M]` variance that the K components leave. share: `[M]` variance of the real system's own residual over
            that of a run of the simulator. link: scale on which errors add.
    """

    __repr__ = short_repr

    loading: Tensor
    rest: Tensor
    share: Tensor
    link: Link = "log"

    @property
    def count(self) -> int:
        """Number of errors K."""
        return self.loading.shape[1]

    def of(self, mean: Tensor, predictive: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs off by given errors.

        Args:
            mean: `[P, M]` mean outputs.
            predictive: `[P]` variance of the mean over that of a run's residual (`Emulator.predict_factors`).
            errors: `[P, K]`.

        Returns:
            Outputs `[P, M]` and what remains of their variance `[P, M]`, relative with the log link.
        """
        variance = predictive[:, None] + self.share
        error = variance.sqrt() * (errors @ self.loading.mT)
        return mean * torch.exp(error) if self.link == "log" else mean + error, variance * self.rest


def shared_error(emulator: Emulator, weight: Tensor, share: Tensor, count: int) -> SharedError:
    """The components of the residuals that tell most of what data can tell.

    Args:
        emulator: of the outputs that are compared with data.
        weight: `[M]` information of the data about the log of each output.
        share: `[M]`, see `SharedError`.
        count: components wanted; fewer if there are fewer runs.

    Returns:
        The errors.

    Raises:
        FitError: the emulator has no finite mean where the weight was taken.
    """
    if not torch.isfinite(weight).all():
        raise FitError(
            f"The emulator has no finite mean for {int((~torch.isfinite(weight)).sum())} of {len(weight)} observations at the centre of the "
            "fit: too few runs lie near it; give more runs or steps, or another seed."
        )
    rows = emulator.scaled_residual / emulator.runs**0.5
    left, _, _ = torch.linalg.svd(rows * weight.sqrt(), full_matrices=False)
    loading = rows.mT @ left[:, :count]
    rest = (rows.square().sum(0) - loading.square().sum(1)).clamp_min(0.0)
    return SharedError(loading, rest, share, emulator.link)


@dataclass(frozen=True, eq=False)
class WithErrors:
    """Coordinates of a flow and, beside them, K errors that stand for themselves: where chains run."""

    __repr__ = short_repr

    flow: Flow
    count: int

    def noise(self, particles: int, generator: torch.Generator) -> Tensor:
        """Starts `[P, D + K]`."""
        z = self.flow.noise(particles, generator)
        return torch.cat([z, START_SD * torch.randn(particles, self.count, generator=generator, dtype=z.dtype)], 1)

    def sample_with_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`[P, D + K]` and, up to a constant, their log density `[P]` under flow and N(0, I)."""
        own, errors = noise.split([noise.shape[1] - self.count, self.count], -1)
        z, log_q = self.flow.sample_with_log_prob(own)
        return torch.cat([z, errors], -1), log_q - 0.5 * errors.square().sum(-1)

    def with_back(self, noise: Tensor) -> tuple[Tensor, Tensor, Back]:
        """`sample_with_log_prob` of `noise [P, D + K]` without a graph, and a function from derivatives in both to that in the noise."""
        split = [noise.shape[1] - self.count, self.count]
        own, errors = noise.detach().split(split, -1)
        z, log_q, inner = self.flow.with_back(own)

        def back(to_both: Tensor, to_log_q: Tensor) -> Tensor:
            to_z, to_errors = to_both.split(split, -1)
            return torch.cat([inner(to_z, to_log_q), to_errors - to_log_q[:, None] * errors], -1)

        return torch.cat([z, errors], -1), log_q - 0.5 * errors.square().sum(-1), back
