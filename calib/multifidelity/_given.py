"""A user's likelihood of outputs, any differentiable function of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from calib._short_repr import short_repr
from calib.multifidelity._emulator import Emulator, Link
from calib.multifidelity._shared_error import SharedError

MIN_SHARE = 1e-6
"""Information of an observation counts as at least this share of the largest: none has no weight."""


@dataclass(frozen=True, eq=False)
class GivenLikelihood:
    """Observations of which only the log likelihood given outputs is known.

    It integrates over no error of the outputs: the chains draw all of it along with the parameters.

    Attributes:
        value: `outputs [P, M] -> [P]`, twice differentiable.
        outputs: number of outputs M.
        link: of the emulator.
    """

    __repr__ = short_repr

    value: Callable[[Tensor], Tensor]
    outputs: int
    link: Link

    @property
    def which(self) -> Tensor:
        """All outputs are compared."""
        return torch.arange(self.outputs)

    @property
    def integrates_error(self) -> bool:
        """It does not."""
        return False

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`; the variance is left to the chains."""
        return self.value(mean)

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`: the curvature of the log likelihood, an error of the outputs as independent noise of each."""
        own = self._curvature(mean)
        if variance is not None:
            own = own / (1 + own * (variance * mean**2 if self.link == "log" else variance))
        return torch.einsum("pfd,pf,pfe->pde", jacobian, own, jacobian)

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """See `Observations`."""
        own = self._curvature(mean) * (mean**2 if self.link == "log" else 1.0)
        return own.clamp_min(MIN_SHARE * float(own.max()) + 1e-30)

    def compiled(self, emulator: Emulator, errors: SharedError | None) -> None:
        """There is none."""
        return

    def _curvature(self, mean: Tensor) -> Tensor:
        """`[P, M]` minus the second derivative in each output, none of it negative; between outputs it is taken to be none."""
        with torch.enable_grad():
            leaf = mean.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.value(leaf).sum(), leaf, create_graph=True)
            if not slope.requires_grad:
                return torch.zeros_like(mean)
            (curve,) = torch.autograd.grad(slope.sum(), leaf, materialize_grads=True)
        return (-curve).clamp_min(0.0)
