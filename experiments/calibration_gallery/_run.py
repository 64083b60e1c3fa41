"""One calibration of one problem, compared with the known posterior: a row of plain data."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from calib import calibrate
from experiments.calibration_gallery._problem import Array, Problem, Reference

DRAWS = 4000
MEAN_OFF, SD_OFF = 0.5, 1.5
"""A posterior is wrong if a mean is off by more reference sds, or an sd by a larger factor."""
COLUMNS = (
    "problem", "method", "seed", "budget", "state", "mean_error", "sd_ratio", "wrong", "used", "simulations", "seconds", "error",
    "commit", "date",
)  # fmt: skip
KEY = ["problem", "method", "seed"]


def run(problem: Problem, method: str, seed: int, budget: int | None = None) -> dict[str, Any]:
    """Calibrate, and compare draws with the reference.

    Returns:
        One row: `mean_error`, the largest distance of a mean in reference sds; `sd_ratio`, the sd ratio farthest from 1; `wrong`;
        `state` of the verdict ("error" where the call ended with one, whose text is in `error`); which method was `used`.
    """
    case, budget = problem.build(), budget or problem.budget
    row: dict[str, Any] = {"problem": problem.name, "method": method, "seed": seed, "budget": budget, "error": ""}
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = calibrate(**case.arguments, budget=budget, seed=seed, method=method)  # type: ignore[arg-type]
            draws = found.sample(DRAWS, seed=0)
    except (ValueError, RuntimeError, TypeError) as refusal:
        # a refusal in one sentence is an answer; a traceback of another library is not, and shows as its own text
        row |= {"state": "error", "error": f"{type(refusal).__name__}: {refusal}"[:300], "wrong": False}
        return row | {"seconds": round(time.perf_counter() - started, 2)}
    values = case.values(found, draws) if case.values else draws
    error, ratio = compare({name: x.double().numpy() for name, x in values.items()}, case.reference)
    return row | {
        "state": found.verdict.state,
        "mean_error": round(error, 4),
        "sd_ratio": round(ratio, 4),
        "wrong": is_wrong(error, ratio),
        "used": found.report["method"],
        "simulations": int(found.report["simulations"]),
        "seconds": round(time.perf_counter() - started, 2),
    }


def compare(draws: dict[str, Array], reference: Reference) -> tuple[float, float]:
    """Largest error of a mean in reference sds, and the ratio of sds farthest from 1 (as drawn over reference)."""
    errors, logs = [], []
    for name, mean in reference.mean.items():
        sd, x = reference.sd[name], draws[name].reshape(len(draws[name]), *np.shape(mean))
        errors.append(np.abs(x.mean(0) - mean) / sd)
        with np.errstate(divide="ignore"):
            logs.append(np.log(x.std(0) / sd))
    error = np.concatenate([np.ravel(e) for e in errors])
    log = np.concatenate([np.ravel(x) for x in logs])
    worst = log[np.argmax(np.abs(np.nan_to_num(log, nan=np.inf)))]
    return float(error.max()), float(np.exp(worst))


def is_wrong(error: float, ratio: float) -> bool:
    """Whether a posterior with such errors is wrong; NaN is."""
    return not (error <= MEAN_OFF and 1 / SD_OFF <= ratio <= SD_OFF)
