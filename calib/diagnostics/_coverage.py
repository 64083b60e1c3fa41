"""Expected coverage of the joint posterior: by density (HPD regions) and by distance to random points (TARP)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calib.diagnostics._ranks import resolution, tied_ranks
from calib.diagnostics._sbc import pair
from calib.diagnostics._uniform import ecdf, ecdf_band, ecdf_p_value
from calib.diagnostics._verdict import Array, Verdict, array, percent, said, same, word_of


@dataclass(frozen=True, eq=False)
class Coverage:
    """How often regions of a level hold the truth.

    Attributes:
        kind: "coverage" (HPD) or "tarp".
        ranks: `[N]` draws nearer to the region's centre than the truth (denser, or nearer to the point), 0..draws.
        draws: draws of each posterior, S.
        level: `[K]` credibility; `covered [K]` share of the data sets whose region of that level holds the truth.
        low, high: `[K]` simultaneous 95 % band of `covered` for an honest posterior.
        excess: mean of covered minus level: 0 if honest, negative if over-confident at most levels (HPD).
        p_value: of uniform ranks.
    """

    kind: str
    ranks: Array
    draws: int
    level: Array
    covered: Array
    low: Array
    high: Array
    excess: float
    p_value: float


def coverage_of_ranks(ranks: ArrayLike, draws: int, kind: str = "coverage") -> Coverage:
    """Coverage from ranks `[N]` in 0..draws."""
    r = array("ranks", ranks, "N")
    level, low, high = ecdf_band(len(r), draws)
    return Coverage(
        kind,
        r,
        draws,
        level,
        ecdf(r, draws),
        low,
        high,
        float(0.5 - ((r + 0.5) / (draws + 1)).mean()),
        ecdf_p_value(r, draws),
    )


def compute_coverage(log_prob_thetas: ArrayLike, log_prob_samples: ArrayLike, *, seed: int = 0) -> Coverage:
    """Expected coverage of highest-density regions (Deistler et al. 2022, NeurIPS; Hermans et al. 2022, TMLR).

    Draws as dense as the truth, as a discrete parameter has them, are put inside or outside its region at random.

    Args:
        log_prob_thetas: `[N]` log posterior density of each data set at its truth, up to a constant for each.
        log_prob_samples: `[N, S]` the same at draws of that posterior.
        seed: of the ties.
    """
    truth, draws = array("log_prob_thetas", log_prob_thetas, "N"), array("log_prob_samples", log_prob_samples, "N, S")
    same(log_prob_samples=("N", len(draws), len(truth)))
    spacing = resolution(log_prob_thetas, log_prob_samples)
    ranks = tied_ranks(-truth, -draws, np.random.default_rng([seed, 17]), spacing)
    return coverage_of_ranks(ranks, draws.shape[1])


def compute_tarp(
    thetas: ArrayLike, samples: ArrayLike, references: ArrayLike | None = None, *, seed: int = 0
) -> Coverage:
    """Coverage of balls around random points (Lemos et al. 2023, ICML).

    Args:
        thetas: `[N, D]`.
        samples: `[N, S, D]`.
        references: `[N, D]` points, which may depend on the data but not on the truth; drawn uniformly over the range of the
            truths if None.
        seed: of the points, and of the order of draws as far from the point as the truth.
    """
    truth, draws = pair(thetas, samples)
    low, high = truth.min(0), truth.max(0)
    rng = np.random.default_rng([seed, 11])
    points = (
        low + (high - low) * rng.random(truth.shape) if references is None else array("references", references, "N, D")
    )
    same(references=("N", len(points), len(truth)))
    scale = np.where(high > low, truth.std(0), 1.0)
    from_truth = (((truth - points) / scale) ** 2).sum(1)
    from_draws = (((draws - points[:, None]) / scale) ** 2).sum(2)
    ranks = tied_ranks(from_truth, from_draws, rng, resolution(thetas, samples))
    return coverage_of_ranks(ranks, draws.shape[1], "tarp")


def judge_coverage(found: Coverage) -> Verdict:
    """Judge by the p-value of uniform ranks.

    HPD regions that hold the truth too rarely at some level fail; regions that are only too wide warn. TARP does not tell the
    two apart and fails both.
    """
    p, name = found.p_value, found.kind
    threshold = "warns below p = 0.05, fails below 0.01 (HPD: where only too wide, warns)"
    half = float(np.interp(0.5, found.level, found.covered))
    nine = float(np.interp(0.9, found.level, found.covered))
    counted = f"regions of 50 % and 90 % hold the truth in {percent(half)} and {percent(nine)} of {len(found.ranks)} data sets ({said(p)})"
    word = word_of(p)
    if name == "tarp":
        advice = (
            "the joint posterior is biased or of the wrong width: see sbc for the parameter, coverage for the direction"
        )
        text = counted.replace("regions", "balls")
        return Verdict(name, word, p, threshold, text, "" if word == "pass" else advice)
    if word == "pass":
        return Verdict(name, word, p, threshold, counted)
    error = np.sqrt(found.level * (1 - found.level) / len(found.ranks))
    if not (found.covered < found.level - error).any():  # no level is covered too rarely
        advice = "the joint posterior is wider than it need be; honest, but look for noise counted twice"
        return Verdict(name, "warn", p, threshold, f"too wide: {counted}", advice)
    advice = "over-confident together, or a wrong correlation: a full-rank or more flexible family, a longer fit, more simulations"
    what = (
        "over-confident"
        if found.excess < 0
        else "too wide at some levels and over-confident at others, so of the wrong shape"
    )
    return Verdict(name, word, p, threshold, f"{what}: {counted}", advice)


def interval_coverage(ranks: ArrayLike, draws: int, levels: tuple[float, ...] = (0.5, 0.9)) -> Array:
    """Share of truths inside central intervals, `[level, Q]`, from ranks `[N, Q]` in 0..draws."""
    share = (array("ranks", ranks, "N, Q") + 0.5) / (draws + 1)
    return np.stack([(np.abs(share - 0.5) <= level / 2).mean(0) for level in levels])
