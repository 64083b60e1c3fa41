"""`posterity compare RUN RUN`: two runs, parameter by parameter and score by score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from epi import StudyError
from epi.outputs.run_files import RunFiles
from epi.outputs.survey_value import log_infections, normal_entropy
from posterity.commands.errors import one_sentence

APART = 0.5
"""Posterior sds from which on two means are named."""


def main(
    first: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    second: Annotated[Path, typer.Argument(help="Folder of another run of the same study.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare two runs of one study: parameters whose posteriors differ, what is known of infections, and the scores of both."""
    console = Console(stderr=True)
    with one_sentence(console):
        a, b = RunFiles(first).finished(), RunFiles(second).finished()
        if a.manifest["study"] != b.manifest["study"]:
            raise StudyError(
                f"{first} is a run of {a.manifest['study']!r} and {second} of {b.manifest['study']!r}; compare runs of one study."
            )
        parameters, scores = posteriors(a, b), both_scores(a, b)
        before, after = entropy_of(a), entropy_of(b)
    if as_json:
        entropy = {"first": before, "second": after}
        tables = {"parameters": parameters.to_dict("records"), "scores": scores.to_dict("records")}
        print(json.dumps(tables | {"entropy_of_infections": entropy}))
        return
    apart = parameters[parameters["difference"].abs() >= APART]
    print(f"{len(apart)} of {len(parameters)} parameters have means {APART} or more posterior sds apart:")
    if len(apart):
        print(apart.to_string(index=False, float_format=lambda x: f"{x:.3g}"))
    if before is not None and after is not None:
        print(
            f"\nentropy of log infections by region up to the forecast date: {before:.2f} and {after:.2f} nats; "
            f"the second knows {before - after:.2f} nats more"
        )
    print("\nrelative WIS (below 1: better than the baseline)")
    print(scores.to_string(index=False, float_format=lambda x: f"{x:.2f}"))


def entropy_of(run: RunFiles) -> float | None:
    """Entropy of log infections by region in nats, or None of a run with too few draws for their covariance."""
    draws = log_infections(run)
    return normal_entropy(draws) if len(draws) > draws.shape[1] + 1 else None


def posteriors(a: RunFiles, b: RunFiles) -> pd.DataFrame:
    """Mean and sd of every parameter in both runs; `difference` is in units of the larger sd."""
    rows = []
    for name in a.groups["posterior"].data_vars:
        if name not in b.groups["posterior"]:
            continue
        x, y = (r.groups["posterior"][name].stack(sample=("chain", "draw")) for r in (a, b))
        mean = [v.mean("sample").values.ravel() for v in (x, y)]
        sd = [v.std("sample").values.ravel() for v in (x, y)]
        labels = [""] if mean[0].size == 1 else [f"[{i}]" for i in range(mean[0].size)]
        if mean[0].shape != mean[1].shape:
            continue
        difference = (mean[1] - mean[0]) / np.maximum(np.maximum(sd[0], sd[1]), 1e-300)
        rows += [
            {"parameter": f"{name}{label}", "first": m0, "first_sd": s0, "second": m1, "second_sd": s1, "difference": d}
            for label, m0, s0, m1, s1, d in zip(labels, mean[0], sd[0], mean[1], sd[1], difference, strict=True)
        ]
    return pd.DataFrame(rows).sort_values("difference", key=np.abs, ascending=False, ignore_index=True)


def both_scores(a: RunFiles, b: RunFiles) -> pd.DataFrame:
    """Relative WIS of both runs by stream and weeks ahead."""
    rows = []
    for name, score in a.scores.items():
        for period, row in score["overall"].items():
            other = b.scores.get(name, {}).get("overall", {}).get(period, {})
            rows.append(
                {"stream": name, "weeks": period, "first": row.get("relative_wis"), "second": other.get("relative_wis")}
            )
    return pd.DataFrame(rows)
