"""A start near the mode: Gauss-Newton on a emulator of a stochastic simulator's mean outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calib._noise import base_noise, derive_seed
from calib._short_repr import short_repr
from calib.multifidelity._emulator import Emulator, EmulatorSettings, Runs

INNER_STEPS = 12
CARRY_RADIUS = 0.7  # rms change of the log outputs over which earlier runs are still carried to the present point


@dataclass(frozen=True)
class Outputs:
    """A simulator and the likelihood of its outputs, taken apart.

    Attributes:
        jacobian: `(z [P, D], seed) -> (outputs [P, M], jacobian [P, M, D])`; not-finite rows are left out.
        log_likelihood: `(z [P, D], mean outputs [P, M]) -> [P]`, differentiable in both.
        information: `(z [P, D], mean outputs [P, M], jacobian [P, M, D]) -> [P, D, D]` Fisher information in z.
        settings: how the emulator is fitted.
        values: `(z [P, D], seed) -> outputs [P, M]`, runs of a higher fidelity that set the intercept of the emulator, or None.
        at_emulator: `emulator -> (z [P, D] -> [P])` in the place of `log_likelihood`, for data that may be asked at points of an
            emulator alone; None otherwise.
    """

    jacobian: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    log_likelihood: Callable[[Tensor, Tensor], Tensor]
    information: Callable[[Tensor, Tensor, Tensor], Tensor]
    settings: EmulatorSettings
    values: Callable[[Tensor, int], Tensor] | None = None
    at_emulator: Callable[[Emulator], Callable[[Tensor], Tensor]] | None = None

    def likelihood(self, emulator: Emulator) -> Callable[[Tensor], Tensor]:
        """Log likelihood `z [P, D] -> [P]` with the mean outputs of an emulator, differentiable."""
        if self.at_emulator is not None:
            return self.at_emulator(emulator)
        return lambda z: self.log_likelihood(z, emulator(z))


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Where Gauss-Newton has come to.

    Attributes:
        z: `[D]`. information: `[D, D]` of the likelihood at z.
        pool_z, pool_outputs, pool_jacobian: `[S, ...]` the runs that the emulator rests on.
        value_z, value_outputs: `[V, ...]` the runs of the higher fidelity that set its level; none if V is 0.
        objective: log posterior (up to a constant) at each point reached, nats.
        simulations: runs made with Jacobians. value_simulations: runs of the higher fidelity.
    """

    __repr__ = short_repr

    z: Tensor
    information: Tensor
    pool_z: Tensor
    pool_outputs: Tensor
    pool_jacobian: Tensor
    value_z: Tensor
    value_outputs: Tensor
    objective: tuple[float, ...] = ()
    simulations: int = 0
    value_simulations: int = 0

    @property
    def iteration(self) -> int:
        """Steps done."""
        return len(self.objective)

    @property
    def covariance(self) -> Tensor:
        """Laplace approximation of the posterior covariance, `[D, D]`: prior N(0, I) and likelihood together."""
        eye = torch.eye(len(self.z), dtype=self.z.dtype, device=self.z.device)
        return torch.cholesky_inverse(torch.linalg.cholesky(eye + self.information))

    def emulator(
        self,
        settings: EmulatorSettings,
        more: tuple[Tensor, Tensor] | None = None,
        slopes: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Emulator:
        """The emulator by the pool; with `more` value runs, `[V, D]` and `[V, M]`, one with a quadratic term (see `Runs`)."""
        runs = (self.pool_z, self.pool_outputs, self.pool_jacobian)
        level = (self.value_z, self.value_outputs)
        if more is None or not len(more[0]):
            return settings.fit(Runs(*runs, level))
        level = tuple(torch.cat(pair) if len(pair[0]) else pair[1] for pair in zip(level, more, strict=True))  # type: ignore[assignment]
        return settings.fit(Runs(*runs, level, slopes, quadratic=True))


def cold_start(dim: int, like: Tensor) -> WarmStart:
    """The prior mode with no run yet, in the dtype and on the device of `like`."""
    none = like.new_zeros(0, dim)
    start, nothing = like.new_zeros(dim), like.new_zeros(dim, dim)
    empty = like.new_zeros(0, 0)
    return WarmStart(start, nothing, none, empty, like.new_zeros(0, 0, dim), none.clone(), empty.clone())


def gauss_newton(
    outputs: Outputs,
    state: WarmStart,
    *,
    particles: int,
    seed: int,
    radius: float = 1.0,
    dispersion: float = 0.0,
    value_runs: int = 0,
    keep: int = 64,
) -> WarmStart:
    """Simulate around the present point, then climb the log posterior of the emulator inside a trust region.

    Args:
        outputs: simulator and likelihood.
        state: where to start.
        particles: runs of this step, in antithetic pairs.
        seed: of the whole warm start; steps derive theirs from it and the iteration.
        radius: furthest move of a coordinate, prior standard deviations.
        dispersion: runs are made at draws of the Laplace approximation with its standard deviations times this; 0 puts all at z.
        value_runs: runs of the higher fidelity at z, if `outputs` has one.
        keep: most runs in the pool; runs from whose point the log outputs change by more than 0.7 (rms) are left out.

    Returns:
        The state after the step.

    Raises:
        ValueError: fewer than two runs were finite.
    """
    noise = base_noise("antithetic", particles, len(state.z), derive_seed(seed, state.iteration, "warm-noise")).to(
        state.z
    )
    points = state.z + dispersion * noise @ torch.linalg.cholesky(state.covariance).mT
    value, jacobian = outputs.jacobian(points, derive_seed(seed, state.iteration, "warm-start"))
    good = torch.isfinite(value).all(1) & torch.isfinite(jacobian).flatten(1).all(1)
    if int(good.sum()) < 2:
        raise ValueError(
            f"{int(good.sum())} of {particles} simulations were finite, and 2 are needed; check the priors' medians."
        )
    # in one layout, as they are after reading: sums over another order of memory round otherwise
    points, value, jacobian = (x[good].contiguous() for x in (points, value, jacobian))
    state = _remember(state, points, value, jacobian, keep, outputs, particles)
    state = _remember_values(state, value_runs, derive_seed(seed, state.iteration, "warm-values"), keep, outputs)
    emulator = state.emulator(outputs.settings)
    likelihood = outputs.likelihood(emulator)
    z, reached = state.z, _objective(likelihood, state.z)
    for _ in range(INNER_STEPS):
        _, gradient, information = _linearise(outputs, likelihood, emulator, z)
        step = torch.linalg.solve(torch.eye(len(z)).to(z) + information, gradient - z)
        for shorter in (1.0, 0.5, 0.25, 0.1):
            trial = state.z + (z + shorter * step - state.z).clamp(-radius, radius)
            height = _objective(likelihood, trial)
            if height > reached:
                break
        else:
            break
        gained, z, reached = height - reached, trial, height
        if gained < 0.01:
            break
    _, _, information = _linearise(outputs, likelihood, emulator, z)
    return replace(state, z=z, information=information, objective=(*state.objective, reached))


def _remember(
    state: WarmStart, z: Tensor, value: Tensor, jacobian: Tensor, keep: int, outputs: Outputs, made: int
) -> WarmStart:
    near = torch.zeros(0, dtype=torch.long)
    if len(state.pool_z):
        found = outputs.settings.fit(Runs(z, value, jacobian))
        near = _near(state.pool_z, state.z, found, keep - len(z))

    def joined(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old[near], new]) if len(near) else new

    return replace(
        state,
        pool_z=joined(state.pool_z, z),
        pool_outputs=joined(state.pool_outputs, value),
        pool_jacobian=joined(state.pool_jacobian, jacobian),
        simulations=state.simulations + made,
    )


