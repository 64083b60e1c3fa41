"""What straight lines miss: a quadratic for each output, in the coordinates that move it.

Log outputs are nearly linear in a good feature_map, but a posterior of many parameters is wide in directions that the data tie together,
and there second-order terms add up. Products of two coordinates matter most: where one of the wide ones changes how much all others
move the outputs, the room that the data leave the others changes with it, and with it where the posterior lies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calib.multifidelity._predictive_variance import PredictiveVariance


@dataclass(frozen=True, eq=False)
class QuadraticTerm:
    """`quadratic(x) = constant + rise x + y' curve y`, y the coordinates that move an output most.

    Attributes:
        pick: `[M, K]` which coordinates quadratic each output. curve: `[M, K, K]`, symmetric.
        constant: `[M]`. rise: `[E, M]`.
        predictive: variance of the mean over that of the noise, one number a point for all outputs.
        noise: `[M]` variance of the noise, log scale. residual: `[V, M]` each run's log output minus what the other runs predict there.
        scaled_residual: `[V, M]` the same with the variance of the noise.
        curvature: prior standard deviation of the products, in units of what they multiply, log scale.
    """

    pick: Tensor
    curve: Tensor
    constant: Tensor
    rise: Tensor
    predictive: PredictiveVariance
    noise: Tensor
    residual: Tensor
    scaled_residual: Tensor
    curvature: float

    def __call__(self, x: Tensor) -> Tensor:
        """Correction of the log outputs `[*batch, M]` at `x [*batch, E]`, measured from the centre."""
        own = _own(x.reshape(-1, x.shape[-1]), self.pick)
        bent = (own * (self.curve @ own)).sum(1).mT
        return self.constant + x @ self.rise + bent.reshape(*x.shape[:-1], len(self.constant))

    def slope(self, x: Tensor) -> Tensor:
        """Its derivatives, `[*batch, M, E]`."""
        own = 2 * torch.einsum("mij,...mj->...mi", self.curve, x[..., self.pick])
        rise = self.rise.mT.expand(*x.shape[:-1], -1, -1)
        return rise.scatter_add(-1, self.pick.expand(*x.shape[:-1], -1, -1), own)

    def error(self, x: Tensor) -> Tensor:
        """Standard deviation of the log mean at `x [*batch, E]` given the runs, `[*batch, M]`: grows away from them."""
        return (self.predictive(x)[..., None] * self.noise).sqrt()

    def of(self, which: Tensor) -> QuadraticTerm:
        """The same for some outputs, a mask or an index into M."""
        last = {
            name: getattr(self, name)[..., which]
            for name in ("constant", "rise", "noise", "residual", "scaled_residual")
        }
        return replace(self, pick=self.pick[which], curve=self.curve[which], **last)

    @property
    def typical_error(self) -> Tensor:
        """`[M]` the same at the points of the runs, each predicted by the others."""
        return (self.noise * self.predictive.typical).sqrt()


def _own(x: Tensor, pick: Tensor) -> Tensor:
    """Each output's own coordinates, `[M, K, P]` of `x [P, E]`."""
    return x.mT.index_select(0, pick.flatten()).unflatten(0, pick.shape)
