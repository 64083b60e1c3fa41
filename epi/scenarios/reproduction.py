"""Transmission rates at which a study has a given R0, by the next-generation matrix."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from epi.errors import StudyError
from epi.model import Simulator, reproduction_number

__all__ = ["factor_for", "transmission_for"]

STEPS = 40
TOLERANCE = 1e-4


def factor_for(simulator: Simulator, theta: Mapping[str, Tensor], target: float) -> Tensor:
    """The factor on all transmission rates of each draw at which R0 is `target`.

    R0 rises with the factor, less than in proportion where people of one household infect the same people; it is found by the secant method
    on the logarithms, kept between bounds.

    Args:
        simulator: gives population and parts.
        theta: parameters `[P, ...]`.
        target: R0, above 0.

    Returns:
        `[P]`, at which R0 is the target to one in ten thousand.

    Raises:
        StudyError: no factor up to 10,000 gives it: small groups hold too few people.

    References:
        Diekmann, Heesterbeek and Roberts 2010, J R Soc Interface 7:873 (next-generation matrix).
    """
    if not target > 0:
        raise StudyError(f"R0 was asked to be {target:g}, expected a number above 0; correct it.")
    names = [f"transmission_{layer}" for layer in simulator.study.layers]
    goal = torch.tensor(target, dtype=torch.float64).log()
    low, high = torch.full_like(theta[names[0]], -9.3), torch.full_like(theta[names[0]], 9.3)
    x = torch.zeros_like(low)
    before: tuple[Tensor, Tensor] | None = None
    for _ in range(STEPS):
        at = {**theta, **{n: theta[n] * x.exp() for n in names}}
        y = reproduction_number(simulator, at).to(x).log()
        if bool(((y - goal).abs() < TOLERANCE).all()):
            return x.exp()
        low, high = torch.where(y < goal, x, low), torch.where(y >= goal, x, high)
        slope = torch.ones_like(x)
        if before is not None:
            moved = x - before[0]
            slope = torch.where(moved.abs() > 1e-12, (y - before[1]) / moved, slope).clamp(0.05, 5.0)
        before = (x, y)
        new = x - (y - goal) / slope
        x = torch.where((new > low) & (new < high), new, (low + high) / 2)
    raise StudyError(
        f"No factor on transmission gives an R0 of {target:g} in every draw (found {float(y.exp().min()):.3g} to {float(y.exp().max()):.3g}); "
        "choose another."
    )


def transmission_for(simulator: Simulator, theta: Mapping[str, Tensor], target: float) -> dict[str, Tensor]:
    """The transmission rates of every layer at which R0 is `target`, by name, `[P]`."""
    factor = factor_for(simulator, theta, target)
    names = [f"transmission_{layer}" for layer in simulator.study.layers]
    return {n: theta[n] * factor for n in names}
