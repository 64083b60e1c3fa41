"""A start near the mode: damped Gauss-Newton on the log posterior, from Jacobians of a noisy simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from calib._flows import Flow, FullRank
from calib._noise import derive_seed


class Linearised(NamedTuple):
    """A log likelihood to second order at P particles: `value [P]`, `gradient [P, D]`, Fisher `information [P, D, D]`."""

    value: Tensor
    gradient: Tensor
    information: Tensor


Linearise = Callable[[Tensor, int], Linearised]
"""`(z [P, D], seed) -> Linearised`; not-finite rows are left out."""


@dataclass(frozen=True)
class WarmStart:
    """Where Gauss-Newton has come to.

    Attributes:
        z: `[D]`, mean of the last points.
        information: `[D, D]`, likelihood information there, mean over seeds.
        log_likelihood: mean log likelihood of each iteration, nats.
        simulations: particles simulated.
        iteration: iterations done.
    """

    z: Tensor
    information: Tensor
    log_likelihood: tuple[float, ...]
    simulations: int
    iteration: int

    @property
    def covariance(self) -> Tensor:
        """Laplace approximation of the posterior covariance, `[D, D]`: prior N(0, I) and likelihood together."""
        eye = torch.eye(len(self.z), dtype=self.z.dtype, device=self.z.device)
        return torch.cholesky_inverse(torch.linalg.cholesky(eye + self.information))


def cold_start(dim: int, like: Tensor) -> WarmStart:
    """The prior mode with nothing learnt."""
    zero = torch.zeros(dim, dtype=like.dtype, device=like.device)
    return WarmStart(zero, torch.zeros(dim, dim, dtype=like.dtype, device=like.device), (), 0, 0)


def gauss_newton(
    linearise: Linearise, state: WarmStart, *, particles: int, seed: int, radius: float = 1.0, memory: float = 0.5
) -> WarmStart:
    """One step towards the mode of `log p(y | z) + log N(z; 0, I)`.

    Gradient and information are means over `particles` random streams at one z; the information also remembers
    earlier steps, since one batch of a noisy simulator says little about curvature. A step longer than `radius` in any
    coordinate is shortened (Levenberg's damping in its simplest form: z is standardised to the prior).

    Args:
        linearise: the log likelihood.
        state: where to start.
        particles: simulations of the step.
        seed: of the whole warm start; steps derive theirs from it and the iteration.
        radius: longest move of a coordinate, prior standard deviations.
        memory: weight of the earlier information, in [0, 1).

    Returns:
        The state after the step.

    Raises:
        ValueError: no particle was finite.
    """
    z = state.z
    at = linearise(z.expand(particles, -1), derive_seed(seed, state.iteration, "warm-start"))
    good = (
        torch.isfinite(at.value)
        & torch.isfinite(at.gradient).all(-1)
        & torch.isfinite(at.information).flatten(1).all(-1)
    )
    if not bool(good.any()):
        raise ValueError(
            f"none of {particles} simulations at the starting point was finite; check the priors' medians."
        )
    fresh = at.information[good].mean(0)
    information = fresh if state.iteration == 0 else memory * state.information + (1 - memory) * fresh
    precision = torch.eye(len(z), dtype=z.dtype, device=z.device) + information
    step = torch.linalg.solve(precision, at.gradient[good].mean(0) - z)
    step = step * min(1.0, radius / float(step.abs().max().clamp_min(1e-12)))
    return WarmStart(
        z + step,
        information,
        (*state.log_likelihood, float(at.value[good].mean())),
        state.simulations + particles,
        state.iteration + 1,
    )


def start_flow(flow: Flow, warm: WarmStart, *, widen: float = 1.0) -> None:
    """Set the full-rank layer of a flow to the Laplace approximation of a warm start, in place.

    Args:
        flow: "gaussian" or "gaussian-nsf", whose other layers start as the identity.
        warm: where to.
        widen: factor on the standard deviations.

    Raises:
        ValueError: the flow has no full-rank layer.
    """
    layer = flow.layers[-1]
    if not isinstance(layer, FullRank):
        raise ValueError(
            f"flow {flow.name!r} has no full-rank layer to start from; use gaussian or gaussian-nsf, or no warm start."
        )
    factor = widen * torch.linalg.cholesky(warm.covariance)
    scale = factor.diagonal()
    with torch.no_grad():
        layer.loc.copy_(warm.z)
        layer.log_scale.copy_(scale.log())
        layer.lower.copy_((factor / scale[:, None]).tril(-1))
