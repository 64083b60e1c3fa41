"""Exposure notification on a study's population: infections averted and days of quarantine against adoption."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from epi.inference.setup import Study
from experiments.federated._parties import rates_of
from protocols.exposure import Notification, averted, notified_epidemic


def table(study: Study, adoptions: list[float], seeds: int, days: int) -> pd.DataFrame:
    """Mean over seeds, each paired with the same epidemic without users (common random numbers)."""
    rates, population = rates_of(study, days), study.population
    rates = replace(rates, reinfection=rates.reinfection[:, :, :0])  # nobody is infected twice
    without = [notified_epidemic(population, rates, s, Notification(adoption=0.0)) for s in range(seeds)]
    rows = []
    for adoption in adoptions:
        runs = [notified_epidemic(population, rates, s, Notification(adoption=adoption)) for s in range(seeds)]
        share = np.array([averted(a, b) for a, b in zip(runs, without, strict=True)])
        saved = sum(b.infections - a.infections for a, b in zip(runs, without, strict=True))
        spent = sum(a.quarantine_days for a in runs)
        error = share.std(ddof=1) / seeds**0.5 if seeds > 1 else np.nan
        rows.append({
            "adoption": adoption, "seeds": seeds, "averted": share.mean(), "averted_se": error,
            "infections": np.mean([a.infections for a in runs]), "notified": np.mean([a.notifications for a in runs]),
            "notified_infected": np.mean([a.notified_infected for a in runs]), "quarantine_days": spent / seeds,
            "quarantine_days_per_averted": spent / saved if saved > 0 else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)
