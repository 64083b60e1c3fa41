"""Names that files of earlier versions use, and what they are called now: a run of an earlier version is read as a current one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

CONFIGURATION = {"signals": "streams", "figures": "data"}
"""Settings in `manifest.json`."""
FILES = {"stream_information.csv": "signals.csv"}
"""Files of a run, by their current names."""
COLUMNS = {"signal": "stream", "law": "distribution", "strays": "residual_ratio"}
"""Columns of tables."""
STOPPED = {"settled": "converged"}
"""Why a fit ended."""
REGION_AXIS = "district"
"""Dimension of regions in tables of simulations that do not say theirs (`region_axis`)."""
_VARIABLES = {"output_signal": "output_stream"}
_PREFIX, _NEW_PREFIX = "seen_", "in_likelihood_"


def manifest_of_now(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with settings and reasons under their current names."""
    new = dict(manifest)
    if isinstance(new.get("configuration"), Mapping):
        new["configuration"] = {CONFIGURATION.get(key, key): value for key, value in new["configuration"].items()}
    fit = new.get("fit")
    if isinstance(fit, Mapping) and fit.get("stopped_because") in STOPPED:
        new["fit"] = {**fit, "stopped_because": STOPPED[fit["stopped_because"]]}
    return new


def dataset_of_now(data: xr.Dataset) -> xr.Dataset:
    """Variables and coordinates under their current names."""
    new = {name: _VARIABLES[str(name)] for name in data.variables if str(name) in _VARIABLES}
    new |= {
        name: _NEW_PREFIX + str(name).removeprefix(_PREFIX) for name in data.variables if str(name).startswith(_PREFIX)
    }
    return data.rename(new) if new else data


def table_of_now(table: pd.DataFrame) -> pd.DataFrame:
    """Columns under their current names."""
    return table.rename(columns={old: new for old, new in COLUMNS.items() if new not in table})


def existing(folder: Path, name: str) -> Path:
    """A file of a run, under its current name or, if only that one is there, its former one."""
    file = folder / name
    former = folder / FILES.get(name, name)
    return former if former.is_file() and not file.is_file() else file


def region_axis(data: xr.Dataset) -> str:
    """Name of the dimension of regions, as the study calls one."""
    return str(data.attrs.get("region_axis", REGION_AXIS))
