"""From infections to antibody, and from antibody to what a test says of it."""

from __future__ import annotations

import torch
from torch import Tensor

from epi.model.delays import delay_matrix, stay_matrix
from epi.study import Delay

__all__ = [
    "apparent_prevalence",
    "converted_by",
    "design_effect",
    "ever_infected",
    "has_antibody",
    "positive_on",
    "rogan_gladen",
]


def apparent_prevalence(prevalence: Tensor, sensitivity: Tensor, specificity: Tensor) -> Tensor:
    """Share that tests positive, of the share that has what is tested for."""
    return prevalence * sensitivity + (1 - prevalence) * (1 - specificity)


def rogan_gladen(positive: Tensor, sensitivity: Tensor, specificity: Tensor) -> Tensor:
    """Share that has what is tested for, of the share that tests positive: inverse of `apparent_prevalence`.

    References:
        Rogan and Gladen 1978, Am J Epidemiol 107:71.
    """
    return (positive + specificity - 1) / (sensitivity + specificity - 1)


def design_effect(size: Tensor | float, correlation: Tensor | float) -> Tensor | float:
    """Variance of a share among `size` people of one cluster over that among as many independent people."""
    return 1 + (size - 1) * correlation


def ever_infected(infections: Tensor, people: Tensor) -> Tensor:
    """`[*batch, T, X]` share of people infected up to and with a day, at most all, of `infections [*batch, T, X]` and `people [X]`."""
    return (infections.cumsum(-2) / people).clamp(0.0, 1.0)


def has_antibody(infections: Tensor, people: Tensor, converted: Tensor, half_life: Tensor | None = None) -> Tensor:
    """`[*batch, T, X]` share of people who have seroconverted by a day and still have antibody that day.

    Args:
        infections: `[*batch, T, X]` by day.
        people: `[X]`.
        converted: `[T, T]` share of the infections of a day (row) that seroconverts on a day (column).
        half_life: `[*batch]` days in which half of those with antibody lose it; None if they keep it.
    """
    converting = torch.einsum("tu,...tx->...ux", converted, infections / people)
    if half_life is None:
        return converting.cumsum(-2)
    lag = torch.arange(infections.shape[-2], device=infections.device, dtype=infections.dtype)
    gap = (lag[:, None] - lag).clamp_min(0.0)  # [day, earlier day]
    kept = torch.exp2(-gap / half_life[..., None, None]) * (lag[:, None] >= lag)
    return kept @ converting


def positive_on(infections: Tensor, people: Tensor, begins: Delay, lasts: Delay) -> Tensor:
    """`[*batch, T, X]` share of people who would test positive for the virus on a day.

    Args:
        infections: `[*batch, T, X]` by day.
        people: `[X]`.
        begins: delay from infection to the first positive test.
        lasts: days for which it stays positive.
    """
    days = infections.shape[-2]
    there = delay_matrix(days, begins) @ (lasts.mean * stay_matrix(days, lasts))
    return torch.einsum("tu,...tx->...ux", torch.as_tensor(there).to(infections), infections / people)


def converted_by(days: int, seroconversion: Delay, like: Tensor) -> Tensor:
    """`[T, T]` share of the infections of a day (row) that seroconverts on a day (column)."""
    return torch.as_tensor(delay_matrix(days, seroconversion)).to(like)
