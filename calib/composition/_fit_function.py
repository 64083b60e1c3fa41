"""The posterior of functions before a simulator: Gauss-Newton steps and a Laplace approximation in function space.

With A the Jacobian of physical coordinates in z, K = A A' their prior covariance and H their information in the data, a step is
`z' = A' (I + H K)^-1 (s + H A z)`, the posterior covariance of physical coordinates `(I + K H)^-1 K` and the log evidence
`log p(y | z) - |z|^2 / 2 - log det(I + H K) / 2`: matrices of the size of the physical coordinates, whatever the number of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from calib._config import FitError
from calib._noise import derive_seed
from calib._observed import Evaluate, Likelihood, as_data
from calib._short_repr import short_repr
from calib.composition._compose import Composed

SHORTER = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.003)
"""Shares of a step that are tried."""
SMALL = 1e-2
"""Step, in standard deviations of the prior, that counts as none."""


@dataclass(frozen=True, eq=False)
class FunctionPosterior:
    """Where the steps have come to.

    Attributes:
        composed: simulator and blocks.
        z: `[D]` the mode, in standardised weights and parameters.
        coordinates: `[n]` physical coordinates there.
        prior_covariance: `[n, n]` of physical coordinates, of the blocks made straight at the mode.
        covariance: `[n, n]` of the posterior.
        outputs: `[M]` of the simulator at the mode.
        log_likelihood: at the mode, nats.
        log_evidence: Laplace approximation, nats; exact where blocks and simulator are straight and errors normal.
        objective: log posterior after each step, up to a constant.
        runs: simulations made.
        converged: whether the last step gained less than the tolerance, or none was left to make; not where no step gains.
    """

    __repr__ = short_repr

    composed: Composed
    z: Tensor
    coordinates: Tensor
    prior_covariance: Tensor = field(repr=False)
    covariance: Tensor = field(repr=False)
    outputs: Tensor = field(repr=False)
    log_likelihood: float
    log_evidence: float
    objective: tuple[float, ...]
    runs: int
    converged: bool

    def mean(self, name: str) -> Tensor:
        """Posterior mode of a block, of its shape."""
        shape = next(b.shape for b in self.composed.blocks if b.name == name)
        return self.coordinates[self.composed.slice_of(name)].reshape(shape)

    def sd(self, name: str) -> Tensor:
        """Posterior standard deviation of a block's values, of its shape."""
        shape = next(b.shape for b in self.composed.blocks if b.name == name)
        return self.covariance.diagonal().clamp_min(0.0).sqrt()[self.composed.slice_of(name)].reshape(shape)

    def draws(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of physical coordinates, `[count, n]`."""
        value, vector = torch.linalg.eigh(self.covariance)
        root = vector * value.clamp_min(0.0).sqrt()
        noise = torch.randn(count, len(value), generator=generator, dtype=torch.float64)
        return self.coordinates + noise @ root.mT

    def sample(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws of the simulator's parameters by name, `[count, *event]`."""
        return self.composed.theta_of(self.draws(count, generator))


def fit_function(
    composed: Composed,
    data: Any,
    likelihood: Likelihood,
    *,
    information: Callable[[Tensor], Tensor] | None = None,
    steps: int = 25,
    tolerance: float = 1e-3,
    replicates: int = 1,
    seed: int = 0,
    start: Tensor | None = None,
) -> FunctionPosterior:
    """Find the posterior of blocks and plain parameters together.

    Each step makes one run with derivatives in physical coordinates and a few without; the number does not depend on the blocks' weights.

    Args:
        composed: simulator and blocks.
        data: observed, one event of the likelihood; NaN where an observation is missing.
        likelihood: distribution of the data given outputs `[P, M]`.
        information: `outputs [M] -> [M]` Fisher information of the data about each output, at least 0 and 0 where data are missing; None for
            the curvature of the log likelihood.
        steps: at most.
        tolerance: gain in nats at which to stop.
        replicates: runs that are averaged, for a stochastic simulator.
        seed: of the simulator, the same in all steps, and of where networks start.
        start: `[D]`; the prior's centre if None, weights of networks at a fifth of a draw of their prior.

    Returns:
        The posterior.

    Raises:
        FitError: the run at the start is not finite.
    """
    value = Evaluate(likelihood, as_data(data))
    seeds = [derive_seed(seed, r, "fit-function") for r in range(replicates)]
    before = composed.runs

    def outputs_at(z: Tensor) -> Tensor:
        point = composed.physical(z).detach()[None]
        return torch.stack([composed.outputs(point, s)[0] for s in seeds]).mean(0)

    def height(out: Tensor, z: Tensor) -> float:
        with torch.no_grad():
            return float(value(out[None])[0] - 0.5 * (z**2).sum()) if bool(torch.isfinite(out).all()) else float("nan")

    z = composed.start(seed) if start is None else start.double().clone()
    reached = height(outputs_at(z), z)
    if not reached == reached or reached == float("-inf"):
        raise FitError(
            "the run at the start of the fit has no finite log likelihood; check the priors' medians and the data."
        )
    objective, converged = [reached], False
    for step in range(steps + 1):
        local = _linearise(composed, z, seeds, value, information)
        if step == steps or converged:
            break
        target = local.step(z)
        for share in SHORTER:
            trial = z + share * (target - z)
            found = height(outputs_at(trial), trial)
            if found > reached:
                break
        else:
            # nothing higher is found where the straightened problem promises nothing more, or where it is far from the true one
            converged = bool((target - z).abs().max() < SMALL)
            break
        gain, z, reached = found - reached, trial, found
        objective.append(reached)
        converged = gain < tolerance
    inner = torch.eye(len(local.prior), dtype=torch.float64) + local.prior @ local.information
    covariance = torch.linalg.solve(inner, local.prior)
    at = float(value(local.outputs[None])[0])
    evidence = at - 0.5 * float((z**2).sum()) - 0.5 * float(torch.linalg.slogdet(inner)[1])
    return FunctionPosterior(
        composed, z, local.coordinates, local.prior, 0.5 * (covariance + covariance.mT), local.outputs, at, evidence, tuple(objective),
        composed.runs - before, converged,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Local:
    """Blocks and likelihood made straight at a point."""

    coordinates: Tensor
    outputs: Tensor
    inward: Tensor  # [n, D]
    prior: Tensor  # [n, n]
    score: Tensor  # [n]
    information: Tensor  # [n, n]

    def step(self, z: Tensor) -> Tensor:
        """The mode of the straightened problem."""
        inner = torch.eye(len(self.prior), dtype=z.dtype) + self.information @ self.prior
        given: Tensor = self.inward.mT @ torch.linalg.solve(inner, self.score + self.information @ (self.inward @ z))
        return given


def _linearise(
    composed: Composed,
    z: Tensor,
    seeds: list[int],
    value: Callable[[Tensor], Tensor],
    information: Callable[[Tensor], Tensor] | None,
) -> _Local:
    coordinates = composed.physical(z).detach()
    inward = torch.func.jacrev(composed.physical)(z).detach()
    runs = [composed.jacobian(coordinates, seed) for seed in seeds]
    outputs = torch.stack([out for out, _ in runs]).mean(0).detach()
    jacobian = torch.stack([slope for _, slope in runs]).mean(0).detach()
    with torch.enable_grad():
        leaf = outputs.clone().requires_grad_()
        (score,) = torch.autograd.grad(value(leaf[None])[0], leaf, create_graph=information is None)
        if information is not None:
            weight = information(outputs)
            known = jacobian.mT @ (weight[:, None] * jacobian)
        else:
            known = jacobian.mT @ _curvature(score, leaf) @ jacobian
    return _Local(coordinates, outputs, inward, inward @ inward.mT, jacobian.mT @ score.detach(), known)


def _curvature(score: Tensor, leaf: Tensor) -> Tensor:
    """`[M, M]` minus the second derivative of the log likelihood, no direction of it negative."""
    if not score.requires_grad:
        return torch.zeros(len(leaf), len(leaf), dtype=leaf.dtype)
    eye = torch.eye(len(leaf), dtype=leaf.dtype)
    (second,) = torch.autograd.grad(score, leaf, eye, is_grads_batched=True)
    own, vector = torch.linalg.eigh(-0.5 * (second + second.mT))
    return (vector * own.clamp_min(0.0)) @ vector.mT
