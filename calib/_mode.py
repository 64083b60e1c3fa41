"""The mode of a posterior from runs with Jacobians, started at several draws of the prior.

Damped Gauss-Newton steps (Levenberg 1944; Marquardt 1963): the curvature of the log likelihood in its outputs is exact, by
automatic differentiation of the likelihood alone, and is carried to the parameters by the Jacobian of the run; eigenvalues
enter by their size, so a step never runs uphill into a saddle. Every step is judged by a run. The random stream is the same
in all of them, so a simulator with chance in it is a function that can be climbed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calib._config import FitError
from calib._noise import derive_seed
from calib._reuse import Source

STARTS = 4  # the prior's centre and draws of it
FURTHEST = 2.0  # move of a coordinate in a step, prior standard deviations
EASE, TIGHTEN = 0.2, 4.0  # factors on the damping after a step that was taken and one that was not
DAMPED = 1e8  # damping at which a start is given up
SMALL_GAIN = 0.05  # nats
BEHIND = 20.0  # nats below a finished start at which one that still climbs is left


@dataclass(frozen=True, eq=False)
class Mode:
    """The highest point found.

    Attributes:
        z: `[D]`.
        information: minus the curvature of the log likelihood in z, positive semi-definite, `[D, D]`.
        height: log posterior up to a constant, nats.
        heights: those of all starts, best first.
        simulations: spent, a Jacobian counted at its cost.
        calls: runs made.
        dropped: runs that were not finite.
    """

    z: Tensor
    information: Tensor = field(repr=False)
    height: float
    heights: tuple[float, ...]
    simulations: int
    calls: int
    dropped: int


@dataclass
class _Climber:
    z: Tensor
    gradient: Tensor
    information: Tensor
    height: float
    damping: float = 1.0
    done: bool = False

    def trial(self) -> Tensor:
        """Where the next step would lead, `[D]`."""
        pull = torch.eye(len(self.z)).to(self.z) + self.information
        damped = pull + self.damping * torch.diag(pull.diagonal())
        return self.z + torch.linalg.solve(damped, self.gradient - self.z).clamp(-FURTHEST, FURTHEST)


def find_mode(source: Source, *, budget: int, seed: int, loss_weight: float = 1.0) -> Mode:
    """Climb from the prior's centre and some draws of it.

    Args:
        source: the simulator, in a chart that is z itself; its gradient `"reverse"` or `"forward"`.
        budget: simulations that may be spent.
        seed: of the starts and of the random stream.
        loss_weight: weight of the log likelihood.

    Returns:
        The highest point found, converged or not.

    Raises:
        ValueError: the simulator gives no Jacobian.
        FitError: no start had a finite run.
    """
    if source.gradient == "score":
        raise ValueError("the mode is found with Jacobians: use gradient='reverse' or 'forward'.")
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "mode"))
    stream = derive_seed(seed, 0, "mode-simulate")
    start = torch.randn(STARTS, source.coordinates.dim, generator=generator, dtype=torch.float64)
    start[0] = 0.0
    found = [c for c in _look(source, start, stream, loss_weight) if c is not None]
    calls, dropped = STARTS, STARTS - len(found)
    if not found:
        raise FitError(f"none of {STARTS} runs at draws of the prior was finite; check the simulator and the priors.")
    while climbing := [c for c in found if not c.done]:
        ended = [c.height for c in found if c.done]
        climbing = [c for c in climbing if not ended or c.height > max(ended) - BEHIND]
        if not climbing or (calls + len(climbing)) * source.cost > budget:
            break
        tried = _look(source, torch.stack([c.trial() for c in climbing]), stream, loss_weight)
        calls += len(climbing)
        for climber, other in zip(climbing, tried, strict=True):
            dropped += other is None
            if other is not None and other.height > climber.height:
                gain, climber.damping = other.height - climber.height, climber.damping * EASE
                climber.z, climber.gradient, climber.information = other.z, other.gradient, other.information
                climber.height = other.height
                climber.done = gain < SMALL_GAIN and climber.damping < 1.0
            else:
                climber.damping *= TIGHTEN
                climber.done = climber.damping > DAMPED
    found.sort(key=lambda c: -c.height)
    best = found[0]
    heights = tuple(c.height for c in found)
    return Mode(best.z, best.information, best.height, heights, calls * source.cost, calls, dropped)


def _look(source: Source, z: Tensor, stream: int, loss_weight: float) -> list[_Climber | None]:
    """Simulate at points: height, gradient and curvature of the log likelihood in z, None where the run was not finite."""
    runs, good = source.run(z, stream)
    found: list[_Climber | None] = []
    place = iter(range(len(runs)))
    for row, fine in enumerate(good.tolist()):
        climber = None
        if fine:
            assert runs.jacobian is not None
            at = next(place)
            climber = _climber(source, z[row], runs.outputs[at], runs.jacobian[at], loss_weight)
        found.append(climber)
    return found


def _climber(source: Source, z: Tensor, outputs: Tensor, jacobian: Tensor, loss_weight: float) -> _Climber | None:
    leaf = outputs[None].detach().requires_grad_()
    value = loss_weight * source.log_likelihood(leaf).sum()
    (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
    columns = jacobian.mT.contiguous()  # [D, M]
    hessian_rows = [_hessian_row(slope, leaf, column) for column in columns]
    information = -columns @ torch.stack(hessian_rows).mT
    height, gradient = float(value.detach() - 0.5 * (z**2).sum()), (slope.detach() @ jacobian)[0]
    if not (math.isfinite(height) and torch.isfinite(gradient).all() and torch.isfinite(information).all()):
        return None
    size, axes = torch.linalg.eigh(0.5 * (information + information.mT))
    return _Climber(z, gradient, (axes * size.abs()) @ axes.mT, height)


def _hessian_row(slope: Tensor, leaf: Tensor, direction: Tensor) -> Tensor:
    """Second derivative of the log likelihood in its outputs along a direction, `[M]`."""
    if not slope.requires_grad:  # linear in the outputs
        return torch.zeros_like(direction)
    (hessian,) = torch.autograd.grad(slope, leaf, direction[None], retain_graph=True, materialize_grads=True)
    return hessian[0]
