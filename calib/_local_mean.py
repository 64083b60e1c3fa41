"""The mean outputs of a noisy simulator near a point, from runs and their Jacobians.

A small agent-based model scatters around its expectation far more than the real system does. Comparing one run with the
data lets that chance into the likelihood, where it can only widen the fitted dispersion. What belongs there is the
expectation over random streams: here estimated by carrying every run of a pool, with its own Jacobian, to the point asked
for and averaging. Outputs are positive and grow multiplicatively, so runs are carried on the log scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_STRAY = 1.5  # relative strays are cut here: first order means nothing beyond
LONGEST = 2.0  # largest change of a log output over which a run is carried


@dataclass(frozen=True, eq=False)
class LocalMean:
    """`log E[output](z) = log_mean + slope (z - centre)`.

    Attributes:
        centre: `[D]`. log_mean: `[M]`. slope: `[M, D]`. runs: how many runs it rests on.
        stray: `[S, M]` how far each carried run lies from the mean, relative to it.
    """

    centre: Tensor
    log_mean: Tensor
    slope: Tensor
    stray: Tensor

    @property
    def runs(self) -> int:
        """Number of runs S it rests on."""
        return len(self.stray)

    @property
    def relative_error(self) -> Tensor:
        """`[M]` standard error of the mean relative to it."""
        return self.stray.std(0) / self.runs**0.5

    def __call__(self, z: Tensor) -> Tensor:
        """Mean outputs `[*batch, M]` at `z [*batch, D]`."""
        return torch.exp(self.log_mean + (z - self.centre) @ self.slope.mT)

    def jacobian(self, z: Tensor) -> Tensor:
        """Their derivatives, `[*batch, M, D]`."""
        return self(z)[..., None] * self.slope


def local_mean(z: Tensor, outputs: Tensor, jacobian: Tensor, *, floor: float, passes: int = 3) -> LocalMean:
    """Estimate the mean outputs around the mean of `z`.

    Slopes are ratios of sums (summed Jacobians over summed outputs), so that runs in which an output is nearly zero do not
    drown the others.

    Args:
        z: `[S, D]`, where the runs were made.
        outputs: `[S, M]`, not negative.
        jacobian: `[S, M, D]`, derivatives of the expected outputs.
        floor: outputs are treated as at least this.
        passes: refinements of slope and mean by one another.

    Returns:
        The local mean.

    Raises:
        ValueError: fewer than two runs, or an entry is not finite.
    """
    if len(z) < 2:
        raise ValueError(f"{len(z)} run was given for a local mean; at least 2 are needed to tell mean from chance.")
    if not (torch.isfinite(outputs).all() and torch.isfinite(jacobian).all()):
        raise ValueError("outputs or Jacobians of the pool are not finite; leave out the runs that failed.")
    centre, value = z.mean(0), outputs.clamp_min(floor)
    weight = torch.ones_like(value)
    for _ in range(passes):
        total = (weight * value).sum(0)
        slope = torch.einsum("sm,smd->md", weight, jacobian) / total[:, None]
        weight = torch.exp((-(z - centre) @ slope.mT).clamp(-LONGEST, LONGEST))
    carried = weight * value
    mean = carried.mean(0)
    return LocalMean(centre, mean.log(), slope, carried / mean - 1)


def chance_covariance(local: LocalMean, covariance: Tensor, weight: Tensor, share: Tensor) -> Tensor:
    """How far chance moves an estimate that was made as if outputs strayed from their means independently.

    One run of the real system strays from its mean in all weeks together, and so does the local mean from the true one. A
    likelihood of independent counts does not know that. To first order an output that is off by the relative amount r moves
    the estimate by `covariance slope' weight r`; the strays of the runs say how r is distributed. (The middle of the sandwich
    covariance of Huber 1967 and White 1982, with chance simulated instead of estimated from the data.)

    Args:
        local: slopes and strays.
        covariance: `[D, D]` of the estimate without chance.
        weight: `[M]` information about the log of each output, `mean^2 / variance`; 0 where it is not fitted.
        share: `[M]` variance of r as a share of the variance of a run's stray.

    Returns:
        `[D, D]`, to be added to `covariance`.
    """
    influence = covariance @ (local.slope * weight[:, None]).mT  # [D, M]
    moves = (local.stray.clamp(-LARGEST_STRAY, LARGEST_STRAY) * share.sqrt()) @ influence.mT
    return moves.mT @ moves / (local.runs - 1)
