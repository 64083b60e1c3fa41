"""The two differential equations of the tasks, solved for many parameter values at once on a fixed grid.

Both are solved for the logarithms of their states, which keeps populations positive and makes the right-hand sides sums of
exponentials. Plain tensor arithmetic: safe under reverse mode, forward mode and `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SIR_STEPS = 34  # of half a day, between two of the ten times kept
LOTKA_VOLTERRA_STEPS = 84  # of a fortieth of a time unit
PEOPLE = 1e6


def rk4(
    slope: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    start: tuple[Tensor, Tensor],
    step: float,
    steps: int,
    kept: int,
) -> tuple[Tensor, Tensor]:
    """Classical Runge-Kutta of two states.

    Args:
        slope: time derivatives of the states.
        start: states at time 0, `[*batch]`.
        step: length of a step.
        steps: steps between two times kept.
        kept: times kept, the start included.

    Returns:
        Both states, `[*batch, kept]`.
    """
    x, y = start
    xs, ys = [x], [y]
    for _ in range(kept - 1):
        for _ in range(steps):
            a, b = slope(x, y)
            c, d = slope(x + 0.5 * step * a, y + 0.5 * step * b)
            e, f = slope(x + 0.5 * step * c, y + 0.5 * step * d)
            g, h = slope(x + step * e, y + step * f)
            x = x + (step / 6) * (a + 2 * (c + e) + g)
            y = y + (step / 6) * (b + 2 * (d + f) + h)
        xs.append(x)
        ys.append(y)
    return torch.stack(xs, -1), torch.stack(ys, -1)


def log_infected_share(beta: Tensor, gamma: Tensor, steps: int = SIR_STEPS) -> Tensor:
    """Log of the share of people infected on days 0, 17, ..., 153 of the SIR model with one first infected.

    Args:
        beta: contact rate, per day, `[*batch]`.
        gamma: recovery rate, per day, `[*batch]`.
        steps: Runge-Kutta steps between two of these days.

    Returns:
        `[*batch, 10]`.
    """
    zero = torch.zeros_like(beta)
    first = torch.log(torch.tensor([1 - 1 / PEOPLE, 1 / PEOPLE], dtype=torch.float64)).to(beta)

    def slope(susceptible: Tensor, infected: Tensor) -> tuple[Tensor, Tensor]:
        return -beta * infected.exp(), beta * susceptible.exp() - gamma

    return rk4(slope, (zero + first[0], zero + first[1]), 17 / steps, steps, 10)[1]


def log_prey_and_predators(theta: Tensor, steps: int = LOTKA_VOLTERRA_STEPS) -> Tensor:
    """Log of prey and predators at times 0, 2.1, ..., 18.9 of the Lotka-Volterra model from 30 and 1.

    Args:
        theta: alpha, beta, gamma, delta, `[*batch, 4]`.
        steps: Runge-Kutta steps between two of these times.

    Returns:
        `[*batch, 20]`, prey first.
    """
    alpha, beta, gamma, delta = theta.unbind(-1)
    zero = torch.zeros_like(alpha)
    first = torch.log(torch.tensor([30.0, 1.0], dtype=torch.float64)).to(theta)

    def slope(prey: Tensor, predators: Tensor) -> tuple[Tensor, Tensor]:
        return alpha - beta * predators.exp(), delta * prey.exp() - gamma

    return torch.cat(rk4(slope, (zero + first[0], zero + first[1]), 2.1 / steps, steps, 10), -1)
