"""Simulation-based calibration: is each parameter's interval honest?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calib.diagnostics._classifier import accuracy
from calib.diagnostics._ranks import resolution, tied_ranks
from calib.diagnostics._uniform import c2st_uniform, chi_square_p_value, ecdf_p_value, ks_p_value
from calib.diagnostics._verdict import P_THRESHOLD, Array, Verdict, array, holm, percent, said, same, word_of

MOST_ROWS = 1000
"""Rows of each sample that the classifier learns from: its cost is their number cubed."""
FEWEST = 100
"""Data sets below which sbi's users and we are warned: a defect must be large to be seen."""


@dataclass(frozen=True, eq=False)
class SBC:
    """Ranks of the truths and whether they are uniform.

    Attributes:
        ranks: `[N, Q]` number of draws below the truth, 0..draws; ties are broken at random.
        draws: draws of each posterior, S.
        names: of the Q quantities: parameters, then combinations.
        ks, chi_square, ecdf: `[Q]` p-values of uniformity; the last is simultaneous over the ECDF and is the one judged.
        c2st: `[Q]` share of held-out ranks told from uniform ones, 0.5 if alike.
        inside: `[Q, 2]` share of the truths inside the central 50 % and 90 % interval.
    """

    ranks: Array
    draws: int
    names: tuple[str, ...]
    ks: Array
    chi_square: Array
    ecdf: Array
    c2st: Array
    inside: Array


@dataclass(frozen=True, eq=False)
class AveragedPosterior:
    """The posterior averaged over data sets, told from the prior by a classifier.

    Attributes:
        c2st: held-out accuracy, 0.5 if alike.
        null: `[null]` the same with labels exchanged.
        p_value: share of accuracies at least as large.
        shift, ratio: `[D]` difference of the means in prior standard deviations, ratio of the standard deviations.
        names: of the D parameters.
    """

    c2st: float
    null: Array
    p_value: float
    shift: Array
    ratio: Array
    names: tuple[str, ...]


def sbc_ranks(thetas: ArrayLike, samples: ArrayLike, *, seed: int = 0) -> Array:
    """Count the draws below the truth, `[N, D]` from `thetas [N, D]` and `samples [N, S, D]` (Talts et al. 2018).

    Draws equal to the truth are put below or above it at random, so that ranks of a discrete parameter are uniform too.

    Args:
        thetas: `[N, D]`.
        samples: `[N, S, D]`.
        seed: of the ties.
    """
    truth, draws = pair(thetas, samples)
    return tied_ranks(truth, draws, np.random.default_rng([seed, 13]), resolution(thetas, samples))


def compute_sbc(
    thetas: ArrayLike, samples: ArrayLike, names: Sequence[str] = (), *, combinations: int = 0, seed: int = 0
) -> SBC:
    """Ranks of the truths among draws of their posteriors.

    Args:
        thetas: `[N, D]` draws of the prior, from which N data sets were simulated.
        samples: `[N, S, D]` draws of the posterior of each data set.
        names: of the parameters.
        combinations: random directions (in standardised parameters) that are ranked as well: they see correlations.
        seed: of the directions, and of the order of draws equal to the truth.

    Raises:
        ValueError: shapes differ, an entry is not finite, or fewer than 10 data sets.
    """
    truth, draws = pair(thetas, samples)
    labels = named(names, truth.shape[1])
    if combinations:
        rng, sd = np.random.default_rng([seed, 7]), draws.std((0, 1))
        directions = rng.standard_normal((truth.shape[1], combinations)) / np.where(sd > 0, sd, 1.0)[:, None]
        truth, draws = np.hstack([truth, truth @ directions]), np.concatenate([draws, draws @ directions], axis=2)
        labels += tuple(f"combination {i + 1}" for i in range(combinations))
    ranks = tied_ranks(truth, draws, np.random.default_rng([seed, 13]), resolution(thetas, samples))
    return sbc_of_ranks(ranks, draws.shape[1], labels)


def sbc_of_ranks(ranks: ArrayLike, draws: int, names: Sequence[str] = ()) -> SBC:
    """The same from ranks `[N, Q]` in 0..draws, where these were kept and the draws were not."""
    r = array("ranks", ranks, "N, Q")
    if r.min() < 0 or r.max() > draws:
        raise ValueError(f"ranks lie in {r.min():g}..{r.max():g}; with {draws} draws they must lie in 0..{draws}.")
    _enough(len(r))
    share = (r + 0.5) / (draws + 1)
    columns = r.T
    return SBC(
        r,
        draws,
        named(names, r.shape[1]),
        np.array([ks_p_value(u) for u in share.T]),
        np.array([chi_square_p_value(c, draws) for c in columns]),
        np.array([ecdf_p_value(c, draws) for c in columns]),
        np.array([c2st_uniform(c, draws) for c in columns]),
        np.stack([(np.abs(share - 0.5) <= half).mean(0) for half in (0.25, 0.45)], 1),
    )


