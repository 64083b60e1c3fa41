"""Draws from a density that is cheap to evaluate: Hamiltonian Monte Carlo in the coordinates of a fitted flow.

A flow is an approximation, and in tens of dimensions a small mistake in each adds up. Where the likelihood costs no simulation
(an emulator) there is no need to stop there: in the flow's base noise the posterior is nearly N(0, I), where Hamiltonian
dynamics mix in a few steps (Parno & Marzouk 2018; "NeuTra", Hoffman et al. 2019, arXiv:1903.03704). What the flow misses of the covariance a
metric makes up for, learnt while the chains warm up. Many chains run side by side as rows of one tensor, all with one step size and metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from calib._layers import Back
from calib._slopes import with_slope


class Coordinates(Protocol):
    """Where chains run: base noise, and the map to what is drawn; a `Flow` is one."""

    def noise(self, particles: int, generator: torch.Generator) -> Tensor:
        """Starts, `[P, D]`."""
        ...

    def sample_with_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`[P, D]` and their log density `[P]` if the noise is N(0, I)."""
        ...

    def with_back(self, noise: Tensor) -> tuple[Tensor, Tensor, Back]:
        """The same without a graph, and a function from derivatives in z and in the log density `[P]` to that in the noise `[P, D]`."""
        ...


LogDensity = Callable[[Tensor], Tensor]
"""With a method `with_slope` it needs no graph (`calib._slopes`)."""
TRAJECTORY = math.pi / 2
"""Mean length of a trajectory: a quarter turn makes N(0, I) forget where it was."""
MOST_STEPS = 32
ACCEPTED = 0.8
"""Acceptance that the step size is tuned to unless told otherwise (Betancourt, Byrne & Girolami 2014)."""
RENEWED = (0.3, 0.65)
"""After which shares of the warm-up the metric is learnt anew from the draws since, those of all chains together."""
ENOUGH = 5
"""Draws for each dimension from which a covariance is believed."""
WILD = 1000.0  # a change of energy that calls the trajectory divergent, as in Stan


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of chains.

    Attributes:
        z: `[draw, chain, D]`. log_density: `[draw, chain]`, of z, up to a constant.
        step: size of a leapfrog step. accepted: mean acceptance. divergent: trajectories whose energy ran away.
        diverging: which they were, `[draw, chain]`. energy: of each draw with its momentum, `[draw, chain]`.
        gradients: evaluations of the density with its derivative, all chains together.
    """

    z: Tensor
    log_density: Tensor
    step: float
    accepted: float
    divergent: int
    diverging: Tensor
    energy: Tensor
    gradients: int = 0

    @cached_property
    def r_hat(self) -> Tensor:
        """`[D]` rank-normalised split R-hat (Vehtari et al. 2021)."""
        return self._by_dimension("rhat")

    @cached_property
    def effective(self) -> Tensor:
        """`[D]` bulk effective sample size (the same)."""
        return self._by_dimension("ess")

    @cached_property
    def effective_tail(self) -> Tensor:
        """`[D]` tail effective sample size (the same)."""
        return self._by_dimension("ess", method="tail")

    def _by_dimension(self, name: str, **options: str) -> Tensor:
        import arviz as az
        import xarray as xr

        # [chain, draw, D]; as a dataset, since of bare arrays ArviZ asks whether many short chains were meant
        data = xr.Dataset({"z": (("chain", "draw", "dim"), self.z.transpose(0, 1).cpu().numpy())})
        return torch.tensor(getattr(az, name)(data, **options)["z"].to_numpy())

    def draws(self, count: int, generator: torch.Generator) -> Tensor:
        """`[count, D]` draws, without repetition and evenly from all chains.

        Raises:
            ValueError: there are fewer.
        """
        flat = self.z.flatten(0, 1)
        if count > len(flat):
            raise ValueError(f"{count} draws were asked for of chains that hold {len(flat)}; sample longer.")
        stride = len(flat) // count
        order = torch.randperm(self.z.shape[1], generator=generator)
        even = self.z[:, order].flatten(0, 1)[::stride][:count]
        return even[torch.randperm(count, generator=generator)]


def sample_chains(
    log_density: LogDensity,
    flow: Coordinates,
    *,
    chains: int,
    warmup: int,
    draws: int,
    generator: torch.Generator,
    accepted: float = ACCEPTED,
    start: Tensor | None = None,
    until: Callable[[list[Tensor], int], bool] | None = None,
    leave: Callable[[Tensor], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Chains:
    """Hamiltonian Monte Carlo on `log_density` in the base noise of `flow`, started at draws of the flow.

    Args:
        log_density: `z [C, D]` to log posterior densities `[C]`, differentiable, or with a method `with_slope` that gives value and derivative
            `[C, D]`; NaN counts as impossible.
        flow: maps base noise to z; its weights are not changed.
        chains: C, run side by side.
        warmup: transitions in which step size (dual averaging, Hoffman & Gelman 2014) and metric are tuned, not kept.
        draws: transitions kept.
        generator: of everything random.
        accepted: acceptance that the step size is tuned to; higher, the steps are shorter and fewer chains stick in narrow corners.
        start: base noise of the chains, `[C, D]`; draws of it if None.
        until: called after each transition with the base noise `[C, D]` of the draws kept so far and the gradients spent by all chains; when
            it says True the warm-up ends, or else, after two draws, the chains.
        leave: called once, with the first third of the draws `z [draw, chain, D]`; if it says True, the chains end there.
        progress: called with transitions done and to do.

    Returns:
        The chains, with diagnostics.

    Raises:
        ValueError: the density is finite at no start.
    """

    def target(u: Tensor) -> tuple[Tensor, Tensor]:
        z, log_q, back = flow.with_back(u)
        # density of u: that of z times |det dz / du| = N(u) / q(z)
        value, rise = with_slope(log_density, z)
        value, slope = value - log_q - 0.5 * (u**2).sum(1), back(rise, -torch.ones_like(log_q)) - u
        bad = ~(torch.isfinite(value) & torch.isfinite(slope).all(1))
        return value.masked_fill(bad, -math.inf), slope.masked_fill(bad[:, None], 0.0)

    u = flow.noise(chains, generator) if start is None else start
    value, slope = target(u)
    alive = torch.isfinite(value)
    if not alive.any():
        raise ValueError(
            f"the log density is finite at none of {chains} draws of the flow, so that no chain can start; fit the flow first."
        )
    pick = torch.where(alive, torch.arange(chains), alive.nonzero()[0, 0])
    u, value, slope = u[pick], value[pick], slope[pick]

    step, tuned, metric, adapted = 0.5, 0, torch.eye(u.shape[1], dtype=u.dtype), []
    mu, smooth, error = math.log(10 * step), math.log(step), 0.0
    renewals = [round(share * warmup) for share in RENEWED]
    kept, heights, rates, look, spent = [], [], 0.0, max(1, draws // 3), chains
    wild: list[Tensor] = []
    energies: list[Tensor] = []
    for number in range(warmup + draws):
        length = TRAJECTORY * 2 * float(torch.rand((), generator=generator))
        steps = min(max(1, math.ceil(length / step)), MOST_STEPS)
        momentum = torch.randn(u.shape, generator=generator, dtype=u.dtype)
        energy = value - 0.5 * (momentum**2).sum(1)
        at, height, rise = u, value, slope
        momentum = momentum + 0.5 * step * rise @ metric  # in coordinates v, u = metric v
        for left in reversed(range(steps)):
            at = at + step * momentum @ metric.mT
            height, rise = target(at)
            momentum = momentum + (step if left else 0.5 * step) * rise @ metric
        spent += chains * steps
        after = height - 0.5 * (momentum**2).sum(1)
        change = after - energy
        chance = change.nan_to_num(-math.inf, posinf=0.0).clamp_max(0.0).exp()
        took = torch.rand(chains, generator=generator, dtype=u.dtype) < chance
        u = torch.where(took[:, None], at, u)
        value, slope = torch.where(took, height, value), torch.where(took[:, None], rise, slope)
        rate = float(chance.mean())
        if number < warmup:
            t = number + 1 - tuned
            adapted.append(u)
            error += (accepted - rate - error) / (t + 10)
            log_step = mu - math.sqrt(t) / 0.05 * error
            weight = t**-0.75
            smooth = weight * log_step + (1 - weight) * smooth
            step = math.exp(min(smooth if number + 1 == warmup else log_step, 0.7))
            if number + 1 in renewals and len(adapted) * chains >= ENOUGH * u.shape[1]:
                metric, adapted, tuned, step = _metric(torch.cat(adapted)), [], number + 1, 0.5
                mu, smooth, error = math.log(10 * step), math.log(step), 0.0
        else:
            rates += rate
            wild.append(~(change >= -WILD))
            energies.append(-torch.where(took, after, energy))
            kept.append(u)
            heights.append(value)
        if progress is not None:
            progress(number + 1, warmup + draws)
        if until is not None and until(kept, spent):
            if number < warmup:
                warmup, step = number + 1, math.exp(min(smooth, 0.7))
            elif len(kept) >= 2:
                break
        if leave is not None and len(kept) == look and leave(_where(flow, kept)[0]):
            break
    z, log_q = _where(flow, kept)
    height = torch.stack(heights) + (log_q + 0.5 * torch.stack(kept).square().sum(-1))
    diverging = torch.stack(wild)
    return Chains(z, height, step, rates / len(kept), int(diverging.sum()), diverging, torch.stack(energies), spent)


def _where(flow: Coordinates, kept: list[Tensor]) -> tuple[Tensor, Tensor]:
    """`[draw, chain, D]` and log densities `[draw, chain]` of the flow at base noise `[chain, D]` of every draw."""
    base = torch.stack(kept)
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(base.flatten(0, 1))
    return z.reshape(*base.shape[:2], -1), log_q.reshape(base.shape[:2])


def _metric(u: Tensor) -> Tensor:
    """`[D, D]` lower triangular root of the covariance of draws `[N, D]` of all chains, drawn to the identity as Stan does."""
    count, dim = u.shape
    pooled = (count * torch.cov(u.mT) + 5.0 * torch.eye(dim, dtype=u.dtype)) / (count + 5.0)
    return torch.linalg.cholesky(pooled)
