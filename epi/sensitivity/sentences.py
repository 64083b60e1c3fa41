"""Numbers of a sensitivity report turned into sentences."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from calib.plotting import number
from epi.reporting.sentences import about, day, listed, percent
from epi.sensitivity.check import bias_sentence as bias_sentence
from epi.sensitivity.compare import OURS
from epi.sensitivity.global_sobol import KEEP, SURE, WIDTH
from epi.study.printed_names import plain_label as label

AIM = 0.9
"""Rank correlation with the reference ranking that is asked for."""

__all__ = [
    "bias_sentence",
    "check_sentence",
    "comparison_sentences",
    "every_input_sentences",
    "global_sentences",
    "zero_shot_sentences",
]


def listed_shares(rows: pd.DataFrame, value: str, name: str, count: int = 3) -> str:
    """`transmission elsewhere (23 %), ...`."""
    top = rows.sort_values(value, ascending=False).head(count)
    return listed([f"{label(str(n))} ({percent(v)})" for n, v in zip(top[name], top[value], strict=True)])


def zero_shot_sentences(table: pd.DataFrame, facts: dict[str, Any]) -> list[str]:
    """What level 1 found, for each output."""
    out = []
    for output in table["output"].unique():
        rows = table[(table["output"] == output) & (table["level"] == "group")]
        prior, after = (rows[rows["measure"] == f"{k}_share"] for k in ("prior", "posterior"))
        out.append(
            f"{output.capitalize()}: if every parameter were as uncertain as its prior, most of the variance "
            f"would come from "
            f"{listed_shares(prior, 'index', 'parameter')}; of the variance that the fit leaves, from "
            f"{listed_shares(after, 'index', 'parameter')}."
        )
    seeds = (
        "each with Jacobians of two random streams" if facts["two_seeds"]
        else "each with the Jacobian of one random stream, so that squares of single derivatives "
        "(derivative_share in level1.csv) hold its noise"
    )  # fmt: skip
    out.append(
        f"Level 1 took {facts['simulations']} simulations: it is arithmetic on the {facts['draws']} Jacobians that "
        f"the calibration kept, {seeds}"
        f"; {facts['dropped']} draws were dropped."
    )
    return out


def every_input_sentences(data: xr.Dataset) -> list[str]:
    """Where and when one contact less would have mattered most."""
    out = []
    whole = data.isel(week=slice(0, data.sizes["day"] // 7))
    for k, output in enumerate(data["output"].values):
        x, se = -0.1 * whole["transmission_week"].values[k], 0.1 * whole["transmission_week_se"].values[k]
        value = float(data["value"].values[k])
        best, worst = int(x.argmin()), int(x.argmax())

        def place(i: int) -> str:
            return f"{whole['venue'].values[i // x.shape[1]]} in the week from {day(str(whole['week'].values[i % x.shape[1]]))}"  # noqa: B023

        sentence = (
            f"{str(output).capitalize()} ({about(value)}): 10 % less transmission would have lowered them most "
            f"{_at(place(best))}, by "
            f"{about(-x.flat[best])} ± {about(1.96 * se.flat[best])}"
        )
        if x.flat[worst] > max(1.96 * se.flat[worst], -0.1 * x.flat[best]):
            sentence += (
                f"; {_at(place(worst))} it would have raised them, by {about(x.flat[worst])} ± "
                f"{about(1.96 * se.flat[worst])}, because infections "
                "that are put off come later"
            )
        out.append(sentence + ".")
    attrs = data.attrs
    out.append(
        f"One run and one reverse pass an output give the derivative with respect to {int(attrs['inputs']):,} "
        f"inputs: every day's rate in every venue, "
        "infectiousness of every kind of person on every day of infection, susceptibility of every kind, "
        "importation into every group on every day, "
        f"every mixing entry. It took {attrs['seconds_per_stream']:.2f} s a random stream; error bars are over "
        f"{int(attrs['streams'])} streams."
    )
    return out


def _at(place: str) -> str:
    venue, rest = place.split(" ", 1)
    return f"{'at ' if venue in ('home', 'school', 'work') else 'in the '}{venue} {rest}"


def global_sentences(rows: list[dict[str, Any]], table: pd.DataFrame) -> list[str]:
    """What level 3 found under the prior and under the posterior."""
    out = []
    for row in rows:
        prior = row["distribution"] == "prior"
        part = table[
            (table["distribution"] == row["distribution"])
            & (table["output"] == row["output"])
            & (table["level"] == "group")
        ]
        middle, low, high = row["explained"]
        out.append(
            f"{row['output'].capitalize()}, {'over the priors' if prior else 'over the posterior'}: standard "
            f"deviation {about(row['sd'])} {row['unit']}; "
            f"most from {listed_shares(part, 'share', 'input', 4)}. Chance alone, at fixed inputs, is "
            f"{percent(row['noise_share'], 1)} of the variance of "
            f"single runs and is in no index. The shares add up to {middle:.2f} ({low:.2f} to {high:.2f}); "
            f"exact gradients give 1."
        )
        if not low <= 1 <= high:
            out.append(
                f"That is {'less' if middle < 1 else 'more'} than 1 beyond chance: over these inputs the gradients "
                f"{'miss' if middle < 1 else 'add'} {percent(abs(1 - middle))} of the variance: more draws (--draws) tell if that is chance."
            )
        if prior:
            converged = row["converged_at"]
            out.append(
                f"Stopping rule: no share less sure than ±{WIDTH}, and the first five the same with probability "
                f"{SURE}. "
                + (
                    f"It holds from {converged} draws on."
                    if converged
                    else f"It does not hold yet at {row['draws']} draws: use more."
                )
                + f" {row['dropped']} draws with failed runs were dropped."
            )
    return out


def fixing_sentence(row: dict[str, Any]) -> str:
    """What may be fixed and what that costs in variance."""
    sentence = (
        f"{row['fixed']:,} of the {row['inputs']:,} inputs may be fixed for {row['output']}: none of them has "
        f"an upper bound of its total index whose 95 % "
        f"interval reaches {KEEP}; together they carry at most {percent(max(row['fixed_bound'], 0), 1)} of the "
        f"variance (upper end "
        f"{percent(row['fixed_bound_high'], 1)}), by the sum of their bounds."
    )
    if row["explained"][2] < 1:
        sentence += " The gradients miss part of the variance here (the shares do not add up to 1), so that this is an estimate and no bound."
    return sentence


def comparison_sentences(table: pd.DataFrame, facts: dict[str, Any]) -> list[str]:
    """Agreement with the reference ranking and its price."""
    out = []
    compare = facts["compare"]
    for output in table["output"].unique():
        rows = table[table["output"] == output].set_index("method")
        own = f"{OURS}: share"
        if own not in rows.index:
            continue
        r, top = rows.loc[own], rows.iloc[0]
        known = facts.get("reliability", {}).get(output, {})
        halves = known.get("halves")
        out.append(
            f"{output.capitalize()}: the shares from {int(r['runs']):,} gradients rank the calibrated "
            f"parameters as Sobol indices of "
            f"{int(top['runs']):,} runs do, with rank correlation {r['rank_correlation']:.2f} "
            f"({r['rank_correlation_felt']:.2f} over those whose index the "
            f"reference can tell from 0) and {int(r['top_five'])} of the first five, at "
            f"1/{top['runs'] / r['runs']:.0f} of the runs and "
            f"1/{top['seconds'] / max(r['seconds'], 1e-9):.0f} of the time."
            + (f" The two halves of the reference agree with each other to {halves:.3f}." if halves is not None else "")
            + _known(known)
        )
        path = facts.get("by_draws", {}).get(output, [])
        enough = [k for k in range(len(path)) if all(p["rank_correlation"] >= AIM for p in path[k:])]
        if enough:
            least = path[enough[0]]
            out.append(
                f"With {int(least['gradients'])} gradients, 1/{top['runs'] / least['gradients']:.0f} of the runs, the rank correlation is "
                f"{least['rank_correlation']:.2f} ({int(least['top_five'])} of the first five), and from there on never below {AIM}."
            )
        alone = facts.get("single", {}).get(output)
        if alone:
            out.append(
                f"Each element of a vector by itself, {alone['inputs']} inputs: rank correlation {alone['rank_correlation']:.3f}, "
                f"{alone['rank_correlation_felt']:.3f} over the {alone['felt']} that the reference can tell from 0, "
                f"and {int(alone['top_five'])} of the first five."
            )
    gradient = compare["seconds_per_gradient"]
    ratio = f", a gradient {gradient:.3f} s ({gradient / compare['seconds_per_run']:.1f} runs)" if gradient else ""
    out.append(
        f"A run took {compare['seconds_per_run']:.3f} s{ratio}. Vectors (region effects, age effects) count "
        f"as one parameter here."
    )
    return out + list(compare["missing"])


def _known(reliability: dict[str, Any]) -> str:
    """How sure the reference ranking is of its first five."""
    if reliability.get("half_width") is None:
        return ""
    return (
        f" The first five of its indices are known to ±{percent(reliability['half_width'])} of themselves; the least sure of them is "
        f"among its first five with probability {reliability['first_five']:.2f}."
    )


def check_sentence(table: pd.DataFrame) -> list[str]:
    """How many derivatives agree with differences."""
    out = []
    for kind in table["kind"].unique():
        rows = table[table["kind"] == kind]
        agree = int(rows["sentence"].str.startswith("agrees").sum())
        unclear = int(rows["sentence"].str.startswith("too small").sum())
        biased = rows[rows["sentence"].str.startswith("biased")]
        sentence = f"Derivatives {kind}: {agree} of {len(rows)} agree with differences, {unclear} are too small to be separated from chance"
        if len(biased):
            worst = biased.loc[biased["bias"].abs().idxmax()]
            sentence += f", {len(biased)} are biased, {label(str(worst['input']))} most (by {number(100 * float(worst['bias']))} %)"
        out.append(sentence + ".")
    return out
