"""The epidemic of `_reference.run` as differentiable tensors: autograd keeps a tape over days.

Memory grows with agents times days. It is here for the estimators that differentiate single draws, and for comparison; the names are
those of `_reference`, and with hard draws so are the infections, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sim._columns import Columns
from sim._random import day_key, stream_key, uniform
from sim._reference import _percent, _sum
from sim.rates import COMMUNITY, HOUSEHOLD, VENUES, Rates

Draw = Callable[[Tensor, Tensor], Tensor]
"""`probability [P, N], uniform [P, N] -> infected [P, N]`, differentiable as its estimator wants."""


class State(NamedTuple):
    """What one day hands to the next.

    susceptible `[P, N]`; recent: D tensors `[P, N]`, infected yesterday, the day before, ...; memory `[P, R]`.
    """

    susceptible: Tensor
    recent: tuple[Tensor, ...]
    memory: Tensor


class Told(NamedTuple):
    """What a day reports: incidence `[P, G]`, and the log-probability `[P]` of its draws given the past."""

    incidence: Tensor
    log_probability: Tensor


def simulate(
    c: Columns, rates: Rates, seed: int, streams: Tensor, draw: Draw, segment: int = 0
) -> tuple[Tensor, Tensor]:
    """Simulate every day forward, differentiably.

    Args:
        c: the population's columns.
        rates: the rates; their tensors may require gradients or carry tangents.
        seed: as for `sim.epidemic`.
        streams: as for `sim.epidemic`.
        draw: draws infections.
        segment: days between checkpoints, recomputed in the backward pass (Griewank and Walther 2008, section 12); 0 keeps
            the whole tape.

    Returns:
        `[P, T, G]` incidence and `[P, T]` log-probability of all draws up to each day.
    """
    P, T, N = rates.particles, rates.days, len(c.group)
    new, device = rates.mixing, c.group.device
    rho = tuple(rates.infectiousness[:, c.archetype, d] for d in range(rates.infectious_days))
    sigma = tuple(x[:, c.archetype] for x in rates.susceptible().unbind(1))
    agents, keys = torch.arange(N, device=device), [stream_key(seed, int(s)) for s in streams]

    def days(first: int, last: int, state: State) -> tuple[State, list[Told]]:
        told = []
        for t in range(first, last):
            u = torch.stack([uniform(day_key(key, t), agents) for key in keys])
            state, today = _day(c, rates, rho, sigma[rates.period(t)], t, state, u, draw)
            told.append(today)
        return state, told

    state = State(
        new.new_ones(P, N), (new.new_zeros(P, N),) * rates.infectious_days, new.new_zeros(P, len(c.region_size))
    )
    told: list[Told] = []
    length = segment or T
    for first in range(0, T, length):
        last = min(first + length, T)
        if segment:
            state, some = checkpoint(days, first, last, state, use_reentrant=False, preserve_rng_state=False)
        else:
            state, some = days(first, last, state)
        told += some
    return torch.stack([x.incidence for x in told], 1), torch.stack([x.log_probability for x in told], 1).cumsum(1)


def _day(
    c: Columns,
    rates: Rates,
    rho: tuple[Tensor, ...],
    sigma: Tensor,
    t: int,
    state: State,
    u: Tensor,
    draw: Draw,
) -> tuple[State, Told]:
    """One day: pressures, hazards, infections. `rho` D times `[P, N]` and `sigma` `[P, N]` are the rates of each agent."""
    I = sum((rho[d] * state.recent[d] for d in range(1, len(rho))), rho[0] * state.recent[0])  # noqa: E741
    H = c.household_weight.to(I.dtype) * _sum(I, c.household, len(c.household_region))
    F = _sum(I, c.group, len(c.group_size)) / c.group_size.to(I.dtype)
    C = torch.einsum("pgh,ph->pg", rates.mixing, F)
    b = rates.transmission[:, :, t, None]
    Q = (b[:, COMMUNITY] * C)[:, c.group]
    for v, (members, group, weight) in enumerate(zip(c.members, c.group_of, c.venue_weight, strict=True)):
        V = weight.to(I.dtype) * _sum(I[:, members], group, len(weight))
        Q = Q.index_add(1, members, b[:, VENUES + v] * V[:, group])
    response = torch.exp(-rates.aversion[:, None] * state.memory)
    X = b[:, HOUSEHOLD] * H[:, c.household] + response[:, c.region_of_group[c.group]] * Q
    hazard = sigma * (X + rates.importation[:, t][:, c.group])

    p = -torch.expm1(-hazard)
    infected = state.susceptible * draw(p, u)
    incidence = _sum(infected, c.group, len(c.group_size))
    memory = state.memory + rates.forgetting[:, None] * (_percent(c, incidence) - state.memory)
    susceptible = state.susceptible - infected
    # a susceptible agent was infected with probability p, or escaped with probability exp(-hazard)
    tiny = torch.finfo(hazard.dtype).tiny
    chance = torch.where(infected.detach() > 0, torch.log(-torch.expm1(-hazard.clamp_min(tiny))), -hazard)
    log_probability = (state.susceptible.detach() * chance).sum(1)
    return State(susceptible, (infected, *state.recent[:-1]), memory), Told(incidence, log_probability)
