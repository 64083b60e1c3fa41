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

LONGEST = 2.0  # largest change of a log output over which a run is carried


@dataclass(frozen=True, eq=False)
class LocalMean:
    """`log E[output](z) = log_mean + slope (z - centre)`.

    Attributes:
        centre: `[D]`. log_mean: `[M]`. slope: `[M, D]`. runs: how many runs it rests on.
        relative_error: `[M]` standard error of the mean relative to it, from the scatter of the carried runs.
    """

    centre: Tensor
    log_mean: Tensor
    slope: Tensor
    relative_error: Tensor
    runs: int

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
    error = carried.std(0) / mean / len(z) ** 0.5
    return LocalMean(centre, mean.log(), slope, error, len(z))
