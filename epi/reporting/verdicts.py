"""Verdicts on a finished run, from its saved files alone, in the words of someone who reads epidemics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from calib import judge_k_hat
from calib.diagnostics import (
    GRADES,
    Page,
    PosteriorPredictive,
    Verdict,
    Word,
    compute_misspecification,
    compute_posterior_predictive,
    compute_prior_predictive,
    draw_misspecification,
    draw_posterior_predictive,
    draw_prior_predictive,
    judge_misspecification,
    judge_posterior_predictive,
    judge_prior_predictive,
    not_run,
)
from epi.outputs.run_files import RunFiles
from epi.reporting import sentences as phrases

Array = NDArray[np.float64]

QUESTIONS = {
    "failures": "Did every simulation work?",
    "misspecification": "Can the model produce an epidemic like this one at all?",
    "prior_predictive": "Do the assumptions made beforehand reach the reported data?",
    "converged": "Had the fit come to rest when it stopped?",
    "k_hat": "Is the fitted distribution near the true posterior?",
    "mixing": "Have the chains that drew from the posterior mixed?",
    "emulator": "Is the emulator that the posterior rests on the model's?",
    "fitted_streams": "Does the fitted model reproduce the weeks it was fitted to?",
    "fitted_places": "Does it in every region?",
    "fitted_weeks": "Does it in every week?",
    "forecast_coverage": "Did the forecast's intervals hold what was then reported?",
    "forecast_skill": "Was the forecast better than assuming that next week is like this week?",
    "recovery": "Was the known truth found again?",
}
"""In the order to look at them: before the last ones mean anything, the first must hold."""


MIXED, UNMIXED = 1.05, 1.1
"""Largest R-hat that passes and that warns: looser than the 1.01 of Vehtari et al. 2021 for few long chains, since these are many and short."""


BLURRED, BLIND = math.log(2.0), math.log(10.0)
"""Median deviation of runs from the emulator, in logarithms, from which it warns and from which it fails although it was foretold."""
RESIDUAL_HIGH, LOST = 1.5, 2.5
"""Largest residual of a posterior draw's run from the emulator, over the residual that it is said to have, that passes and that warns."""


@dataclass(frozen=True)
class Judged:
    """A page and the plots that go with it, drawn when asked for."""

    page: Page
    plots: dict[str, Callable[[], Figure]]


def judge_run(run: RunFiles) -> Judged:
    """Every verdict that the files of a run allow.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: one of its files is missing or damaged.
    """
    run.require()
    prior, posterior, observed, labels = _fitted(run)
    far = compute_misspecification(np.log1p(observed), np.log1p(prior))
    reach = compute_prior_predictive(observed, prior)
    by = {kind: compute_posterior_predictive(observed, posterior, labels[kind]) for kind in ("stream", "week")}
    regions = np.isin(labels["place"], run.study.region.names)
    at = np.array(labels["place"])[regions]
    by["place"] = compute_posterior_predictive(observed[regions], posterior[:, regions], at.tolist())
    verdicts = [
        _failures(run.manifest),
        _renamed(judge_misspecification(far), "misspecification"),
        _renamed(judge_prior_predictive(reach), "prior_predictive"),
        _converged(run.manifest),
        _k_hat(run.manifest),
        _mixing(run.manifest),
        _emulator(run.manifest),
        _renamed(judge_posterior_predictive(by["stream"]), "fitted_streams", _groups(by["stream"])),
        _renamed(judge_posterior_predictive(by["place"]), "fitted_places", _groups(by["place"])),
        _renamed(judge_posterior_predictive(by["week"]), "fitted_weeks", _groups(by["week"])),
        _forecast_coverage(run),
        _forecast_skill(run),
        _recovery(run.manifest),
    ]
    plots: dict[str, Callable[[], Figure]] = {
        "misspecification": lambda: draw_misspecification(far),
        "prior_predictive": lambda: draw_prior_predictive(reach),
        "fitted_streams": lambda: draw_posterior_predictive(by["stream"]),
        "fitted_places": lambda: draw_posterior_predictive(by["place"]),
        "fitted_weeks": lambda: draw_posterior_predictive(by["week"]),
    }
    return Judged(Page(tuple(verdicts), QUESTIONS, "Can this calibration be believed?"), plots)


