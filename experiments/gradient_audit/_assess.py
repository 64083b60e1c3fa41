"""From rows to verdicts: bias and noise in per cent of the truth."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import pandas as pd

__all__ = ["COLUMNS", "assess", "check_truth", "summarize"]

TOLERANCE, ERRORS, RESOLVED = 2.0, 2.0, 5.0
"""A row passes within 2 % of the truth or two standard errors. Where the standard error is over 5 % a pass would say little: undecided."""

COLUMNS = [
    "world", "estimator", "outcome", "parameter", "truth", "bias", "error", "sd", "cost", "verdict", "z", "truth_error",
    "runs", "agents", "expectation", "commit", "date", "hardware",
]  # fmt: skip
"""`truth`: the derivative; `bias`, `error` (standard error of the bias, from the estimator and the truth), `sd` of one run and
`truth_error` in per cent of its size; `cost` in forward runs; `z = bias / error`; `expectation` of the outcome in the runs."""


def assess(runs: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Compare every row of an estimator with the truth of the same world.

    Args:
        runs: as `_rows.RUNS`.
        truth: as `_rows.TRUTH`.

    Returns:
        A table of `COLUMNS`; rows without a truth are left out.
    """
    key = ["world", "fingerprint", "outcome", "parameter"]
    known = truth[[*key, "derivative", "standard_error"]].rename(columns={"standard_error": "of_truth"})
    both = runs.merge(known, on=key)
    size = both["derivative"].abs().to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = 100 * (both["gradient"] - both["derivative"]) * np.sign(both["derivative"]) / size
        error = 100 * np.hypot(both["standard_error"].astype(float), both["of_truth"].astype(float)) / size
    table = both.assign(
        truth=both["derivative"], bias=bias, error=error, sd=100 * both["sd"] / size, truth_error=100 * both["of_truth"] / size,
        z=np.where(error > 1e-6, bias / np.where(error > 1e-6, error, 1.0), np.nan),
    )  # fmt: skip
    table["verdict"] = [verdict(b, e) for b, e in zip(table["bias"], table["error"], strict=True)]
    return table[COLUMNS].reset_index(drop=True)


def verdict(bias: float, error: float) -> str:
    """`pass`, `fail` or `undecided`, for a bias and its standard error in per cent."""
    if not (np.isfinite(bias) and np.isfinite(error)):
        return "undecided"
    if abs(bias) > max(TOLERANCE, ERRORS * error):
        return "fail"
    return "pass" if error <= RESOLVED else "undecided"


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """One row an estimator: verdicts, and the size of bias, noise and cost.

    Columns: `rows`; `pass`, `fail`, `undecided`: numbers of rows; `by_chance`: rows that an unbiased estimator would fail on average, by
    the width of their errors; `median_bias` (of absolute values) and `worst_bias` in per cent, and `median_sd`, over rows whose standard
    error is at most 5 %, if there are any; `rms_z`: root mean square of bias over standard error, 1 without bias; `median_cost`.
    """
    rows = []
    for name, part in table.groupby("estimator", sort=False):
        resolved = part[part["error"] <= RESOLVED]
        of = resolved if len(resolved) else part
        limit = np.maximum(TOLERANCE / part["error"].where(part["error"] > 0), ERRORS)
        worst = of["bias"].iloc[int(of["bias"].abs().to_numpy().argmax())]
        rows.append({
            "estimator": name, "rows": len(part), **{v: int((part["verdict"] == v).sum()) for v in ("pass", "fail", "undecided")},
            "by_chance": float(sum(_two_sided(x) for x in limit.dropna())), "median_bias": of["bias"].abs().median(), "worst_bias": worst,
            "rms_z": float((part["z"].dropna() ** 2).mean() ** 0.5), "median_sd": of["sd"].median(), "median_cost": part["cost"].median(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def check_truth(truth: pd.DataFrame) -> pd.DataFrame:
    """Hold the truths by differences against an identity that needs no estimator.

    A factor on susceptibility is the same factor on all transmission and on importation, so its derivative is the sum of theirs.

    Returns:
        A row for each world that has all of them, by outcome: `susceptibility`, `sum`, `difference` in per cent, its `error`.
    """
    parts = ["household", "school", "work", "community", "importation"]
    rows = []
    for (world, outcome), part in truth.groupby(["world", "outcome"], sort=False):
        by = part.set_index("parameter")
        if not {"susceptibility", *parts} <= set(by.index):
            continue
        whole, total = by.loc["susceptibility"], by.loc[parts]
        error = float(np.hypot(whole["standard_error"], (total["standard_error"] ** 2).sum() ** 0.5))
        value, added = float(whole["derivative"]), float(total["derivative"].sum())
        rows.append({
            "world": world, "outcome": outcome, "susceptibility": value, "sum": added,
            "difference": 100 * (value - added) / abs(added), "error": 100 * error / abs(added),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _two_sided(z: float) -> float:
    """Probability that a standard normal number exceeds z in size."""
    return erfc(z / sqrt(2))