def _remember_values(state: WarmStart, runs: int, seed: int, keep: int, outputs: Outputs) -> WarmStart:
    if not runs or outputs.values is None:
        return state
    z = state.z.expand(runs, -1)
    value = outputs.values(z, seed)
    good = torch.isfinite(value).all(1)
    old_z, old = state.value_z, state.value_outputs
    if len(old_z):
        near = _near(old_z, state.z, state.emulator(outputs.settings), keep - runs)
        z, value, good = torch.cat([old_z[near], z]), torch.cat([old[near], value]), torch.cat([near >= 0, good])
    return replace(
        state, value_z=z[good].clone(), value_outputs=value[good], value_simulations=state.value_simulations + runs
    )


def _near(pool: Tensor, z: Tensor, emulator: Emulator, most: int) -> Tensor:
    """Which of the runs `pool [S, D]`, the latest first to stay, still tell of the outputs at z."""
    carried = (emulator.feature_map(pool) - emulator.feature_map(z)) @ emulator.slope.mT
    if emulator.link == "identity":  # changes relative to the outputs, as logarithms have them
        carried = carried / emulator.intercept.abs().mean().clamp_min(1e-12)
    return ((carried**2).mean(1).sqrt() < CARRY_RADIUS).nonzero()[:, 0].flip(0)[:most].flip(0)


def _objective(likelihood: Callable[[Tensor], Tensor], z: Tensor) -> float:
    with torch.no_grad():
        value = float(likelihood(z[None])[0] - 0.5 * (z**2).sum())
    return value if value == value else -float("inf")


def _linearise(
    outputs: Outputs, likelihood: Callable[[Tensor], Tensor], emulator: Emulator, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    leaf = z[None].detach().clone().requires_grad_()
    value = likelihood(leaf)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    point = leaf.detach()
    return value.detach()[0], gradient[0], outputs.information(point, emulator(point), emulator.jacobian(point))[0]
