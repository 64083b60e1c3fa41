"""Global sensitivity of a stochastic simulator from its gradients: all inputs at once, replicate noise left out without bias.

Inputs are seen as z ~ N(0, I) under their priors, so that the Poincare constant is 1 whatever the prior. `docs/sensitivity.md` has
the formulas and their sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib._sensitivity import LEAST_DRAWS, Array, Index, SensitivityError, _index, _rank

FLAT = 1e-12
"""An output whose variance over draws, or whose gradient, is below this share of its mean square is called constant."""


@dataclass(frozen=True)
class GradientDesign:
    """Points at which gradients are taken: twice at `z`, once at `mixed`, each time with another random stream.

    Attributes:
        z: `[draw, input]`, N(0, I).
        mixed: `[draw, input]`, `s z + sqrt(1 - s^2) xi` with s uniform on (0, 1) and xi ~ N(0, I).
    """

    z: Array
    mixed: Array


@dataclass(frozen=True)
class Gradients:
    """What the simulator gave at a design, for one output.

    Attributes:
        first, second: `[draw, input]` gradients at `z` under two independent random streams.
        third: `[draw, input]` gradient at `mixed` under a third.
        value_first, value_second: `[draw]`, the output itself at `z` under the first two.
    """

    first: ArrayLike
    second: ArrayLike
    third: ArrayLike
    value_first: ArrayLike
    value_second: ArrayLike


@dataclass(frozen=True)
class DerivativeSensitivity:
    """Global sensitivity of one scalar output; arrays over inputs (or groups), every index with interval and rank.

    Attributes:
        output, unit: the output.
        names: inputs. groups: groups of inputs.
        share: part of the output's variance that is the input's; the shares of all inputs add up to 1 for exact gradients.
        bound: upper bound of the total Sobol index, `E[(df/dz)^2] / Var f`.
        lower: lower bound of the first-order Sobol index, `E[df/dz]^2 / Var f`.
        group_share, group_bound: the same of groups: shares and bounds add up.
        single_seed: `[input]`, what `bound` would be had one random stream been used: biased by the gradient's noise.
        variance: of the expected output over the draws, its square root in the output's unit. variance_interval: 95 %.
        noise_variance: mean variance between random streams at the same draw.
        explained: sum of the shares: estimate, low, high. Away from 1 by more than its interval, the gradients are biased.
        slope: `[input]`, mean gradient, output units per prior standard deviation; its sign is the direction.
        swing: `[input]`, the mean gradient times the prior's 5-95 % width, in output units.
        draws: used. dropped: left out because something in them was not finite.
        path_draws: `[step]`. path_share: `[step, input]` from the first draws alone. path_width: `[step]`, half the 95 %
            interval of the least sure share. path_top: `[step]`, bootstrap probability that the first five are those
            of the whole.
    """

    output: str
    unit: str
    names: tuple[str, ...]
    groups: tuple[str, ...]
    share: Index
    bound: Index
    lower: Index
    group_share: Index
    group_bound: Index
    single_seed: Array
    variance: float
    variance_interval: tuple[float, float]
    noise_variance: float
    explained: tuple[float, float, float]
    slope: Array
    swing: Array
    draws: int
    dropped: int
    path_draws: tuple[int, ...]
    path_share: Array
    path_width: Array
    path_top: Array


def gradient_design(count: int, dim: int, generator: np.random.Generator) -> GradientDesign:
    """Draw the points of a global derivative-based analysis.

    Args:
        count: number of draws N; 3 N gradients will be asked for.
        dim: number of inputs D.
        generator: source of randomness; s is stratified over the draws.

    Returns:
        The design.

    Raises:
        SensitivityError: fewer than 10 draws or no input.

    Examples:
        >>> import numpy as np
        >>> from calib import gradient_design
        >>> design = gradient_design(10, 3, np.random.default_rng(0))
        >>> design.z.shape, design.mixed.shape
        ((10, 3), (10, 3))
    """
    if count < LEAST_DRAWS or dim < 1:
        raise SensitivityError(f"{count} draws of {dim} inputs were asked for; expected at least {LEAST_DRAWS} and 1.")
    z, other = generator.standard_normal((2, count, dim))
    s = (generator.permutation(count) + generator.random(count)) / count
    return GradientDesign(z, s[:, None] * z + np.sqrt(1 - s**2)[:, None] * other)


def derivative_sensitivity(
    gradients: Gradients,
    names: Sequence[str],
    generator: np.random.Generator,
    *,
    output: str = "output",
    unit: str = "",
    groups: Sequence[str] | None = None,
    flow: tuple[ArrayLike, ArrayLike] | None = None,
    replicates: int = 500,
) -> DerivativeSensitivity:
    """Shares of variance, bounds of Sobol indices and their intervals, from gradients at a `gradient_design`.

    * `share_d = E[g_d(z, w3) (g_d(z, w1) + g_d(z, w2)) / 2] / Var f`, the third gradient taken at `mixed`. By the Gaussian covariance
      identity (Houdre, Perez-Abreu and Surgailis 1998, J Fourier Anal Appl 4:651; Chatterjee 2009, Probab Theory Relat Fields
      143:1) these terms add up to the variance; a Hermite term of f of degrees a_1 .. a_D is split in proportion to the degrees. So
      `S_d <= share_d <= S_Td`, equal for additive f.
    * `bound_d = E[g_d(z, w1) g_d(z, w2)] / Var f >= S_Td` (Sobol and Kucherenko 2009; Poincare inequality of N(0, 1)).
    * `lower_d = E[g_d]^2 / Var f <= S_d` (Kucherenko and Song 2016, first Hermite coefficient), unbiased by the jackknife.

    Products of independent random streams make each free of the bias that noise in the gradients brings; so is the variance,
    the covariance of the values of two streams.

    With `flow`, inputs are correlated: z = F(eps), and contributions are `g_d(z) (J(eps) J(eps')^T g(z'))_d`, symmetrised, with J
    the flow's Jacobian. They add up to the variance over the flow's draws, covariances being split evenly between the two inputs;
    one may be negative. `bound` and `lower` then speak of the draws' z and bound no Sobol index.

    Args:
        gradients: with respect to z.
        names: of the D inputs.
        generator: of the bootstrap.
        output: name of the output.
        unit: its unit.
        groups: a group for each input; by default the name before the first `[`.
        flow: the flow's Jacobians `[draw, input, noise]` at the draws of `z` and of `mixed`; one `[input, noise]` for an affine flow.
        replicates: bootstrap replicates.

    Returns:
        The result.

    Raises:
        SensitivityError: shapes disagree, fewer than 10 draws are finite, or the output is constant.
    """
    first, second, third, f1, f2, dropped = _finite(gradients, names, output, flow)
    count = len(first)
    both = 0.5 * (first + second)
    nu, single = first * second, 0.5 * (first**2 + second**2)
    carried, dragged = (third, both) if flow is None else _through(flow, both, third, dropped)
    part = 0.5 * (both * carried + third * dragged)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=replicates) / count
    rows = np.concatenate([np.full((1, count), 1 / count), weights])
    centre = 0.5 * (f1 + f2).mean()
    a, b = f1 - centre, f2 - centre
    variance = (rows @ (a * b) - (rows @ a) * (rows @ b)) * count / (count - 1)
    if not variance[0] > FLAT * (np.mean(f1 * f2) + np.finfo(float).tiny) or not both.any():
        raise SensitivityError(
            f"Output {output!r} is constant over {count} draws, or no more than chance moves it (variance {variance[0]:.3g}); "
            "leave it out, choose another output, or use more draws."
        )
    labels = [name.split("[")[0] for name in names] if groups is None else list(groups)
    kinds = tuple(dict.fromkeys(labels))
    member = (np.array(labels)[:, None] == np.array(kinds)[None]).astype(float)
    scale = np.where(variance > 0, variance, np.nan)[:, None]
    share, bound = rows @ part / scale, rows @ nu / scale
    mean = rows @ both
    squares = np.maximum(rows @ both**2 - mean**2, 0)
    lower = (mean**2 - squares / (count - 1)) / scale
    explained = share.sum(1)
    steps = tuple(sorted({max(LEAST_DRAWS, round(count * k / 8)) for k in range(1, 9)}))
    path, width, top = _path(part, a, b, steps, generator)
    return DerivativeSensitivity(
        output=output,
        unit=unit,
        names=tuple(names),
        groups=kinds,
        share=_index_of(share),
        bound=_index_of(bound),
        lower=_index_of(lower),
        group_share=_index_of(share @ member),
        group_bound=_index_of(bound @ member),
        single_seed=single.mean(0) / variance[0],
        variance=float(variance[0]),
        variance_interval=_interval(variance),
        noise_variance=float(0.5 * ((f1 - f2) ** 2).mean()),
        explained=(float(explained[0]), *_interval(explained)),
        slope=both.mean(0),
        swing=both.mean(0) * 2 * 1.6448536269514722,
        draws=count,
        dropped=int(dropped.sum()),
        path_draws=steps,
        path_share=path,
        path_width=width,
        path_top=top,
    )


def _finite(
    gradients: Gradients, names: Sequence[str], output: str, flow: tuple[ArrayLike, ArrayLike] | None
) -> tuple[Array, Array, Array, Array, Array, NDArray[np.bool_]]:
    """The finite draws, and which were dropped."""
    parts = [np.asarray(x, dtype=np.float64) for x in (gradients.first, gradients.second, gradients.third)]
    values = [np.asarray(x, dtype=np.float64) for x in (gradients.value_first, gradients.value_second)]
    shape = parts[0].shape
    if len(shape) != 2 or any(p.shape != shape for p in parts) or any(v.shape != shape[:1] for v in values):
        raise SensitivityError(
            f"Gradients of {output!r} have shapes {[p.shape for p in parts]} and values {[v.shape for v in values]}; "
            "expected three [draw, input] and two [draw] of the same draws."
        )
    if shape[1] != len(names):
        raise SensitivityError(f"{len(names)} names were given for {shape[1]} inputs; give one for each.")
    good = np.all([np.isfinite(p).all(1) for p in parts] + [np.isfinite(v) for v in values], axis=0)
    for maps in (np.asarray(x, dtype=np.float64) for x in flow or ()):
        good = good & np.isfinite(maps).all(axis=(-2, -1))  # one map for all draws spoils all of them
    if good.sum() < LEAST_DRAWS:
        raise SensitivityError(
            f"{int(good.sum())} of {len(good)} draws of {output!r} are finite; an interval needs at least {LEAST_DRAWS}: use more draws, "
            "or find out why runs fail."
        )
    return (*(p[good] for p in parts), *(v[good] for v in values), ~good)


def _through(
    flow: tuple[ArrayLike, ArrayLike], both: Array, third: Array, dropped: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """`J J'^T g'` and `J' J^T g` for each draw."""
    here, there = (np.asarray(x, dtype=np.float64) for x in flow)
    here = here if here.ndim == 2 else here[~dropped]
    there = there if there.ndim == 2 else there[~dropped]

    def times(matrix: Array, vector: Array, transposed: bool) -> Array:
        matrix = np.swapaxes(matrix, -1, -2) if transposed else matrix
        return vector @ matrix.T if matrix.ndim == 2 else np.einsum("sij,sj->si", matrix, vector)

    return times(here, times(there, third, True), False), times(there, times(here, both, True), False)


def _path(
    part: Array, a: Array, b: Array, steps: Sequence[int], generator: np.random.Generator, replicates: int = 200
) -> tuple[Array, Array, Array]:
    """Shares, the widest half interval, and how sure the first five are, from growing numbers of draws."""
    final = set(np.flatnonzero(_rank(part.mean(0)) <= 5))
    shares, widths, tops = [], [], []
    for n in steps:
        rows = np.concatenate(
            [np.full((1, n), 1 / n), generator.multinomial(n, np.full(n, 1 / n), size=replicates) / n]
        )
        variance = rows @ (a[:n] * b[:n]) - (rows @ a[:n]) * (rows @ b[:n])
        terms = rows @ part[:n]
        share = terms / np.where(variance > 0, variance, np.nan)[:, None]
        low, high = np.nanquantile(share[1:], (0.025, 0.975), axis=0)
        ranks = _rank(terms[1:])
        shares.append(share[0])
        widths.append(0.5 * float((high - low).max()))
        tops.append(float(np.mean([set(np.flatnonzero(r <= 5)) == final for r in ranks])))
    return np.array(shares), np.array(widths), np.array(tops)


def _index_of(samples: Array) -> Index:
    """An index whose bootstrap replicates may hold a few without a variance."""
    good = np.asarray(np.isfinite(samples).all(1))
    good[0] = True
    return _index(samples[good])


def _interval(samples: Array) -> tuple[float, float]:
    low, high = np.nanquantile(samples[1:], (0.025, 0.975))
    return float(low), float(high)