def _fitted(run: RunFiles) -> tuple[Array, Array, Array, dict[str, list[str]]]:
    """Predictions of prior and posterior and observations of the fitted weeks, flat, with the labels of the observations.

    One observation of each prior draw: the pool of the permutation test must hold independent epidemics.
    """
    replicates = int(run.manifest["configuration"].get("replicates", 1))
    prior = [run.predicted(s, "prior_predictive")[::replicates, run.in_likelihood(s)] for s in run.streams]
    posterior = [run.predicted(s)[:, run.in_likelihood(s)] for s in run.streams]
    observed = np.concatenate([run.observed(s)[run.in_likelihood(s)] for s in run.streams])
    labels: dict[str, list[str]] = {"stream": [], "place": [], "week": []}
    for stream in run.streams:
        places = run.places(stream)
        for week, place in np.argwhere(run.in_likelihood(stream)):
            labels["stream"].append(run.study.stream(stream).description)
            labels["place"].append(places[place])
            labels["week"].append(f"week to {phrases.day(run.weeks[week])}")
    return _flat(prior), _flat(posterior), observed, labels


def _flat(parts: list[Array]) -> Array:
    """`[draw, week, place]` of each stream to `[draw, figure]` of all."""
    return np.concatenate([x.reshape(len(x), -1) for x in parts], axis=1)


def _renamed(verdict: Verdict, name: str, addition: str = "") -> Verdict:
    return replace(verdict, name=name, text=verdict.text + addition)


def _groups(found: PosteriorPredictive) -> str:
    """Which groups lie too far out, the worst first."""
    bad = [int(i) for i in np.argsort(found.discrepancy) if found.discrepancy[i] < 0.05]
    if not bad:
        return ""
    return f"; {phrases.listed([found.groups[i] for i in bad[:5]])} {'lies' if len(bad) == 1 else 'lie'} outside 95 % of its predictions"


def _failures(manifest: dict[str, Any]) -> Verdict:
    made = sum(manifest["simulations"].values())
    fit = manifest.get("fit", {})
    # skipped fit steps are counted by their particles; everything else by simulations
    failed = sum(n for what, n in manifest.get("skipped", {}).items() if what != "fit steps")
    dropped, on_emulator = fit.get("dropped_particles", 0), fit.get("simulations") == 0
    if not on_emulator:  # a fit on the emulator simulates nothing: a point it drops is not a failed simulation
        failed += dropped
    left_out = (
        f"; the fit left out {dropped:,} points where the emulator was not finite" if on_emulator and dropped else ""
    )
    share = failed / max(made, 1)
    threshold = "warns at the first failed simulation, fails above 5 %"
    text = f"{failed:,} of {made:,} simulations failed (were not finite){left_out}"
    if failed == 0:
        return Verdict("failures", "pass", share, threshold, f"none of {made:,} simulations failed{left_out}")
    advice = "the result does not know the parameter values that failed: see which they are in the run's notices, and guard the simulator"
    return Verdict("failures", "fail" if share > 0.05 else "warn", share, threshold, text, advice)


def _converged(manifest: dict[str, Any]) -> Verdict:
    fit = manifest.get("fit")
    threshold = (
        "passes if the objective converged, warns if a limit of steps ended the fit, fails if a limit of time did"
    )
    if not fit:
        return not_run("converged", "the run's manifest says nothing of a fit")
    text = f"the fit ended after {fit['steps']:,} steps because "
    if fit["stopped_because"] == "converged":
        return Verdict("converged", "pass", fit["steps"], threshold, text + "its objective had converged")
    time = fit["stopped_because"] == "max_seconds"
    return Verdict(
        "converged", "fail" if time else "warn", fit["steps"], threshold, text + ("its time was over" if time else "its steps were over"),
        "give it more with --max-seconds and --max-steps: intervals may still be too wide or too narrow",
    )  # fmt: skip


