"""Numbers of a run turned into sentences: what the report says, computed from the run's files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from calib.plotting import number
from epi.outputs.derivatives import HEADLINES
from epi.outputs.run_files import RunFiles


def percent(value: float | None, decimals: int = 0) -> str:
    """`93 %`."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{decimals}f}\u00a0%"


def about(value: float) -> str:
    """A size rounded to three digits: `6,180,000`."""
    size = abs(value)
    return number(size) if size < 1000 else f"{round(size, 2 - math.floor(math.log10(size))):,.0f}"


def day(iso: str) -> str:
    """`13 March 2022`."""
    when = date.fromisoformat(iso[:10])
    return f"{when.day} {when:%B %Y}"


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""


def duration(seconds: float) -> str:
    """`8 min 12 s`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def coverage_verdict(share: float | None) -> str:
    """What the observed coverage of 95 % intervals means."""
    if share is None:
        return "no observations to compare with"
    if share < 0.90:
        return "too narrow: the forecast is surer than it should be"
    return "wider than they need to be" if share > 0.99 else "about right"


def skill_sentences(run: RunFiles, targets: Iterable[str]) -> list[str]:
    """One sentence for every target and period: score, against the baseline, coverage."""
    sentences = []
    for target in targets:
        counted = run.study.stream(target).description
        for period, row in run.scores.get(target, {}).get("overall", {}).items():
            if row["wis"] is None or row["relative_wis"] is None:
                continue
            ratio = row["relative_wis"]
            verdict = (
                f"{percent(1 - ratio)} smaller than the baseline's" if ratio < 0.995
                else "the same as the baseline's" if ratio <= 1.005
                else f"{percent(ratio - 1)} larger than the baseline's"
            )  # fmt: skip
            sentences.append(
                f"{counted[0].upper()}{counted[1:]}, {period} weeks ahead: the error (WIS) was {number(row['wis'])}, {verdict} "
                f"({number(row['baseline_wis'])}; relative WIS {ratio:.2f}). The 95 % intervals held "
                f"{percent(row['coverage_95'])} of the observations ({coverage_verdict(row['coverage_95'])}), "
                f"the 50 % intervals {percent(row['coverage_50'])}."
            )
    return sentences


def extremes(run: RunFiles) -> str:
    """Where the forecast did best and worst against the baseline."""
    rows = [row for row in run.scores.get(run.headline, {}).get("by_place", []) if row["relative_wis"] is not None]
    if len(rows) < 4:
        return ""
    rows.sort(key=lambda row: row["relative_wis"])
    worse = [row["place"] for row in rows if row["relative_wis"] > 1]

    def shown(chosen: Sequence[Mapping[str, Any]]) -> str:
        return listed([f"{row['place']} ({row['relative_wis']:.2f})" for row in chosen])

    tail = (
        f"It did worse than the baseline in {listed(worse)}."
        if 0 < len(worse) <= 6
        else f"It did worse than the baseline in {len(worse)} of {len(rows)} {run.study.region.plural_name}."
        if worse
        else f"It beat the baseline in every {run.study.region.axis}."
    )
    return f"Against the baseline the forecast did best in {shown(rows[:3])} and least well in {shown(rows[:-4:-1])}. {tail}"


def leading(run: RunFiles, output: str, measure: str, count: int = 3, level: str = "parameter") -> pd.DataFrame:
    """The first rows of a ranking."""
    table = run.sensitivity
    rows = table[(table.output == output) & (table.measure == measure) & (table.level == level)]
    return rows.sort_values("rank", kind="stable").head(count)


def sensitivity_sentences(run: RunFiles) -> list[str]:
    """What matters most for each headline output, in its own unit."""
    sentences = []
    for output in HEADLINES:
        top = leading(run, output, "derivative_share")
        if top.empty:
            continue
        if top["index"].isna().any():
            sentences.append(
                f"The parameters cannot be ranked for {output}: no draw has a derivative other than zero under both seeds. "
                "Simulate more agents."
            )
            continue
        # an estimate of a mean square over two seeds may be of either sign where chance is all that is left
        certain = top[top.low > 0]
        shares = listed([f"{run.label(row.parameter)} ({percent(row['index'])})" for _, row in certain.iterrows()])
        said = (
            f"depend most on {shares}"
            if len(certain)
            else "depend on no parameter for certain (shares of the derivatives cannot be separated from chance; give more --jacobian-draws)"
        )
        swing = leading(run, output, "prior_swing", 1).iloc[0]
        narrow = run.sensitivity[
            (run.sensitivity.output == output)
            & (run.sensitivity.measure == "posterior_swing")
            & (run.sensitivity.parameter == swing.parameter)
            & (run.sensitivity.level == "parameter")
        ].iloc[0]
        direction = "raises" if swing["index"] > 0 else "lowers"
        ends = sorted(abs(end) for end in (swing.low, swing.high))
        left = leading(run, output, "posterior_share", 1).iloc[0]
        sentences.append(
            f"{output[0].upper()}{output[1:]} {said}. Moving {run.label(swing.parameter)} from its prior 5 % to "
            f"its prior 95 % point {direction} them by about {about(swing['index'])} "
            f"(95 % interval {about(ends[0])} to {about(ends[1])}, linearised); within what the fit leaves open the same "
            f"parameter still moves them by {about(narrow['index'])}. Most of the uncertainty that is left comes from "
            f"{run.label(left.parameter)} ({percent(left['index'])} of the linearised variance)."
        )
    known = set(run.sensitivity["output"])
    stable = leading(run, next((h for h in HEADLINES if h in known), HEADLINES[0]), "derivative_share", 5)
    if not stable.empty and stable["index"].notna().all():
        least = float(stable.top_five.min())
        dropped = int(stable.dropped.iloc[0])
        sentences.append(
            f"The ranking rests on {int(stable.draws.iloc[0])} draws with a Jacobian"
            + (f" ({dropped} more left out because values in them were not finite)" if dropped else "")
            + f". In resamples of these draws each of the five leading parameters stays among the first five at least "
            f"{percent(least)} of the time" + (": the top of the ranking is certain." if least >= 0.9 else
            ": the order near fifth place is uncertain.")
        )  # fmt: skip
    return sentences


def stop_sentences(run: RunFiles) -> tuple[str, str]:
    """Why the fit stopped: a few words for a figure, and a sentence."""
    reason = str(run.manifest.get("fit", {}).get("stopped_because", "not recorded"))
    return {
        "converged": ("ELBO converged", "stopped by itself, because the evidence lower bound had converged"),
        "max_steps": (
            "limit of steps",
            "stopped at its limit of steps, before the evidence lower bound was seen to converge",
        ),
        "max_seconds": (
            "time limit",
            "stopped at its time limit, before the evidence lower bound was seen to converge",
        ),
    }.get(reason, (reason, f"stopped for this reason: {reason}"))


def fit_sentences(run: RunFiles) -> list[str]:
    """How the computation went."""
    manifest, history = run.manifest, run.history
    steps = len(history)
    sentences = [f"The fit took {steps:,} step{'' if steps == 1 else 's'} and {stop_sentences(run)[1]}."]
    tail = history["elbo_smoothed"].to_numpy()[-max(10, steps // 10) :]
    tail = tail[np.isfinite(tail)]
    if steps >= 50 and tail.size > 1:
        sentences.append(
            f"Over its last tenth the running mean of the evidence lower bound changed by {tail[-1] - tail[0]:+.1f} nats "
            f"and ended at {tail[-1]:,.0f}."
        )
    sentences.append(k_hat_sentence(run))
    skipped = {key: int(value) for key, value in manifest.get("skipped", {}).items() if value}
    sentences.append(
        "Skipped because something was not finite: " + listed([f"{n:,} {what}" for what, n in skipped.items()]) + "."
        if skipped
        else "No step and no draw was skipped."
    )
    simulations = manifest.get("simulations", {})
    forecast = sum(n for purpose, n in simulations.items() if purpose.startswith("forecast"))
    sentences.append(
        f"{sum(simulations.values()):,} epidemics were simulated. After the fit the forecast needed {forecast:,}, some "
        "kept with their derivatives, and the sensitivity ranking none of its own."
    )
    return sentences


def stream_sentences(run: RunFiles) -> list[str]:
    """Information from each data stream: the parameter and the outputs it narrowed most."""
    table, sentences = run.stream_information, []
    for option, rows in table.groupby("option", sort=False):
        # a parameter that only says how the stream itself is seen is no news
        best = rows[~rows.output & ~rows.quantity.str.startswith(OBSERVED_BY.get(str(option), ("dispersion_",)))]
        best = best.sort_values("wider", ascending=False).head(2)
        outputs = rows[rows.output].sort_values("wider", ascending=False).head(1)
        would = "would be" if rows.fitted.iloc[0] else "is"
        other = "without them" if rows.fitted.iloc[0] else "than with them, which the fit did not see"
        wider = outputs.wider.iloc[0] - 1
        told = f"most for {outputs.quantity.iloc[0]}, by {percent(wider)}" if percent(wider) != percent(0.0) else "none"
        most = listed([f"{run.label(q)} by {percent(w - 1)}" for q, w in zip(best.quantity, best.wider, strict=True)])
        sentences.append(
            f"{str(option).capitalize()}: what is known {would} wider {other}, for {most}; of the outputs {told}."
        )
    return sentences


OBSERVED_BY = {
    "cases": ("dispersion_", "cluster_size"),
    "admissions": ("dispersion_", "severity_"),
    "deaths": ("dispersion_", "fatality_"),
    "occupancy": ("dispersion_", "hospital_"),
    "wastewater": ("dispersion_", "wastewater_"),
    "border": ("dispersion_", "border_"),
}
"""How names of parameters begin that only say how a stream is seen."""


def k_hat_sentence(run: RunFiles) -> str:
    """The Pareto k-hat of the importance weights, judged, as the run kept it."""
    kept = run.manifest.get("importance")
    if not kept:
        return "How well the fitted distribution matches the posterior was not checked."
    sentence = (
        f"Check of the fitted distribution against the posterior: {kept['text']}. "
        f"Reweighted, the {kept['draws']:,} draws are worth {kept['effective']:,.0f}."
    )
    if "log_evidence" in kept:
        gap = kept["log_evidence"] - kept["elbo"]
        sentence += f" The lower bound lies {gap:.1f} nats below the log evidence that the weights estimate."
    found = run.manifest.get("sampler")
    if found:
        r_hat = "not finite" if found["r_hat"] is None else f"{found['r_hat']:.2f}"
        sentence += (
            f" The draws shown are those of {found['chains']} Hamiltonian chains in its coordinates: largest R-hat {r_hat}, "
            f"at least {found['effective']:,.0f} effective draws of each parameter."
        )
    emulator = run.manifest.get("emulator")
    if emulator:
        sentence += (
            f" The mean of the model that they rest on was learnt from {emulator['runs']:,} runs of the country; it is off by "
            f"{emulator['error_median']:.0%} in the median count."
        )
    shared = run.manifest.get("common_errors")
    if shared:
        sentence += (
            f" {shared['count']} errors of that mean, and of chance in the country, that move observations together are drawn along with the "
            f"parameters: {shared['share_of_variance']:.0%} of the error of the median figure."
        )
    return sentence
