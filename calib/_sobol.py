"""Sobol indices of a stochastic simulator by sampling, with replicate noise left out without bias. Needs no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, qmc

from calib._sensitivity import LEAST_DRAWS, Array, Index, SensitivityError, _index


@dataclass(frozen=True)
class SobolDesign:
    """Points of a radial Saltelli design in the standard-normal space: `A`, `B`, and `A` with one group of columns from `B`.

    Attributes:
        a, b: `[draw, input]`.
        groups: the columns of each group.
    """

    a: Array
    b: Array
    groups: tuple[tuple[int, ...], ...]

    @property
    def runs(self) -> int:
        """Runs a replicate: N (G + 2)."""
        return len(self.a) * (len(self.groups) + 2)

    def points(self, draws: slice | Sequence[int] = slice(None)) -> Array:
        """`[draw, 2 + group, input]`: A, B, then A with each group from B."""
        a, b = self.a[draws], self.b[draws]
        out = np.repeat(a[:, None], 2 + len(self.groups), axis=1)
        out[:, 1] = b
        for g, columns in enumerate(self.groups):
            at = list(columns)
            out[:, 2 + g, at] = b[:, at]
        return out


@dataclass(frozen=True)
class SobolIndices:
    """Sobol indices of one scalar output.

    Attributes:
        total, first: of each group, with bootstrap intervals over the rows of the design.
        variance: of the expected output. noise_variance: between replicates at one point (0 with one replicate).
        draws: `[group]` rows used. failed: runs that were not finite.
    """

    total: Index
    first: Index
    variance: float
    noise_variance: float
    draws: NDArray[np.int64]
    failed: int


def sobol_design(count: int, dim: int, seed: int, groups: Sequence[Sequence[int]] | None = None) -> SobolDesign:
    """Scrambled Sobol points of a design.

    Args:
        count: rows N, a power of two.
        dim: number of inputs.
        seed: of the scrambling.
        groups: columns moved together; each input by itself if None.

    Raises:
        SensitivityError: N is below 10 or no power of two, or a group names a column that is not there.

    Examples:
        >>> from calib import sobol_design
        >>> sobol_design(16, 3, 0).points().shape
        (16, 5, 3)
    """
    if count < LEAST_DRAWS or count & (count - 1):
        raise SensitivityError(f"{count} rows were asked for; expected a power of two of at least 16.")
    chosen = tuple((i,) for i in range(dim)) if groups is None else tuple(tuple(int(i) for i in g) for g in groups)
    if any(not g or min(g) < 0 or max(g) >= dim for g in chosen):
        raise SensitivityError(f"A group is empty or names a column outside 0..{dim - 1}; give columns of the inputs.")
    unit = qmc.Sobol(2 * dim, scramble=True, rng=np.random.default_rng(seed)).random(count)
    z = norm.ppf(np.clip(unit, 2.0**-40, 1 - 2.0**-40))
    return SobolDesign(z[:, :dim], z[:, dim:], chosen)


def sobol_indices(values: ArrayLike, generator: np.random.Generator, *, replicates: int = 500) -> SobolIndices:
    """Indices from the outputs of a design.

    `T_g = E[d_g^2] / (2 Var f)`, `d_g = f(A) - f(A with g from B)` (Jansen 1999, Comput Phys Commun 117:35), and
    `S_g = E[f(B) (f(AB_g) - f(A))] / Var f` (Saltelli et al. 2010, Comput Phys Commun 181:259).
    With two or more replicates squares are replaced by products of different replicates, so that chance in the simulator adds
    nothing; a replicate keeps its random stream along a row (common random numbers). With one the noise stays in: T is too large.

    Args:
        values: `[draw, 2 + group, replicate]` in the order of `SobolDesign.points`. Runs that failed are NaN: a group uses the rows
            in which its own runs succeeded.
        generator: of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        SensitivityError: wrong shape, fewer than 10 usable rows, or an output that does not vary.

    Examples:
        >>> import numpy as np
        >>> from calib import sobol_design, sobol_indices
        >>> design = sobol_design(256, 2, 0)
        >>> y = design.points() @ np.array([2.0, 1.0])  # y = 2 a + b: shares 0.8 and 0.2
        >>> indices = sobol_indices(y[..., None] if y.ndim == 2 else y, np.random.default_rng(0), replicates=20)
        >>> indices.total.value.round(1)
        array([0.8, 0.2])
    """
    f = np.asarray(values, dtype=np.float64)
    if f.ndim != 3 or f.shape[1] < 3 or f.shape[2] < 1:
        raise SensitivityError(f"Values have shape {f.shape}; expected [draw, 2 + group, replicate].")
    good = np.asarray(np.isfinite(f).all(2))
    failed = int((~np.isfinite(f)).sum())
    use = good[:, :1] & good[:, 1:2] & good[:, 2:]
    draws = use.sum(0)
    if draws.min() < LEAST_DRAWS:
        raise SensitivityError(
            f"A group has {int(draws.min())} rows without a failed run of {len(f)} ({failed} runs failed); it needs at least {LEAST_DRAWS}."
        )
    f = np.where(np.isfinite(f), f, 0.0)
    ab = good[:, 0] & good[:, 1]
    f = f - f[ab][:, :2].mean()
    count, copies = len(f), f.shape[2]
    rows = np.concatenate(
        [np.ones((1, count)), generator.multinomial(count, np.full(count, 1 / count), size=replicates)]
    )
    both = rows * ab
    weight = both.sum(1)
    mean = both @ f[:, :2].mean((1, 2)) / weight
    variance = both @ _product(f[:, :2], f[:, :2]).mean(1) / weight - mean**2
    if not variance[0] > 1e-12 * (f[ab][:, :2] ** 2).mean() or not np.ptp(f[ab][:, :2]):
        raise SensitivityError("The output does not vary over the design; leave it out or choose another output.")
    step = f[:, :1] - f[:, 2:]
    with np.errstate(invalid="ignore", divide="ignore"):
        per_group = rows @ use
        scale = np.where(variance > 0, variance, np.nan)[:, None]
        total = rows @ (use * _product(step, step)) / per_group / 2 / scale
        first = rows @ (use * _product(np.broadcast_to(f[:, 1:2], step.shape), -step)) / per_group / scale
    noise = float(f[ab][:, 0].var(axis=1, ddof=1).mean()) if copies > 1 else 0.0
    kept: NDArray[np.bool_] = np.isfinite(total).all(1) & np.isfinite(first).all(1)
    return SobolIndices(_index(total[kept]), _index(first[kept]), float(variance[0]), noise, draws, failed)


def _product(x: Array, y: Array) -> Array:
    """Mean over pairs of different replicates of `x y`, last axis; the plain product of one replicate."""
    copies = x.shape[-1]
    if copies == 1:
        return x[..., 0] * y[..., 0]
    mixed = x.sum(-1) * y.sum(-1) - (x * y).sum(-1)
    return np.asarray(mixed / (copies * (copies - 1)))
