"""Covariates of a function of region and time: checked, and brought to a common scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calib._rows import as_numbers


@dataclass(frozen=True, eq=False)
class Covariates:
    """What is known beside each value of a function.

    Attributes:
        values: `[region, knot, covariate]`, mean 0 and standard deviation 1 over regions and knots.
        names: of the covariates.
    """

    values: Tensor
    names: tuple[str, ...]


def read_covariates(block: str, raw: object, shape: tuple[int, int], names: tuple[str, ...] = ()) -> Covariates:
    """Check covariates and standardise each.

    Args:
        block: name of the block, for messages.
        raw: `[region, knot, covariate]`, or `[knot, covariate]` if they are the same in all regions.
        shape: regions and knots of the block.
        names: of the covariates; "0", "1", ... if empty.

    Raises:
        TypeError: they are no numbers.
        ValueError: they do not cover the knots, are of another number of regions, hold NaN, or one of them is constant.
    """
    values = as_numbers(raw, f"the covariates of block {block!r}")
    regions, knots = shape
    if values.ndim == 2:
        values = values.expand(regions, *values.shape)
    if values.ndim != 3 or values.shape[2] == 0:
        raise ValueError(
            f"the covariates of block {block!r} have shape {tuple(values.shape)}, expected [region, knot, covariate] = "
            f"[{regions}, {knots}, at least 1]: give one row for each region and knot."
        )
    if values.shape[0] != regions:
        raise ValueError(
            f"the covariates of block {block!r} are of {values.shape[0]} regions, expected {regions}: give one table for each region, "
            "in the order of the block."
        )
    if values.shape[1] != knots:
        raise ValueError(
            f"the covariates of block {block!r} cover {values.shape[1]} knots, expected {knots}: extend them to the last knot, for "
            "instance by their last value."
        )
    labels = names or tuple(str(i) for i in range(values.shape[2]))
    if len(labels) != values.shape[2]:
        raise ValueError(
            f"block {block!r} names {len(labels)} covariates and was given {values.shape[2]}: name each once."
        )
    for i, label in enumerate(labels):
        column = values[..., i]
        missing = int((~torch.isfinite(column)).sum())
        if missing:
            raise ValueError(
                f"covariate {label!r} of block {block!r} is not finite at {missing} of {column.numel()} knots, expected numbers: fill "
                "them, or leave the covariate out."
            )
        if float(column.std()) <= 1e-12 * (1 + float(column.abs().max())):
            raise ValueError(
                f"covariate {label!r} of block {block!r} is {float(column.flatten()[0]):g} at every knot, so it tells nothing: leave it out."
            )
    centred = values - values.mean((0, 1))
    return Covariates(centred / values.flatten(0, 1).std(0), labels)
