"""A mixture of Gaussians through draws: cheap to fit, to draw from and to evaluate, and it holds many modes at once.

Used as a proposal, where only its support must be right: it need not be the best mixture, so expectation-maximisation
(Dempster, Laird & Rubin 1977) runs for a few turns from a start that spreads the centres (Arthur & Vassilvitskii 2007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calib._compiled import log_parts, maximise

TURNS = 12
PRIOR = 1.0  # draws' worth of the common covariance in each component's
POINTS = 12  # draws a component, times D + 1, at least
LARGEST = 32  # components


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians with shares.

    Attributes:
        share: log shares, `[K]`.
        centre: `[K, D]`.
        factor: lower Cholesky factors of the covariances, `[K, D, D]`.
    """

    share: Tensor
    centre: Tensor
    factor: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density, `[S]`."""
        return torch.logsumexp(self.log_parts(x), -1)

    def log_parts(self, x: Tensor) -> Tensor:
        """Log of share times density of each component, `[S, K]`."""
        return torch.from_numpy(log_parts(_columns(x), *_arrays(self.share, self.centre, self.factor)).T).to(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws `[count, D]`."""
        pick = torch.multinomial(self.share.exp(), count, replacement=True, generator=generator)
        noise = torch.randn(count, self.centre.shape[1], generator=generator, dtype=self.centre.dtype)
        return self.centre[pick] + (self.factor[pick] @ noise[..., None])[..., 0]


def fit_mixture(x: Tensor, generator: torch.Generator, components: int | None = None) -> Mixture:
    """Fit a mixture to draws.

    Args:
        x: `[S, D]`.
        generator: of the start.
        components: K; as many as the draws bear, at most 32, if None.

    Returns:
        The mixture.
    """
    count, dim = x.shape
    number = components or max(1, min(LARGEST, count // (POINTS * (dim + 1))))
    common = x.T.cov().reshape(dim, dim)
    small = 1e-8 * common.diagonal().mean().clamp_min(1e-12) * torch.eye(dim).to(x)
    centre = _distant_centres(x, number, torch.linalg.cholesky(common + small), generator)
    covariance = (common * number ** (-2.0 / dim) + small).expand(number, dim, dim)
    share = torch.full((number,), -math.log(number)).to(x)
    pull = common * number ** (-2.0 / dim)
    turns = TURNS if number > 1 else 1
    found = maximise(_columns(x), *_arrays(share, centre, covariance, pull, small), turns, PRIOR)
    return Mixture(*(torch.from_numpy(a).to(x) for a in found))


def _columns(x: Tensor) -> np.ndarray:
    """Draws `[S, D]` as `[D, S]`."""
    return np.ascontiguousarray(x.detach().numpy().T, dtype=np.float64)


def _arrays(*given: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(a.detach().numpy(), dtype=np.float64) for a in given)


def _distant_centres(x: Tensor, number: int, factor: Tensor, generator: torch.Generator) -> Tensor:
    """Draws that lie apart: each is chosen with a chance that grows with its distance from those before."""
    unit = torch.linalg.solve_triangular(factor, x.mT, upper=False).mT
    first = int(torch.randint(len(x), (1,), generator=generator))
    chosen, near = [first], ((unit - unit[first]) ** 2).sum(-1)
    for _ in range(number - 1):
        pick = int(torch.multinomial(near + 1e-12, 1, generator=generator))
        chosen.append(pick)
        near = torch.minimum(near, ((unit - unit[pick]) ** 2).sum(-1))
    return x[chosen]
