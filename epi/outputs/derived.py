"""Derived quantities as a table of intervals and as a file of every draw (`epi.model.derive`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from torch import Tensor

from calib.storage import atomic_path
from epi.model.derived import Derived, quantities, split
from epi.model.observation import Observation

__all__ = ["as_dataset", "summarise", "write_derived"]

LEVELS = {"q025": 0.025, "q25": 0.25, "median": 0.5, "q75": 0.75, "q975": 0.975}


def summarise(observation: Observation, values: Derived) -> pd.DataFrame:
    """Medians and intervals over draws `[S, ...]`.

    Returns:
        Rows `quantity, unit, by, place, week, draws, mean, q025, q25, median, q75, q975`; `week` is empty for what has one value, `draws`
        counts those that have a value, and rows without any are left out.
    """
    rows = []
    for q in quantities(observation.study):
        x = values[q.name, q.by].double().cpu().numpy()
        weeks: Iterable[str] = (str(w.date()) for w in observation.weeks) if q.weekly else ("",)
        for w, week in enumerate(weeks):
            for p, place in enumerate(q.places):
                known = x[:, w, p][np.isfinite(x[:, w, p])]
                if not len(known):
                    continue
                levels = dict(zip(LEVELS, np.quantile(known, list(LEVELS.values())), strict=True))
                first = {"quantity": q.name, "unit": q.unit, "by": q.by, "place": place, "week": week}
                rows.append({**first, "draws": len(known), "mean": known.mean(), **levels})
    return pd.DataFrame(rows)


def write_derived(observation: Observation, flat: Tensor, folder: Path) -> None:
    """Write `derived.csv` (medians and intervals) and `derived.nc` (every draw) of values `[S, Q]` as from `flatten`."""
    values = split(observation.study, len(observation.weeks), flat)
    with atomic_path(folder / "derived.csv") as temporary:
        summarise(observation, values).to_csv(temporary, index=False)
    with atomic_path(folder / "derived.nc") as temporary:
        as_dataset(observation, values).to_netcdf(temporary, engine="h5netcdf")


def as_dataset(observation: Observation, values: Derived) -> xr.Dataset:
    """Every draw: variables such as `attack_rate_age` over `draw`, `week` where they have it, and the axis of their places."""
    weeks, out = [str(w.date()) for w in observation.weeks], {}
    for q in quantities(observation.study):
        x = values[q.name, q.by].double().cpu().numpy()
        dims = ("draw", "week", q.by) if q.weekly else ("draw", q.by)
        name = f"{q.name}_{q.by}".lower().replace(" ", "_").replace("-", "_").replace(",", "")
        coords = {q.by: list(q.places)} | ({"week": weeks} if q.weekly else {})
        out[name] = xr.DataArray(x if q.weekly else x[:, 0], coords, dims, attrs={"unit": q.unit, "quantity": q.name})
    return xr.Dataset(out)