def _k_hat(manifest: dict[str, Any]) -> Verdict:
    found = manifest.get("importance")
    if not found:
        return not_run("k_hat", "the run kept no importance weights (it had no warm start)")
    k_hat = -math.inf if found["k_hat"] is None else float(found["k_hat"])
    judged = judge_k_hat(k_hat, int(found["draws"]))
    effective = f"; {found['effective']:,.0f} of {found['draws']:,} draws would count if they were weighted"
    advice = {
        "good": "",
        "usable": "read the ends of intervals with care",
        "poor": "read the posterior as an approximation: try --flow gaussian-nsf, more agents (--scale) or more particles, and trust the "
        "forecast checks below over the width of single parameters",
    }[judged.word]
    threshold, word = f"warns above 0.5, fails above {judged.threshold:.2f}", GRADES[judged.word]
    if manifest.get("sampler") and word == "fail":
        word, threshold = (
            "warn",
            "warns above 0.5: the draws are those of chains, for which the fitted distribution only gives the coordinates",
        )
        advice = "see the next line; single parameters may be far from normal"
    return Verdict("k_hat", word, k_hat, threshold, judged.text + effective, advice)


def _mixing(manifest: dict[str, Any]) -> Verdict:
    found = manifest.get("sampler")
    if not found:
        return not_run("mixing", "the draws are those of the fitted distribution, not of chains")
    # not finite, hence not recorded, where chains never moved
    r_hat, median = (math.inf if found[key] is None else float(found[key]) for key in ("r_hat", "r_hat_median"))
    broken = int(found["divergent"])
    word: Word = "pass" if r_hat <= MIXED else "warn" if r_hat <= UNMIXED else "fail"
    text = (
        f"{found['chains']} chains, {found['draws']:,} draws: largest R-hat {r_hat:.3f} (median {median:.3f}), at least "
        f"{found['effective']:,.0f} effective draws of a parameter, {broken} divergent trajectories"
    )
    advice = (
        ""
        if word == "pass"
        else "another --seed shows what intervals of single parameters are worth; --flow gaussian-nsf gives better coordinates"
    )
    return Verdict("mixing", word, r_hat, f"passes to {MIXED}, warns to {UNMIXED}, fails above", text, advice)


def _emulator(manifest: dict[str, Any]) -> Verdict:
    found = manifest.get("held_out")
    if not found:
        return not_run("emulator", "the posterior rests on no emulator that was learnt from rounds of runs")
    largest, followed = float(found["largest"]), int(manifest.get("beyond_runs", {}).get("followed", 0))
    off = float(found["off_median"])
    honest: Word = "pass" if largest <= RESIDUAL_HIGH else "warn" if largest <= LOST else "fail"
    near: Word = "pass" if off <= BLURRED else "warn" if off <= BLIND else "fail"
    word = max(honest, near, key=("pass", "warn", "fail").index)
    text = (
        f"the runs of {found['draws']} posterior draws, which it was not learnt from, deviate from it {_by(off)} in the "
        f"median; that is {found['median']:.2f} times what they are said to, and {largest:.2f} times for the farthest draw"
    )
    if followed:
        rounds = "round" if followed == 1 else "rounds"
        text += f"; chains had left the runs that it was learnt from, and {followed} {rounds} of runs followed them"
    advice = {
        "pass": "",
        "honest": "parameters of the farthest draws are guessed: another --seed tells how much depends on them",
        "near": "data say little through such an emulator, so intervals are wide: more agents (--scale, --level-scale) or no --smoke",
    }["pass" if word == "pass" else "honest" if honest == word else "near"]
    threshold = (
        f"for the farthest draw passes to {RESIDUAL_HIGH}, warns to {LOST}, fails above; whatever they are said to deviate, warns from a "
        f"median factor of {math.exp(BLURRED):.0f}, fails from {math.exp(BLIND):.0f}"
    )
    return Verdict("emulator", word, largest, threshold, text, advice)