def judge_sbc(found: SBC) -> Verdict:
    """Judge by the smallest ECDF p-value, adjusted for the number of quantities (Holm 1979)."""
    adjusted = holm(found.ecdf)
    worst = int(adjusted.argmin())
    p, name, count = float(adjusted[worst]), found.names[worst], len(found.ranks)
    share = (found.ranks[:, worst] + 0.5) / (found.draws + 1)
    few = f"; {count} data sets show only large defects, {FEWEST} or more are usual" if count < FEWEST else ""
    if word_of(p) == "pass":
        text = f"ranks of {len(found.names)} quantities over {count} data sets are uniform (smallest adjusted {said(p)}, {name}){few}"
        return Verdict(
            "sbc", "warn" if few else "pass", p, P_THRESHOLD, text, "simulate and fit more data sets" if few else ""
        )
    bad = int((adjusted < 0.05).sum())
    off, width = share.mean() - 0.5, share.std() * 12**0.5
    # a shift moves the mean of the ranks, a wrong width their spread: say the one that is farther from chance
    if abs(off) * (12 * count) ** 0.5 > abs(width - 1) * (2.5 * count) ** 0.5:
        shape = "too high" if off < 0 else "too low"
    else:
        shape = "too narrow" if width > 1 else "too wide"
    text = f"ranks of {bad} of {len(found.names)} quantities are not uniform (worst {name}, adjusted {said(p)}: its posterior is {shape}){few}"
    advice = {
        "too narrow": "over-confident: fit longer, a more flexible family, more simulations, or noise that the likelihood leaves out",
        "too wide": "intervals are honest but wasteful: noise may be counted twice, or the fit has not converged",
    }.get(shape, "biased: look for a wrong prior, a biased gradient, or a fit that stopped on its way")
    return Verdict("sbc", word_of(p), p, P_THRESHOLD, text, advice)


def compute_averaged_posterior(
    thetas: ArrayLike,
    samples: ArrayLike,
    prior_samples: ArrayLike | None = None,
    names: Sequence[str] = (),
    *,
    null: int = 199,
    seed: int = 0,
) -> AveragedPosterior:
    """Tell one draw of each posterior from a draw of the prior: averaged over data sets they are alike.

    Args:
        thetas: `[N, D]`.
        samples: `[N, S, D]`; the first draw of each is used.
        prior_samples: `[R, D]` independent draws of the prior; `thetas` if None, which are paired with the posteriors
            and make the test conservative.
        names: of the parameters.
        null: label exchanges.
        seed: of the exchanges.
    """
    truth, draws = pair(thetas, samples)
    prior = truth if prior_samples is None else array("prior_samples", prior_samples, "R, D")
    same(prior_samples=("D", prior.shape[1], truth.shape[1]))
    rows = min(len(prior), len(draws), MOST_ROWS)
    found, exchanged = accuracy(prior[:rows], draws[:rows, 0], np.random.default_rng([seed, 3]), null)
    sd = np.where(prior.std(0) > 0, prior.std(0), 1.0)
    flat = draws.reshape(-1, truth.shape[1])
    return AveragedPosterior(
        found,
        exchanged,
        float((1 + (exchanged >= found).sum()) / (1 + null)),
        (flat.mean(0) - prior.mean(0)) / sd,
        flat.std(0) / sd,
        named(names, truth.shape[1]),
    )


def judge_averaged_posterior(found: AveragedPosterior) -> Verdict:
    """Judge by the permutation p-value of the classifier's accuracy."""
    moved, wide = int(np.abs(found.shift).argmax()), int(np.abs(np.log(np.maximum(found.ratio, 1e-9))).argmax())
    text = (
        f"a classifier tells the averaged posterior from the prior in {percent(found.c2st)} of cases ({said(found.p_value)}); largest shift "
        f"{found.shift[moved]:+.2f} prior sd ({found.names[moved]}), farthest width ratio {found.ratio[wide]:.2f} ({found.names[wide]})"
    )
    word = word_of(found.p_value)
    advice = "a ratio above 1 or below, or a shift, is a systematic error of the posterior: see sbc for the parameter"
    return Verdict("averaged_posterior", word, found.p_value, P_THRESHOLD, text, "" if word == "pass" else advice)


def pair(thetas: ArrayLike, samples: ArrayLike) -> tuple[Array, Array]:
    """Truths `[N, D]` and draws `[N, S, D]`, checked."""
    truth, draws = array("thetas", thetas, "N, D"), array("samples", samples, "N, S, D")
    same(samples=("N", draws.shape[0], len(truth)))
    same(samples=("D", draws.shape[2], truth.shape[1]))
    _enough(len(truth))
    return truth, draws


def named(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Names of the parameters, `theta[0]`, ... if none were given."""
    if names and len(names) != count:
        raise ValueError(f"{len(names)} names were given for {count} parameters; give one each, or none.")
    return tuple(names) or tuple(f"theta[{i}]" for i in range(count))


def _enough(count: int) -> None:
    if count < 10:
        raise ValueError(f"{count} data sets were given; ranks say something from 10 on, and {FEWEST} are usual.")
