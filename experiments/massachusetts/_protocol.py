"""The whole protocol: nine forecast weeks, each model trained on what was known; forecasts, then scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calib import HUB_LEVELS, atomic_path, quantile_table
from experiments._forecast_scores import errors, intervals
from experiments.massachusetts._agents import AgentModel
from experiments.massachusetts._data import FORECAST_WEEKS, HORIZON, History
from experiments.massachusetts._models import MODELS, BaselineModel, Predicted

LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""Quantiles that are written for each day, those that the hub took for counts by county."""
ALL: Mapping[str, object] = {**MODELS, "agents": AgentModel()}
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is kept of a forecast.

    Attributes:
        model, epiweek: which.
        daily: `[county, day, level]` of `LEVELS`.
        weekly: `[week, county, level]` of the hub's levels, sums of the days of each draw.
        evidence: log evidence, NaN where there is none.
        runs, seconds: simulations and processor time spent.
        settings: numbers chosen.
    """

    model: str
    epiweek: int
    daily: NDArray[np.float64]
    weekly: NDArray[np.float64]
    evidence: float
    runs: int
    seconds: float
    settings: str


def forecast(
    name: str, whole: History, epiweek: int, seed: int, numbers: Mapping[str, float] | None = None
) -> Forecast:
    """Forecast with one model from what was known at the end of a week; later rows of the tables are dropped first."""
    known, begun = whole.until(epiweek), time.process_time()
    model = ALL[name]
    taken = numbers if getattr(model, "numbers_of", "") else None
    found: Predicted = model.forecast(known, seed) if taken is None else model.forecast(known, seed, taken)  # type: ignore[attr-defined]
    daily = quantile_table(found.daily, LEVELS)
    sums = found.daily.reshape(*found.daily.shape[:2], HORIZON, 7).sum(3).transpose(0, 2, 1)
    weekly = quantile_table(sums)
    if isinstance(model, BaselineModel):  # its definition, not the draws made of it
        weekly = model.weekly(known, seed)
    spent = time.process_time() - begun
    settings = " ".join(f"{k}={v:g}" for k, v in found.settings.items())
    evidence = float("nan") if found.evidence is None else found.evidence
    return Forecast(name, epiweek, daily, weekly, evidence, found.runs, spent, settings)


def run(whole: History, names: tuple[str, ...], folder: Path, say: Say, seed: int = 0) -> list[Forecast]:
    """Every forecast of the models named; `main` comes first, as others take over its numbers.

    Args:
        whole: the tables; only rows up to each forecast week are handed on.
        names: models of `ALL`.
        folder: each forecast is kept here as it is made, and taken from here if it is there.
        say: where progress goes.
        seed: of everything random.
    """
    made: list[Forecast] = []
    chosen: dict[int, Mapping[str, float]] = {}
    for name in sorted(names, key=lambda n: n != "main"):
        for epiweek in FORECAST_WEEKS:
            path = folder / f"{name}_{epiweek}_{seed}.npz"
            if path.exists():
                one = _load(path, name, epiweek)
            else:
                if getattr(ALL[name], "numbers_of", "") and epiweek not in chosen:
                    chosen[epiweek] = numbers_in(forecast("main", whole, epiweek, seed))
                one = forecast(name, whole, epiweek, seed, chosen.get(epiweek))
                _save(path, one)
            if name == "main":
                chosen[epiweek] = numbers_in(one)
            made.append(one)
            say(f"{name} {epiweek}: {one.seconds:.1f} s, {one.runs} runs, evidence {one.evidence:.1f} {one.settings}")
    return made


def numbers_in(one: Forecast) -> dict[str, float]:
    """The numbers that a forecast's model chose."""
    return {key: float(value) for key, value in (pair.split("=") for pair in one.settings.split())}


def _save(path: Path, one: Forecast) -> None:
    with atomic_path(path) as partial, open(partial, "wb") as stream:
        rest = {"evidence": one.evidence, "runs": one.runs, "seconds": one.seconds, "settings": one.settings}
        arrays: dict[str, Any] = {k: np.array(v) for k, v in rest.items()}
        np.savez_compressed(stream, daily=one.daily, weekly=one.weekly, **arrays)


def _load(path: Path, name: str, epiweek: int) -> Forecast:
    with np.load(path, allow_pickle=False) as kept:
        return Forecast(
            name,
            epiweek,
            kept["daily"],
            kept["weekly"],
            float(kept["evidence"]),
            int(kept["runs"]),
            float(kept["seconds"]),
            str(kept["settings"]),
        )


def rows(made: list[Forecast], whole: History) -> pd.DataFrame:
    """One row for each model, week, county, day and quantile."""
    tables = []
    for one in made:
        first = whole.until(one.epiweek).last_day + timedelta(days=1)
        dates = [(first + timedelta(days=d)).isoformat() for d in range(one.daily.shape[1])]
        county, day, level = (axis.ravel() for axis in np.indices(one.daily.shape))
        tables.append(
            pd.DataFrame(
                {
                    "model": one.model,
                    "forecast_epiweek": one.epiweek,
                    "county": np.array(whole.counties)[county],
                    "date": np.array(dates)[day],
                    "quantile": np.array(LEVELS)[level],
                    "value": one.daily.ravel(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def truth(whole: History, epiweek: int) -> NDArray[np.float64]:
    """`[county, day]` deaths of the 28 days after a week."""
    begin = whole.until(epiweek).days
    return whole.deaths[begin : begin + 7 * HORIZON].T


def score(made: list[Forecast], whole: History, seed: int = 0) -> pd.DataFrame:
    """Scores by model and forecast week, and their means over the weeks (`forecast_epiweek` "mean").

    Daily point forecasts are medians of days. `nd_weekly` compares sums of these over a week, `nd_weekly_median` medians of weekly sums. Weekly
    interval scores are relative to the hub's baseline, daily ones to the baseline split over the days.
    """
    base: dict[int, Forecast] = {one.epiweek: one for one in made if one.model == "hub_baseline"}
    out = []
    for one in made:
        if one.epiweek not in base:
            base[one.epiweek] = forecast("hub_baseline", whole, one.epiweek, seed)
        days = truth(whole, one.epiweek)
        weeks = days.reshape(len(days), HORIZON, 7).sum(2).T  # [week, county]
        middle = one.daily[..., LEVELS.index(0.5)]
        summed = middle.reshape(len(days), HORIZON, 7).sum(2).T
        hub = HUB_LEVELS.index(0.5)
        out.append(
            {
                "model": one.model,
                "forecast_epiweek": str(one.epiweek),
                **errors(middle, days),
                **intervals(one.daily, days, base[one.epiweek].daily, LEVELS, "_daily"),
                **errors(summed, weeks, "_weekly"),
                **{f"{k}_weekly_median": v for k, v in errors(one.weekly[..., hub], weeks).items()},
                **intervals(one.weekly, weeks, base[one.epiweek].weekly, HUB_LEVELS, "_weekly"),
                "deaths": float(days.sum()),
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
