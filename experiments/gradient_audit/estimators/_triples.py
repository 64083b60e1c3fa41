"""Stochastic triples with one sampled alternative: the gradient as a difference between a run and one that parts from it by one draw."""

from __future__ import annotations

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from numpy.typing import NDArray
from torch import Tensor

from experiments.gradient_audit.exact import epidemic
from experiments.gradient_audit.worlds import World

__all__ = ["sampled_alternatives"]


def sampled_alternatives(world: World, seed: int, streams: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients and outcomes of runs, with one alternative a parameter.

    A draw `x = 1 if u < p` changes, as p grows by dp, from 0 to 1 with probability `dp / (1 - p)`, given that it was 0; as p falls, from 1
    to 0 with probability `-dp / p`, given that it was 1. Here dp is the derivative with earlier draws held as they were. Of all
    draws of a run that could change one is chosen in proportion to its probability, changed, and the run repeated with the same random
    numbers. The estimate is the sum of the probabilities times the difference of the outcomes: unbiased, and noisy, since one of
    thousands of alternatives stands for all.

    Args:
        world: what is simulated, on the CPU.
        seed: of the random numbers.
        streams: `[B]` of the runs.

    Returns:
        `[B, O, Q]` gradients and `[B, O]` outcomes.

    References:
        Arya, Schauer, Schäfer and Rackauckas (2022). Automatic differentiation of programs with discrete randomness. NeurIPS 35
        (pruning to one alternative: section 2.3).
    """
    people, (many, Q), B = world.people, world.size, len(streams)
    direction = torch.eye(Q, dtype=torch.float64).repeat(B, 1)  # Q particles a run, each with its own parameter
    theta = torch.zeros_like(direction)
    numbers = [_uniform(seed, int(s), world.days, people.agents + 2 * Q) for s in streams]
    u = torch.stack([x[:, : people.agents] for x in numbers], 1).repeat_interleave(Q, 1)
    ticket = torch.cat([x[:, people.agents :].reshape(world.days, 2, Q) for x in numbers], 2)
    chosen = _Chosen(B * Q)

    def infect(day: int, hazard: Tensor) -> Tensor:
        value, slope = forward_ad.unpack_dual(hazard)
        infected = (u[day] < -torch.expm1(-value)).to(value)
        if slope is not None:
            # dp / (1 - p) = d hazard; -dp / p = -d hazard / (exp(hazard) - 1)
            up = slope.clamp_min(0) * (1 - infected)
            down = torch.where(infected > 0, (-slope).clamp_min(0) / torch.expm1(value.clamp_min(1e-300)), 0.0)
            chosen.offer(day, up + down, ticket[day])
        return infected

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(theta, direction)
        incidence = forward_ad.unpack_dual(epidemic(people, world.rates(dual), B * Q, infect)).primal.detach()

    def change(day: int, hazard: Tensor) -> Tensor:
        infected = (u[day] < -torch.expm1(-hazard)).to(hazard)
        now = (chosen.day == day).nonzero()[:, 0]
        infected[now, chosen.agent[now]] = 1 - infected[now, chosen.agent[now]]
        return infected

    with torch.no_grad():
        other = epidemic(people, world.rates(theta), B * Q, change)
    x, y = (torch.einsum("ptg,otg->po", z, world.weights(theta)) for z in (incidence, other))
    gradient = (chosen.total[:, None] * (y - x)).reshape(B, Q, many).transpose(1, 2)
    return gradient.numpy(), x.reshape(B, Q, many)[:, 0].numpy()


def _uniform(seed: int, stream: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + stream), dtype=torch.float64)


class _Chosen:
    """One draw a particle, chosen in proportion to its weight while the days go by (sampling from a stream).

    Attributes:
        total: `[P]` sum of all weights. day, agent: `[P]` the draw chosen; day -1 where no draw had weight.
    """

    def __init__(self, particles: int) -> None:
        self.total = torch.zeros(particles, dtype=torch.float64)
        self.day = torch.full((particles,), -1)
        self.agent = torch.zeros(particles, dtype=torch.int64)

    def offer(self, day: int, weight: Tensor, ticket: Tensor) -> None:
        """Weights `[P, N]` of a day's draws; `ticket [2, P]` uniform numbers: whether to take one of them, and which."""
        cumulated = weight.cumsum(1)
        today = cumulated[:, -1]
        self.total = self.total + today
        taken = ticket[0] * self.total < today
        agent = torch.searchsorted(cumulated, (ticket[1] * today)[:, None], right=True)[:, 0]
        self.day = torch.where(taken, day, self.day)
        self.agent = torch.where(taken, agent.clamp_max(weight.shape[1] - 1), self.agent)
