"""A log likelihood between runs: the local model of its deficit, which has an upper bound.

A quadratic of a log likelihood has no upper bound where runs are few, and a posterior drawn from it goes there. Here the
deficit to the best run is modelled, on a scale that is logarithmic beyond a few nats: between the runs of a posterior this
is the log likelihood itself, far away a deficit of thousands bends no piece near by. No point may exceed the best run by
more than draws of a posterior do, and a point farther from every run than draws are from one another pays for it: what lies
beyond the runs can attract draws, which are then simulated, but cannot outweigh runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from calib._local_model import LocalModel, Runs

NEAR = 1.5  # distance to the nearest run, in units of that between two draws, beyond which a point pays
PRICE = 10.0  # nats, times the square of what is beyond


class DensityModel:
    """Log likelihoods between runs whose only output is the log likelihood.

    Args:
        runs: at least two, outputs `[S, 1]`, nats.
        scale: as for `LocalModel`.
        curvature: as for `LocalModel`.

    Attributes:
        top: of the best run, nats.
        knee: deficit beyond which the scale is logarithmic, nats.
        slack: how far above the best run a value may lie, nats.
    """

    def __init__(self, runs: Runs, scale: Tensor | None = None, curvature: bool = True) -> None:
        dim = runs.z.shape[1]
        self.top = float(runs.outputs.max())
        # Deficits of posterior draws are half a chi-squared with D degrees: the best of some hundred lies D / 2 below the mode.
        self.knee, self.slack = 10.0 + 2.0 * dim, 2.0 + 0.5 * dim
        deficit = self.top - runs.outputs
        slope = None
        if runs.jacobian is not None:
            slope = -runs.jacobian * torch.where(deficit < self.knee, 1.0, self.knee / deficit)[..., None]
        self.model = LocalModel(Runs(runs.z, self._compress(deficit), slope, runs.failed), scale, curvature)
        self.reachable = self.model.reachable

    def _compress(self, deficit: Tensor) -> Tensor:
        far = self.knee * (1.0 + (deficit.clamp_min(self.knee) / self.knee).log())
        return torch.where(deficit < self.knee, deficit, far)

    def __call__(self, z: Tensor) -> Tensor:
        """Log likelihoods `[P, 1]` at `z [P, D]`, differentiable in z."""
        modelled = self.model(z)
        far = self.knee * (modelled.clamp(self.knee, 50 * self.knee) / self.knee - 1.0).exp()
        deficit = torch.where(modelled < self.knee, modelled, far).clamp_min(-self.slack)
        usual = (2.0 * z.shape[1]) ** 0.5  # distance between two draws of a Gaussian in units of its own spread
        beyond = (self.distance(z) / usual - NEAR).clamp_min(0.0) if len(z) else z.new_zeros(0)
        return self.top - deficit - PRICE * beyond[:, None] ** 2

    def distance(self, z: Tensor) -> Tensor:
        """As `LocalModel.distance`."""
        return self.model.distance(z)
