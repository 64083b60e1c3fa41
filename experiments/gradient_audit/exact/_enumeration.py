"""Every course that an epidemic of few agents can take, with its probability: exact expectations and derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor

from experiments.gradient_audit.exact._answer import Answer
from experiments.gradient_audit.exact._plain import epidemic
from sim import Population, Rates

CHUNK = 4_000
"""Courses weighed at once."""


def enumerate_courses(
    people: Population,
    rates: Callable[[Tensor], Rates],
    parameters: int,
    outcomes: Sequence[Tensor],
    days: Sequence[int],
) -> Answer:
    """Sum the probabilities of all courses, times the outcomes of each, and differentiate the sum.

    A course says on which days each agent is infected. Its probability is the product, over days and agents, of `1 - exp(-hazard)`
    for the infected and `exp(-hazard)` for the others, given the course before.

    Args:
        people: a few agents; there are (courses of one agent) ** agents.
        rates: `theta [1, Q]` to the rates of one particle.
        parameters: Q; the derivative is taken at theta = 0.
        outcomes: O tensors `[T, G]`, weights of the incidence.
        days: those on which anybody can be infected.

    Raises:
        ValueError: probabilities that do not sum to one, as where somebody can be infected on other days.
    """
    theta = torch.zeros(1, parameters, dtype=torch.float64, requires_grad=True)
    at_zero = rates(theta.detach())
    agents = [_courses(at_zero, int(kind), days) for kind in people.archetype]
    sizes = [len(x) for x in agents]
    expectation, derivative = np.zeros(len(outcomes)), np.zeros((len(outcomes), parameters))
    mass, total = 0.0, prod(sizes)
    for first in range(0, total, CHUNK):
        code = torch.arange(first, min(first + CHUNK, total))
        infected = []
        for own in agents:
            infected.append(own[code % len(own)])
            code = code // len(own)
        course = torch.stack(infected, 1)  # [chunk, N, T]
        probability, incidence = _weigh(people, rates(theta), course)
        mass += float(probability.detach().sum())
        for o, weight in enumerate(outcomes):
            part = (probability * (incidence * weight).sum((1, 2))).sum()
            expectation[o] += float(part.detach())
            derivative[o] += torch.autograd.grad(part, theta, retain_graph=o < len(outcomes) - 1)[0][0].numpy()
    if abs(mass - 1) > 1e-9:
        raise ValueError(
            f"The probabilities of {total:,} courses sum to {mass:.9g}, but 1 was expected; "
            "name every day on which somebody can be infected."
        )
    return Answer(expectation, derivative)


def _courses(rates: Rates, kind: int, days: Sequence[int]) -> Tensor:
    """`[courses, T]` 0 or 1: the days of infection that one agent of an archetype can have."""
    reinfection = rates.reinfection.shape[-1] > 0 and bool((rates.reinfection[0, kind] > 0).any())
    apart = rates.infectious_days + 1
    chosen = [
        some
        for many in range(len(days) + 1 if reinfection else 2)
        for some in combinations(days, many)
        if all(b - a >= apart for a, b in pairwise(some))
    ]
    table = torch.zeros(len(chosen), rates.days, dtype=torch.float64)
    for row, some in enumerate(chosen):
        table[row, list(some)] = 1.0
    return table


def _weigh(people: Population, rates: Rates, course: Tensor) -> tuple[Tensor, Tensor]:
    """`[chunk]` probability of each course and its `[chunk, T, G]` incidence."""
    factors = []

    def follow(day: int, hazard: Tensor) -> Tensor:
        infected = course[:, :, day]
        if bool((hazard.detach() > 0).any()) or bool(infected.any()):
            factors.append(torch.where(infected > 0, -torch.expm1(-hazard), torch.exp(-hazard)).prod(1))
        return infected

    incidence = epidemic(people, rates, len(course), follow)
    return torch.stack(factors).prod(0), incidence
