"""Which parameters an output depends on, from the Jacobians that a fit kept: no further simulation.

Parameters are seen as z, standard normal under the prior, so that one unit is one prior standard deviation
whatever the parameter's own unit. Every measure comes with a bootstrap interval over draws and a rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]

LEAST_DRAWS = 10
"""Fewer (effective) draws than this give no interval worth printing."""

PRIOR_SWING = float(norm.ppf(0.95) - norm.ppf(0.05))
"""Width of the central 90 % of a parameter's prior, in prior standard deviations of z."""

SHARES = ("derivative_share", "prior_share", "posterior_share")
"""Measures that add up to 1 over parameters, and so can be added up over groups of parameters."""


class SensitivityError(ValueError):
    """The kept draws cannot answer the question asked."""


@dataclass(frozen=True)
class Functional:
    """A scalar output: a weighted sum of the simulator's outputs.

    Attributes:
        name: What it is called in tables, for instance `"cases, all forecast weeks"`.
        weights: `[output]`.
        unit: Unit of the sum.

    Examples:
        >>> import numpy as np
        >>> from calib import Functional
        >>> Functional("total", np.ones(3), "cases").name
        'total'
    """

    name: str
    weights: ArrayLike
    unit: str = ""


@dataclass(frozen=True)
class Index:
    """One measure of every parameter (or group): arrays are `[parameter]`.

    Attributes:
        value: The estimate.
        low: Lower end of the bootstrap 95 % interval.
        high: Upper end.
        rank: 1 for the largest in size; equal ones share the best of their places, and an estimate that is NaN ranks behind
            all of them, at the number of parameters + 1.
        top_five: Bootstrap probability of being among the five largest, shared evenly by equal ones.
    """

    value: Array
    low: Array
    high: Array
    rank: NDArray[np.int64]
    top_five: Array


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of one scalar output.

    Attributes:
        output: Name of the output.
        unit: Its unit.
        names: Parameters along the last axis of every measure.
        measures: `derivative_share`, `prior_share`, `posterior_share`, `prior_swing`, `posterior_swing`,
            `nu`, and
            `total_effect_bound` for draws of the prior. See `sensitivity`.
        elasticity: `[parameter]`, change of the output (its unit) for one prior standard deviation of z.
        groups: Names of the groups of parameters.
        group_measures: The shares added up within groups.
        draws: Draws used.
        dropped: Draws left out because something in them was not finite.
        effective_draws: Draws that the weights are worth; equals `draws` without weights.
        path_draws: `[step]`, numbers of draws at which the ranking was repeated.
        path_rank: `[step, parameter]`, ranks by `derivative_share` from the first draws alone.
    """

    output: str
    unit: str
    names: tuple[str, ...]
    measures: Mapping[str, Index]
    elasticity: Array
    groups: tuple[str, ...]
    group_measures: Mapping[str, Index]
    draws: int
    dropped: int
    effective_draws: float
    path_draws: tuple[int, ...]
    path_rank: NDArray[np.int64]


def derivative_measure(gradient: ArrayLike, second: ArrayLike | None = None) -> Array:
    """`nu_d = E[(df/dz_d)^2]`, the derivative-based global sensitivity measure.

    The square of one stochastic gradient estimates nu plus the gradient's noise variance. With gradients of
    two independent seeds at the same draws their product is unbiased (and may be negative where nu is small).

    Source: Kucherenko and Iooss (2017), Handbook of Uncertainty Quantification, ch. 36.

    Args:
        gradient: `[draw, parameter]`.
        second: The same draws, another seed.

    Returns:
        `[parameter]`.

    Raises:
        SensitivityError: A gradient is not finite.

    Examples:
        >>> import numpy as np
        >>> from calib import derivative_measure
        >>> derivative_measure(np.array([[1.0, 0.0], [3.0, 0.0]]))
        array([5., 0.])
    """
    first = np.asarray(gradient, dtype=np.float64)
    other = first if second is None else np.asarray(second, dtype=np.float64)
    bad = int((~(np.isfinite(first) & np.isfinite(other)).all(axis=-1)).sum())
    if bad:
        raise SensitivityError(
            f"{bad} of {len(first)} gradients hold values that are not finite; leave these draws out, and count them."
        )
    return np.asarray((first * other).mean(axis=0))


def _rank(values: Array) -> NDArray[np.int64]:
    """Ranks along the last axis as in `Index.rank`."""
    ranks = rankdata(-_size(values), method="min", axis=-1)
    return np.asarray(np.where(np.isnan(values), values.shape[-1] + 1, ranks), dtype=np.int64)


def _size(values: Array) -> Array:
    """Absolute values, with -1 for NaN, so that it sorts behind all others."""
    return np.where(np.isnan(values), -1.0, np.abs(values))


def _in_top(values: Array, count: int = 5) -> Array:
    """Share of each value in the first `count` places, `[..., parameter]`: equal values divide the places left to them."""
    first = rankdata(-_size(values), method="min", axis=-1)
    tied = rankdata(-_size(values), method="max", axis=-1) - first + 1
    return np.where(np.isnan(values), 0.0, np.clip((count + 1 - first) / tied, 0.0, 1.0))


def _index(samples: Array) -> Index:
    """The first row is the estimate, the others are bootstrap replicates: `[1 + replicate, parameter]`."""
    # a replicate without variance has no value
    known = samples[1:][~np.isnan(samples[1:]).all(axis=1)]
    low, high = np.nanquantile(known, (0.025, 0.975), axis=0) if len(known) else np.full((2, samples.shape[1]), np.nan)
    return Index(samples[0], low, high, _rank(samples[0]), _in_top(samples[1:]).mean(axis=0))


def _measures(gradient: Array, second: Array, z: Array, width: Array, weights: Array) -> dict[str, Array]:
    """Every measure under each row of normalised weights `[row, draw]`; results are `[row, parameter]`."""
    mean = weights @ (0.5 * (gradient + second))
    nu = weights @ (gradient * second)
    centre = weights @ z
    # u = the linearised output's deviation; contributions g_d (Sigma g)_d without ever forming Sigma
    u = mean @ z.T - (mean * centre).sum(-1, keepdims=True)
    contribution = mean * ((weights * u) @ z)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "nu": nu,
            "derivative_share": nu / nu.sum(-1, keepdims=True),
            "prior_share": mean**2 / (mean**2).sum(-1, keepdims=True),
            "posterior_share": contribution / contribution.sum(-1, keepdims=True),
            "prior_swing": mean * PRIOR_SWING,
            "posterior_swing": mean * width,
        }


def _told_from_noise(nu: Array) -> bool:
    """Whether the sum over parameters, of which shares are taken, is above zero in 97.5 % of the bootstrap: `nu [1 + replicate, parameter]`."""
    total = nu.sum(-1)
    return bool(total[0] > 0 and (len(total) == 1 or np.quantile(total[1:], 0.025) > 0))


def _check(
    names: Sequence[str], jacobian: Array, second: Array | None, z: Array, weights: Array | None, expected: Array | None
) -> tuple[NDArray[np.bool_], Array]:
    """Shapes, finite draws `[draw]` and their normalised weights."""
    if jacobian.ndim != 3 or z.shape != (jacobian.shape[0], jacobian.shape[2]) or len(names) != jacobian.shape[2]:
        raise SensitivityError(
            f"The Jacobian has shape {jacobian.shape}, the draws {z.shape}, and {len(names)} names were given; "
            "expected [draw, output, parameter], [draw, parameter] and a name for each parameter."
        )
    if second is not None and second.shape != jacobian.shape:
        raise SensitivityError(
            f"The second seed's Jacobian has shape {second.shape}, the first {jacobian.shape}; pass the same draws."
        )
    finite = np.asarray(np.isfinite(jacobian).all(axis=(1, 2)) & np.isfinite(z).all(axis=1))
    if second is not None:
        finite = finite & np.isfinite(second).all(axis=(1, 2))
    if expected is not None:
        if expected.shape != jacobian.shape[:2]:
            raise SensitivityError(
                f"The expected outputs have shape {expected.shape}; expected [draw, output] = {jacobian.shape[:2]} as the "
                "Jacobian has."
            )
        finite = finite & np.isfinite(expected).all(axis=1)
    if not finite.any():
        raise SensitivityError(
            f"None of {len(z)} draws is finite in its values, outputs and derivatives; find out why the simulator fails "
            "there before ranking parameters."
        )
    base = np.ones(len(z)) if weights is None else weights
    if base.shape != (len(z),) or (base < 0).any() or not np.isfinite(base).all():
        raise SensitivityError(
            f"Weights have shape {base.shape}; expected one finite weight, not negative, for each of {len(z)} draws."
        )
    kept = base[finite]
    effective = kept.sum() ** 2 / max((kept**2).sum(), np.finfo(float).tiny)
    if effective < LEAST_DRAWS:
        raise SensitivityError(
            f"{effective:.0f} effective draws are left of {len(z)} ({int((~finite).sum())} held values "
            "that are not "
            f"finite); a ranking needs at least {LEAST_DRAWS}: keep more Jacobians."
        )
    return finite, kept / kept.sum()


def sensitivity(
    jacobian: ArrayLike,
    z: ArrayLike,
    names: Sequence[str],
    functionals: Sequence[Functional],
    generator: np.random.Generator,
    *,
    second: ArrayLike | None = None,
    expected: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    over: Literal["posterior", "prior"] = "posterior",
    groups: Sequence[str] | None = None,
    replicates: int = 500,
) -> list[Sensitivity]:
    """Sensitivity of scalar outputs to parameters, from Jacobians at draws.

    With `g` the gradient of an output with respect to z, `m = E[g]` and `Sigma` the covariance of z over the
    draws:

    * `nu_d = E[g_d^2]` and `derivative_share`, its share of the sum: what a unit of prior knowledge about d
    is
      worth where the draws lie. See `derivative_measure` about noise. With `second` it is NaN where the sum cannot be told from
      chance: where it is not above zero in 97.5 % of the bootstrap.
    * `prior_share = m_d^2 / sum m^2`: share of the linearised variance if every parameter were as uncertain
    as its
      prior and independent of the others.
    * `posterior_share = m_d (Sigma m)_d / m' Sigma m`: share of the linearised variance that is left after
    the fit,
      covariances split evenly between the two parameters; shares add up to 1 and may be negative.
    * `prior_swing = m_d (z_95 - z_05)` under the prior: the change of the output, in its own unit, when the
    parameter
      moves from its prior 5 % to its prior 95 % point (linearised); `posterior_swing` the same for the draws'
      own 5 % and 95 % points (their ends are held fixed in the bootstrap).
    * `total_effect_bound = nu_d / Var(f)`, only with `over="prior"` and `expected`: an upper bound of the
    total Sobol
      index, the Poincare constant of N(0, 1) being 1 (Sobol and Kucherenko 2009, Lamboni et al. 2013). It
      screens parameters out; it does not rank them.

    Args:
        jacobian: `[draw, output, parameter]`, derivatives with respect to z.
        z: `[draw, parameter]`, the draws.
        names: Parameters.
        functionals: The scalar outputs.
        generator: Source of the bootstrap.
        second: The Jacobian at the same draws from another simulator seed; makes `nu` unbiased.
        expected: `[draw, output]`, the outputs themselves; only for `total_effect_bound`. Draws in which one is not finite
            are left out of every measure, as those with such derivatives are, and counted in `dropped`.
        weights: `[draw]`, importance weights that turn the draws into another distribution: towards the prior
            (`N(z; 0, I) / q(z)`) or the exact posterior.
        over: What the (weighted) draws are draws of.
        groups: A group for each parameter; by default the name before the first `[`.
        replicates: Bootstrap replicates.

    Returns:
        One result a functional, in their order.

    Raises:
        SensitivityError: Shapes disagree, fewer than 10 (effective) draws are finite, weights are not, or an output does not
            change with any parameter.

    Examples:
        >>> import numpy as np
        >>> from calib import Functional, sensitivity
        >>> rng = np.random.default_rng(0)
        >>> z = rng.standard_normal((50, 2))
        >>> jacobian = np.broadcast_to([[3.0, 1.0]], (50, 1, 2))  # draw, output, parameter
        >>> (found,) = sensitivity(jacobian, z, ["a", "b"], [Functional("y", [1.0])], rng, replicates=20)
        >>> found.measures["prior_share"].value.round(2)
        array([0.9, 0.1])
    """
    first, draws = np.asarray(jacobian, dtype=np.float64), np.asarray(z, dtype=np.float64)
    other = None if second is None else np.asarray(second, dtype=np.float64)
    values = np.asarray(expected, dtype=np.float64) if over == "prior" and expected is not None else None
    finite, base = _check(
        names, first, other, draws, None if weights is None else np.asarray(weights, dtype=np.float64), values
    )
    draws = draws[finite]
    count = len(draws)
    resampled = generator.multinomial(count, np.full(count, 1 / count), size=replicates) * base
    rows = np.concatenate([base[None], resampled / resampled.sum(-1, keepdims=True)])
    width = _weighted_quantile(draws, base, 0.95) - _weighted_quantile(draws, base, 0.05)
    labels = [name.split("[")[0] for name in names] if groups is None else list(groups)
    kinds = tuple(dict.fromkeys(labels))
    membership = np.array([[label == kind for kind in kinds] for label in labels], dtype=np.float64)
    steps = tuple(
        sorted({max(LEAST_DRAWS, round(count * part)) for part in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)})
    )
    prefixes = np.array([np.where(np.arange(count) < step, base, 0.0) for step in steps])
    prefixes /= np.maximum(prefixes.sum(-1, keepdims=True), np.finfo(float).tiny)
    results = []
    for functional in functionals:
        combination = np.asarray(functional.weights, dtype=np.float64)
        if combination.shape != (first.shape[1],):
            raise SensitivityError(
                f"Output {functional.name!r} has weights of shape {combination.shape}; "
                f"expected one for each of {first.shape[1]} simulator outputs."
            )
        if not np.isfinite(combination).all():
            raise SensitivityError(
                f"Output {functional.name!r} has weights that are not finite; give a number for each."
            )
        gradient = np.einsum("m,smd->sd", combination, first[finite])
        twin = gradient if other is None else np.einsum("m,smd->sd", combination, other[finite])
        if not gradient.any():
            raise SensitivityError(
                f"Output {functional.name!r} does not change with any parameter in {count} draws (all "
                "derivatives are "
                "zero); leave it out, or check its weights."
            )
        samples = _measures(gradient, twin, draws, width, rows)
        if other is not None and not _told_from_noise(samples["nu"]):
            samples["derivative_share"] = np.full_like(samples["derivative_share"], np.nan)
        if values is not None:
            f = values[finite] @ combination
            f = f - base @ f
            variance = rows @ f**2 - (rows @ f) ** 2
            if not variance[0] > 0:
                raise SensitivityError(
                    f"Output {functional.name!r} does not vary over {count} draws although its derivatives are not zero; "
                    "pass the expected outputs of the same draws."
                )
            variance = np.where(variance > 0, variance, np.nan)
            samples["total_effect_bound"] = samples["nu"] / variance[:, None]
        path = prefixes @ (gradient * twin)
        results.append(
            Sensitivity(
                output=functional.name,
                unit=functional.unit,
                names=tuple(names),
                measures={key: _index(values) for key, values in samples.items()},
                elasticity=samples["prior_swing"][0] / PRIOR_SWING,
                groups=kinds,
                group_measures={key: _index(samples[key] @ membership) for key in SHARES},
                draws=count,
                dropped=int((~finite).sum()),
                effective_draws=float(1 / (base**2).sum()),
                path_draws=steps,
                path_rank=_rank(path),
            )
        )
    return results


def _weighted_quantile(values: Array, weights: Array, level: float) -> Array:
    """Quantile of each column of `[draw, parameter]` under normalised weights, linear between midpoints."""
    order = np.argsort(values, axis=0)
    result = np.empty(values.shape[1])
    for column in range(values.shape[1]):
        w = weights[order[:, column]]
        result[column] = np.interp(level, np.cumsum(w) - 0.5 * w, values[order[:, column], column])
    return result


def sensitivity_frame(results: Sequence[Sensitivity]) -> pd.DataFrame:
    """One row an output, parameter (or group) and measure: the content of `sensitivity.csv`.

    Columns: `output, unit, level, parameter, measure, index, low, high, rank, top_five, elasticity, draws,
    dropped`. `level` is `parameter` or `group`; `elasticity` is in the output's unit per prior standard
    deviation, empty for groups.
    """
    frames = []
    for result in results:
        shared = {"output": result.output, "unit": result.unit}
        for level, names, measures in (
            ("parameter", result.names, result.measures),
            ("group", result.groups, result.group_measures),
        ):
            for measure, index in measures.items():
                columns = {
                    "level": level,
                    "parameter": names,
                    "measure": measure,
                    "index": index.value,
                    "low": index.low,
                    "high": index.high,
                    "rank": index.rank,
                    "top_five": index.top_five,
                    "elasticity": result.elasticity if level == "parameter" else np.nan,
                    "draws": result.draws,
                    "dropped": result.dropped,
                }
                frames.append(pd.DataFrame(shared | columns))
    return pd.concat(frames, ignore_index=True)
