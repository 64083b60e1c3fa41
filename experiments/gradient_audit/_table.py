"""From one-run gradients and the truth to the table of the audit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from experiments.gradient_audit._estimates import Sample
from experiments.gradient_audit._world import PARAMETERS

COLUMNS = [
    "parameter", "estimator", "agents", "attack_rate", "bias", "bias_se", "sd", "seconds", "peak_mib",
    "level", "elasticity", "truth_se", "runs", "note",
]  # fmt: skip
"""`bias`, `bias_se`, `sd` of one run and `truth_se` are relative to the size of the true derivative; `elasticity` is that derivative
over the total; `seconds` are of one run with its gradient in every parameter; `peak_mib` lies above population and rates."""


def sampled_rows(
    name: str,
    drawn: Sample,
    truth: pd.DataFrame,
    attack_rate: float,
    seconds: float | None,
    peak_mib: float | None,
    note: str = "",
) -> list[dict[str, object]]:
    """Rows of one estimator in one world; `truth` holds one row a parameter in the order of `PARAMETERS`."""
    rows = []
    runs = len(drawn.gradient)
    true: Any
    for q, true in enumerate(truth.itertuples()):
        size, one = abs(true.derivative), drawn.gradient[:, q]
        spread = float(one.std(ddof=1))
        rows.append(
            _row(
                str(true.parameter), name, truth, attack_rate,
                bias=(float(one.mean()) - true.derivative) / size * np.sign(true.derivative),
                bias_se=(spread**2 / runs + true.standard_error**2) ** 0.5 / size,
                sd=spread / size, seconds=seconds, peak_mib=peak_mib, runs=runs, note=note, true=true,
            )
        )  # fmt: skip
    return rows


def difference_rows(truth: pd.DataFrame, attack_rate: float, peak_mib: float | None) -> list[dict[str, object]]:
    """Rows of single central differences, from the truth's own runs: their bias is that of the step."""
    rows = []
    true: Any
    for true in truth.itertuples():
        size = abs(true.derivative)
        # the difference is most of the extrapolated truth: their errors are nearly the same and cancel; what is left is the wide step's
        rows.append(
            _row(
                str(true.parameter), "finite-difference", truth, attack_rate,
                bias=(true.difference - true.derivative) / size * np.sign(true.derivative),
                bias_se=true.standard_error / size / 2, sd=true.difference_sd / size, seconds=true.difference_seconds,
                peak_mib=peak_mib, runs=true.streams, note=f"step {true.step:.2g}", true=true,
            )
        )  # fmt: skip
    return rows


def missing_rows(name: str, truth: pd.DataFrame, attack_rate: float, why: str) -> list[dict[str, object]]:
    """Rows that say why they hold no numbers."""
    nan = float("nan")
    return [
        _row(str(t.parameter), name, truth, attack_rate, nan, nan, nan, None, None, 0, why, t)
        for t in truth.itertuples()
    ]


def _row(
    parameter: str,
    name: str,
    truth: pd.DataFrame,
    attack_rate: float,
    bias: float,
    bias_se: float,
    sd: float,
    seconds: float | None,
    peak_mib: float | None,
    runs: int,
    note: str,
    true: Any,
) -> dict[str, object]:
    agents = int(truth["agents"].iloc[0])
    return {
        "parameter": parameter,
        "estimator": name,
        "agents": agents,
        "attack_rate": attack_rate,
        "bias": bias,
        "bias_se": bias_se,
        "sd": sd,
        "seconds": seconds,
        "peak_mib": peak_mib,
        "level": truth["level"].iloc[0],
        "elasticity": true.derivative / (attack_rate * agents),
        "truth_se": true.standard_error / abs(true.derivative),
        "runs": runs,
        "note": note,
    }


def verdict(table: pd.DataFrame, bias: float = 0.03, noise: float = 0.05, noise_from: int = 45_000) -> pd.DataFrame:
    """By estimator and number of agents: rows within the aims.

    A bias passes within `bias` or two standard errors; noise is judged from `noise_from` agents on.
    """
    run = table[table["runs"] > 0].copy()
    run["bias_met"] = (run["bias"].abs() <= bias) | (run["bias"].abs() <= 2 * run["bias_se"])
    run["noise_met"] = (run["sd"] <= noise).where(run["agents"] >= noise_from)
    rows = []
    for (estimator, agents), part in run.groupby(["estimator", "agents"], sort=False):
        judged = part["noise_met"].dropna()
        rows.append(
            {
                "estimator": estimator,
                "agents": agents,
                "rows": len(part),
                "bias_met": int(part["bias_met"].sum()),
                "median_abs_bias": part["bias"].abs().median(),
                "median_bias_se": part["bias_se"].median(),
                "worst_bias": part["bias"].iloc[int(part["bias"].abs().to_numpy().argmax())],
                "noise_met": int(judged.sum()) if len(judged) else None,
                "median_sd": part["sd"].median(),
                "seconds": part["seconds"].iloc[0],
                "peak_mib": part["peak_mib"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def order(table: pd.DataFrame) -> pd.DataFrame:
    """Columns as documented, rows by size, level and estimator."""
    assert set(table["parameter"]) <= set(PARAMETERS)
    return table[COLUMNS].sort_values(["agents", "attack_rate"], kind="stable").reset_index(drop=True)
