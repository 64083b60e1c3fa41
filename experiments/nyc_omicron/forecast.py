"""The forecast of a finished run in the form of the forecast hubs: `python -m experiments.nyc_omicron.forecast RUN [-o FILE]`.

Rows of cases, admissions and confirmed deaths by borough and for the city, 23 quantiles, as many weeks ahead as the run has. Lines that begin
with `#` say which commit made it and which day its data end on; `pandas.read_csv(file, comment="#")` reads the rest.
"""

from __future__ import annotations

import argparse
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from calib import HUB_LEVELS, atomic_write_text, check_hub_rows, hub_rows, quantile_table
from epi.errors import StudyError
from epi.study import Study, load_study
from experiments.nyc_omicron.study import FORECAST_FROM, PUBLISHED

TARGETS = {"cases_borough": "cases", "admissions_borough": "admissions", "deaths_borough": "deaths_confirmed"}
"""Targets by the streams of the study."""
CITY = "Citywide"


def forecast_rows(predicted: xr.Dataset, study: Study) -> pd.DataFrame:
    """Hub rows of the weeks after the last fitted one; the city is the sum of the boroughs, draw by draw.

    Args:
        predicted: group `posterior_predictive` of a run.
        study: of the run.
    """
    reference, rows = study.calendar.forecast_from, []
    for stream, target in TARGETS.items():
        kept = predicted[stream]
        several = [d for d in kept.dims if d not in ("week", "borough")]  # chain, draw, and observations drawn for each
        draws = kept.stack(sample=several).transpose("sample", "week", "borough")
        ahead = draws.to_numpy()[:, pd.DatetimeIndex(draws["week"].to_numpy()) > pd.Timestamp(reference)]
        every = np.concatenate([ahead, ahead.sum(-1, keepdims=True)], -1)
        places = [*(str(b) for b in draws["borough"].to_numpy()), CITY]
        rows.append(hub_rows(quantile_table(every, HUB_LEVELS), reference, target, places))
    found = pd.concat(rows, ignore_index=True).round({"value": 2})
    check_hub_rows(found)
    return found


def write_forecast(rows: pd.DataFrame, file: Path, manifest: dict[str, object], published: date | None) -> None:
    """Write the rows under lines that say where they come from.

    Args:
        rows: of `forecast_rows`.
        file: to write.
        manifest: of the run.
        published: day of the publication that was fitted; None for a rehearsal, on later publications.
    """
    reference = str(rows["reference_date"].iloc[0])
    versions = manifest.get("versions")
    lines = {
        "study": (manifest.get("configuration") or {}).get("study"),  # type: ignore[attr-defined]
        "commit": manifest.get("commit") or (versions.get("commit") if isinstance(versions, dict) else None),
        "last week fitted": reference,
        "last day of data": reference if published is None else f"{published - timedelta(3)} (published {published})",
        "fingerprint": manifest.get("fingerprint"),
        "licence of the data": "none stated (New York City Department of Health and Mental Hygiene)",
    }
    head = "".join(f"# {name}: {value}\n" for name, value in lines.items() if value is not None)
    atomic_write_text(file, head + rows.to_csv(index=False, lineterminator="\n"))


def main() -> None:
    """Write the forecast of a run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "forecast.csv")
    parser.add_argument("--commit", help="commit of the run, where its manifest has none")
    given = parser.parse_args()
    manifest = json.loads((given.run / "manifest.json").read_text())
    study = load_study(manifest["configuration"]["study"])
    if study.region.axis != "borough" or "deaths_borough" not in {s.name for s in study.streams}:
        raise StudyError(
            f"{given.run} holds a run of {study.name!r}, expected one of New York's Omicron; give another."
        )
    with xr.open_dataset(given.run / "posterior.nc", group="posterior_predictive") as predicted:
        rows = forecast_rows(predicted, study)
    blind = study.calendar.forecast_from == FORECAST_FROM
    write_forecast(
        rows, given.output, manifest | ({"commit": given.commit} if given.commit else {}), PUBLISHED if blind else None
    )
    print(f"{given.output}: {len(rows):,} rows, {rows['target_end_date'].min()} to {rows['target_end_date'].max()}")


if __name__ == "__main__":
    main()