def _by(off: float) -> str:
    """A difference of logarithms in words.

    >>> _by(0.1), _by(3.63)
    ('by 11 %', 'by a factor of 38')
    """
    return f"by {math.expm1(off):.0%}".replace("%", " %") if off <= BLURRED else f"by a factor of {math.exp(off):.2g}"


def _forecast_coverage(run: RunFiles) -> Verdict:
    """Share of reported data in the 90 % intervals, against the same share for the model's own futures.

    Observations of a forecast stand and fall together, so their number says little: each predicted future is taken for the data in turn,
    and its share shows what chance does to an honest forecast.
    """
    later = np.flatnonzero([week >= run.forecast_from for week in run.weeks])
    if not later.size:
        return not_run("forecast_coverage", "the run forecast nothing")
    predicted = _flat([run.predicted(s)[:, later] for s in run.streams])
    observed = np.concatenate([run.observed(s)[later].ravel() for s in run.streams])
    known = np.isfinite(observed)
    predicted, observed = predicted[:, known], observed[known]
    low, high = np.quantile(predicted, [0.05, 0.95], axis=0)
    share = float(((low <= observed) & (observed <= high)).mean())
    futures = ((low <= predicted) & (predicted <= high)).mean(1)
    p = float((1 + (futures <= share).sum()) / (1 + len(futures)))
    least = float(np.quantile(futures, 0.05))
    text = (
        f"the 90 % intervals held {phrases.percent(share)} of {observed.size} values reported after {phrases.day(run.weeks[later[0] - 1])}; "
        f"of the model's own futures, 95 % lie inside for more than {phrases.percent(least)}"
    )
    word = "pass" if p >= 0.05 else "warn" if p >= 0.01 else "fail"
    return Verdict(
        "forecast_coverage",
        "pass" if word == "pass" else "warn" if word == "warn" else "fail",
        share,
        "warns if fewer than 5 % of the model's own futures lie inside as rarely, fails if fewer than 1 %",
        text,
        ""
        if word == "pass"
        else "the forecast is surer than it should be: what changes after the fitted weeks (behaviour, reporting) is not in it",
    )


def _forecast_skill(run: RunFiles) -> Verdict:
    rows = {
        f"{run.study.stream(s).description}, {period} weeks ahead": row["relative_wis"]
        for s in run.streams
        for period, row in run.scores.get(s, {}).get("overall", {}).items()
        if row["relative_wis"] is not None
    }
    if not rows:
        return not_run("forecast_skill", "the run has no scores")
    worst = max(rows, key=lambda name: rows[name])
    behind = [name for name, value in rows.items() if value > 1]
    text = f"the error (WIS) relative to the baseline's is {min(rows.values()):.2f} to {rows[worst]:.2f}, largest for {worst}"
    word = "pass" if not behind else "warn" if len(behind) < len(rows) else "fail"
    return Verdict(
        "forecast_skill",
        "pass" if word == "pass" else "warn" if word == "warn" else "fail",
        rows[worst],
        "warns if one relative WIS is above 1, fails if all are",
        text,
        "" if word == "pass" else f"use the baseline instead for {phrases.listed(behind)}",
    )


def _recovery(manifest: dict[str, Any]) -> Verdict:
    found = manifest.get("recovery")
    if not found:
        return not_run("recovery", "only of use for observations simulated from known parameters (--synthetic)")
    chance = float(found["chance_of_so_few"])
    word = "pass" if chance >= 0.05 else "warn" if chance >= 0.01 else "fail"
    text = f"{found['inside']} of {found['of']} known parameters lie in their 90 % interval"
    return Verdict(
        "recovery",
        "pass" if word == "pass" else "warn" if word == "warn" else "fail",
        float(found["share"]),
        "warns if so few have a chance below 5 %, fails below 1 % (taking parameters as independent)",
        text,
        "" if word == "pass" else "one epidemic says little: look at many with python -m experiments.coverage",
    )
