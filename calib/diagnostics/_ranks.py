"""Ranks of truths among draws, ties broken at random: uniform for an exact posterior, of a discrete parameter too."""

from __future__ import annotations

from typing import Any

import numpy as np

from calib.diagnostics._verdict import Array

ROUNDINGS = 8
"""Values that differ by so many units in the last place are called equal: sums of the same numbers differ by a few."""


def resolution(*values: Any) -> float:
    """Relative spacing of the coarsest float type among `values`, before they become double."""
    names = [str(getattr(value, "dtype", "float64")).removeprefix("torch.") for value in values]
    known = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}
    return max(known.get(name, 2.0**-52) for name in names)


def tied_ranks(truth: Array, draws: Array, rng: np.random.Generator, spacing: float = 2.0**-52) -> Array:
    """Number of draws below the truth; among draws that equal it the truth's place is drawn at random.

    With S exchangeable draws and the truth among them, each place 0..S is then equally likely, whether values repeat or not.

    Args:
        truth: `[N, *shape]`.
        draws: `[N, S, *shape]`.
        rng: breaks the ties.
        spacing: relative spacing of the numbers, see `resolution`.

    Returns:
        `[N, *shape]`, whole numbers 0..S.

    References:
        Talts et al. (2018), arXiv:1804.06788; Modrák et al. (2025), Bayesian Anal. 20:461, on ties.
    """
    centre = truth[:, None]
    near = ROUNDINGS * spacing * np.maximum(np.abs(centre), np.abs(draws))
    equal = np.abs(draws - centre) <= near
    below = ((draws < centre) & ~equal).sum(1)
    # one number from each of N equal parts of [0, 1], in random order: as random for a truth, more even over them all
    order = rng.permuted(
        np.broadcast_to(np.arange(len(truth)).reshape(-1, *[1] * (truth.ndim - 1)), truth.shape), axis=0
    )
    u = (order + rng.random(truth.shape)) / len(truth)
    return np.asarray(below + np.floor(u * (equal.sum(1) + 1)), dtype=np.float64)
