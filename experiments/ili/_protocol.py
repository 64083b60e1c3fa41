"""The whole protocol: thirteen forecast weeks, each model trained on what was known; forecasts, then scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calib import HUB_LEVELS
from experiments._forecast_scores import errors, intervals
from experiments.ili._data import FORECAST_WEEKS, HORIZON, STATE, Season, epiweek_at, place, without
from experiments.ili._models import MODELS

VALIDATED = (6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28)
"""Weeks after week 40 at which earlier seasons are forecast in validation."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is kept of a forecast: `quantiles [week, level]` of the hub's levels, log evidence, simulations, processor seconds."""

    model: str
    epiweek: int
    quantiles: NDArray[np.float64]
    evidence: float
    runs: int
    seconds: float


def forecast(name: str, whole: Season, weeks: int, seed: int, label: int = 0) -> Forecast:
    """Forecast with one model from the first weeks of a season; later ones are dropped first."""
    begun = time.process_time()
    found = MODELS[name].forecast(whole.until(weeks), seed)
    evidence = float("nan") if found.evidence is None else found.evidence
    return Forecast(name, label, found.quantiles, evidence, found.runs, time.process_time() - begun)


def run(whole: Season, names: tuple[str, ...], say: Callable[[str], None], seed: int = 0) -> list[Forecast]:
    """Every forecast of the models named."""
    made = []
    for name in names:
        for epiweek in FORECAST_WEEKS:
            one = forecast(name, whole, place(epiweek) + 1, seed, epiweek)
            made.append(one)
            say(f"{name} {epiweek}: {one.seconds:.1f} s, {one.runs} runs, evidence {one.evidence:.1f}")
    return made


def rows(made: list[Forecast]) -> pd.DataFrame:
    """One row for each model, forecast week, week and quantile."""
    out = []
    for one in made:
        for h in range(HORIZON):
            ahead = epiweek_at(place(one.epiweek) + 1 + h)
            for level, value in zip(HUB_LEVELS, one.quantiles[h], strict=True):
                out.append((one.model, one.epiweek, STATE, ahead, level, value))
    return pd.DataFrame(out, columns=["model", "forecast_epiweek", "state", "epiweek", "quantile", "value"])


def score(made: list[Forecast], whole: Season, seed: int = 0) -> pd.DataFrame:
    """Scores by model and forecast week, and their means over the weeks (`forecast_epiweek` "mean")."""
    base = {one.epiweek: one.quantiles for one in made if one.model == "hub_baseline"}
    middle, out = HUB_LEVELS.index(0.5), []
    for one in made:
        at = place(one.epiweek) + 1
        truth = whole.ill[at : at + HORIZON]
        if one.epiweek not in base:
            base[one.epiweek] = forecast("hub_baseline", whole, at, seed).quantiles
        out.append(
            {
                "model": one.model,
                "forecast_epiweek": str(one.epiweek),
                **errors(one.quantiles[:, middle], truth),
                **intervals(one.quantiles, truth, base[one.epiweek], HUB_LEVELS),
                "log_evidence": one.evidence,
                "runs": one.runs,
                "cpu_seconds": round(one.seconds, 2),
            }
        )
    table = pd.DataFrame(out)
    numeric = [c for c in table.columns if c not in ("model", "forecast_epiweek")]
    means = table.groupby("model", sort=False)[numeric].mean().reset_index()
    means.insert(1, "forecast_epiweek", "mean")
    return pd.concat([table, means], ignore_index=True)


def validate(whole: Season, names: tuple[str, ...], seed: int = 0) -> pd.DataFrame:
    """Scores of forecasts of each earlier season, the other earlier ones as its past: by which the models were chosen."""
    out = []
    for name in names:
        for left in range(len(whole.past)):
            own = without(whole, left)
            for at in VALIDATED:
                truth = own.ill[at + 1 : at + 1 + HORIZON]
                found, base = (forecast(m, own, at + 1, seed).quantiles[: len(truth)] for m in (name, "hub_baseline"))
                middle = found[:, HUB_LEVELS.index(0.5)]
                scores = {**errors(middle, truth), **intervals(found, truth, base, HUB_LEVELS)}
                out.append({"model": name, **scores})
    return pd.DataFrame(out).groupby("model", sort=False).mean().reset_index()
