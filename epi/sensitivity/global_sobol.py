"""Level 3: shares of variance and bounds of Sobol indices of some 1,800 inputs from a few gradients, over the prior and the posterior."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from calib import DerivativeSensitivity, Gradients, derivative_sensitivity, gradient_design
from epi.sensitivity import saved as kept
from epi.sensitivity.outputs import Array, Output
from epi.sensitivity.reference import problem_of
from epi.sensitivity.screen import extra_inputs
from epi.sensitivity.simulate import Advance, Work

PRIOR = "global, prior, reverse"
POSTERIOR = "global, posterior, reverse"
WIDTH = 0.05
"""Stopping rule: no share less sure than this, half its 95 % interval, in shares of the variance."""
SURE = 0.9
"""Stopping rule: bootstrap probability that the first five inputs are the first five."""
KEEP = 0.01
"""Screening: inputs whose upper bound of the total index may reach this are kept."""


@dataclass(frozen=True)
class Global:
    """Result of one distribution of the inputs.

    Attributes:
        names, groups: of all inputs. calibrated: number of calibrated inputs, which come first.
        results: one an output. seconds: of one gradient run.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    calibrated: int
    results: tuple[DerivativeSensitivity, ...]


def over_prior(
    work: Work,
    outputs: Sequence[Output],
    draws: int,
    advance: Advance,
    *,
    extra: bool = True,
    file: Path | None = None,
) -> Global:
    """All inputs under their priors; with `extra` the factors of `_screen` too. Gradients are kept in `file`, or taken from it."""
    names = list(work.simulator.space.names)
    more = extra_inputs(work.simulator) if extra else None
    everything = names + list(more.names if more else ())
    groups = [n.split("[")[0] for n in names] + list(more.groups if more else ())
    design = gradient_design(draws, len(everything), np.random.default_rng([work.seed, 1]))

    def taken(z: Array, replicate: int) -> tuple[Array, Array]:
        return work.gradients(z, outputs, PRIOR, replicate, extra=more, advance=advance)

    identity = f"prior {_identity(work, outputs)} {draws} {len(everything)}"
    parts = kept.gradients(
        file, identity, lambda: [taken(design.z, 1), taken(design.z, 2), taken(design.mixed, 3)], advance
    )
    return Global(
        tuple(everything), tuple(groups), len(names), _results(parts, outputs, everything, groups, work, None)
    )


def over_posterior(
    work: Work, outputs: Sequence[Output], z: Array, draws: int, advance: Advance, *, file: Path | None = None
) -> Global:
    """Calibrated inputs under the posterior, taken as the Gaussian with the mean and covariance of its draws `z [draw, D]`."""
    names = list(work.simulator.space.names)
    size, axes = np.linalg.eigh(np.cov(z.T))
    factor = axes * np.sqrt(size.clip(0))  # a root that also exists with fewer draws than inputs
    centre = z.mean(0)
    design = gradient_design(draws, len(names), np.random.default_rng([work.seed, 2]))

    def taken(eps: Array, replicate: int) -> tuple[Array, Array]:
        return work.gradients(centre + eps @ factor.T, outputs, POSTERIOR, replicate, advance=advance)

    identity = f"posterior {_identity(work, outputs)} {draws} {hashlib.sha256(z.tobytes()).hexdigest()[:16]}"
    parts = kept.gradients(
        file, identity, lambda: [taken(design.z, 4), taken(design.z, 5), taken(design.mixed, 6)], advance
    )
    groups = [n.split("[")[0] for n in names]
    return Global(
        tuple(names), tuple(groups), len(names), _results(parts, outputs, names, groups, work, (factor, factor))
    )


def _identity(work: Work, outputs: Sequence[Output]) -> str:
    return f"{problem_of(work)} seed {work.seed} of {[o.name for o in outputs]}"


def _results(
    parts: Sequence[tuple[Array, Array]],
    outputs: Sequence[Output],
    names: Sequence[str],
    groups: Sequence[str],
    work: Work,
    flow: tuple[Array, Array] | None,
) -> tuple[DerivativeSensitivity, ...]:
    (f1, g1), (f2, g2), (_, g3) = parts
    return tuple(
        derivative_sensitivity(
            Gradients(g1[:, k], g2[:, k], g3[:, k], f1[:, k], f2[:, k]),
            names,
            np.random.default_rng([work.seed, 3, k]),
            output=output.name,
            unit=output.unit,
            groups=groups,
            flow=flow,
        )
        for k, output in enumerate(outputs)
    )


def converged_at(r: DerivativeSensitivity) -> int | None:
    """Number of draws from which on the stopping rule holds, or None."""
    holds = (r.path_width <= WIDTH) & (r.path_top >= SURE)
    from_here = np.logical_and.accumulate(holds[::-1])[::-1]
    return r.path_draws[int(from_here.argmax())] if from_here.any() else None


def screened(r: DerivativeSensitivity) -> tuple[np.ndarray, float, float]:
    """Inputs to keep `[input]`, and the bound of the total index of all others together: value and upper end."""
    keep = (r.bound.high >= KEEP) | (r.share.high >= KEEP)
    return keep, float(r.bound.value[~keep].sum()), float(np.maximum(r.bound.high[~keep], 0).sum())


def global_table(g: Global, distribution: str) -> pd.DataFrame:
    """One row an output and input (or group)."""
    frames = []
    for r in g.results:
        keep, _, _ = screened(r)
        shared = {"distribution": distribution, "output": r.output, "unit": r.unit}
        for level, names, share, bound in (
            ("input", r.names, r.share, r.bound),
            ("group", r.groups, r.group_share, r.group_bound),
        ):
            one = level == "input"
            frames.append(
                pd.DataFrame(
                    shared
                    | {
                        "level": level, "input": names, "group": g.groups if one else names,
                        "share": share.value, "share_low": share.low, "share_high": share.high, "rank": share.rank,
                        "top_five": share.top_five, "total_bound": bound.value, "bound_low": bound.low, "bound_high": bound.high,
                        "first_lower": r.lower.value if one else np.nan, "single_seed_bound": r.single_seed if one else np.nan,
                        "slope": r.slope if one else np.nan, "swing": r.swing if one else np.nan, "kept": keep if one else True,
                    }
                )
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def summary(g: Global, distribution: str) -> list[dict[str, object]]:
    """Plain facts of each output for the report."""
    rows: list[dict[str, object]] = []
    for r in g.results:
        keep, fixed, fixed_high = screened(r)
        rows.append(
            {
                "distribution": distribution, "output": r.output, "unit": r.unit, "inputs": len(r.names), "draws": r.draws,
                "dropped": r.dropped,
                "sd": r.variance**0.5, "noise_share": r.noise_variance / (r.variance + r.noise_variance), "explained": list(r.explained),
                "kept": int(keep.sum()), "fixed": int((~keep).sum()), "fixed_bound": fixed, "fixed_bound_high": fixed_high,
                "converged_at": converged_at(r), "path_draws": list(r.path_draws), "path_width": r.path_width.tolist(),
                "path_top": r.path_top.tolist(),
            }
        )  # fmt: skip
    return rows


def path_table(g: Global) -> pd.DataFrame:
    """Convergence of the shares: `output, draws, input, share` for the ten largest, and width and certainty of the ranking."""
    rows = []
    for r in g.results:
        top = np.argsort(r.share.rank)[:10]
        for k, draws in enumerate(r.path_draws):
            for i in top:
                rows.append((r.output, draws, r.names[i], r.path_share[k, i], r.path_width[k], r.path_top[k]))
    return pd.DataFrame(rows, columns=["output", "draws", "input", "share", "width", "top_five"])
