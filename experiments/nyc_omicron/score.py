"""Score a forecast once its truth is known: `python -m experiments.nyc_omicron.score FORECAST TRUTH [-o FILE]`.

TRUTH has the columns `target, target_end_date, location, value`; weeks or places that it lacks are not scored. The baseline is the forecast
hubs': the last week goes on, as uncertain as past changes were large, from the counts that the study holds up to the last fitted week.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from calib import HUB_LEVELS, atomic_write_text, baseline_quantiles, check_hub_rows, covered, weighted_interval_score
from epi.errors import DataError

COUNTS = Path(__file__).parent / "data" / "counts.csv"
COLUMNS = {"cases": "cases", "admissions": "admissions", "deaths_confirmed": "deaths"}
"""Columns of the counts by target."""
PERIODS = ((1, 4), (5, 9))
"""Weeks ahead that are scored together."""
CITY = "Citywide"
SEED = 20211225


def read_forecast(file: Path) -> pd.DataFrame:
    """Rows of a forecast file; lines that begin with `#` are left out."""
    rows = pd.read_csv(file, comment="#", dtype={"location": str})
    check_hub_rows(rows)
    return rows


def read_truth(file: Path, forecast: pd.DataFrame) -> pd.DataFrame:
    """What happened, checked against the forecast.

    Raises:
        DataError: a column or every forecast week is missing, a row is twice there, of an unknown target or place, or no count, or a week lies
            in the window that the forecast was fitted to.
    """
    table = pd.read_csv(file, dtype={"location": str, "target": str})
    wanted = ["target", "target_end_date", "location", "value"]
    missing = [c for c in wanted if c not in table.columns]
    if missing:
        raise DataError(f"{file} has no column {missing[0]!r}, expected {', '.join(wanted)}; add it.")
    reference = str(forecast["reference_date"].iloc[0])
    early = table[pd.to_datetime(table["target_end_date"]) <= pd.Timestamp(reference)]
    if len(early):
        raise DataError(
            f"{file} holds the week ending {early['target_end_date'].iloc[0]}, which the forecast was fitted to (up to {reference}), expected "
            "later weeks alone; remove its rows."
        )
    for column in ("target", "location"):
        unknown = sorted(set(table[column]) - set(forecast[column]))
        if unknown:
            known = ", ".join(sorted(set(forecast[column])))
            raise DataError(f"{file} has the {column} {unknown[0]!r}, expected one of {known}; correct or remove it.")
    twice = table.duplicated(wanted[:3])
    if twice.any():
        raise DataError(
            f"{file}, line {int(np.flatnonzero(twice)[0]) + 2}: found a row a second time, expected one; remove one."
        )
    known = table.dropna(subset="value")
    if (known["value"] < 0).any() or not np.isfinite(known["value"]).all():
        raise DataError(f"{file} holds a value that is no count, expected 0 or more; correct it.")
    if not set(known["target_end_date"]) & set(forecast["target_end_date"]):
        raise DataError(
            f"{file} holds no week of the forecast, expected {forecast['target_end_date'].min()} and later; add them."
        )
    return known


def history(target: str, reference: str, counts: pd.DataFrame) -> pd.DataFrame:
    """`[week, place]` counts up to the last fitted week, the city among the places."""
    table = counts[counts["week_ending"] <= reference]
    wide = table.pivot(index="week_ending", columns="borough", values=COLUMNS[target])
    return wide.assign(**{CITY: wide.sum(axis=1)})


def score(forecast: pd.DataFrame, truth: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Relative WIS and coverage by target, places (boroughs, city) and period.

    Args:
        forecast: hub rows.
        truth: rows `target, target_end_date, location, value`.
        counts: rows `week_ending, borough, cases, admissions, deaths`: the baseline's history.

    Returns:
        Rows `target, places, horizons, cells, wis, baseline_wis, relative_wis, coverage_50, coverage_95`.
    """
    reference, out = str(forecast["reference_date"].iloc[0]), []
    longest = int(forecast["horizon"].max())
    for target, rows in forecast.groupby("target", sort=False):
        past = history(str(target), reference, counts)
        walk = baseline_quantiles(past.to_numpy(float), longest, np.random.default_rng(SEED))
        key = ["target_end_date", "location"]
        true = truth[truth["target"] == target].set_index(key)["value"]
        cells = [
            (h, e, p)
            for (h, e, p), _ in rows.groupby(["horizon", "target_end_date", "location"])
            if (e, p) in true.index
        ]
        wide = rows.pivot(index=key, columns="output_type_id", values="value")
        frame = pd.DataFrame(cells, columns=["horizon", "end", "place"])
        if frame.empty:
            continue
        values = true.loc[list(zip(frame["end"], frame["place"], strict=True))].to_numpy(float)
        own = wide.loc[list(zip(frame["end"], frame["place"], strict=True))].to_numpy(float)
        other = np.stack(
            [walk[h - 1, past.columns.get_loc(p)] for h, p in zip(frame["horizon"], frame["place"], strict=True)]
        )
        frame = frame.assign(
            wis=weighted_interval_score(own, values, HUB_LEVELS).wis,
            baseline_wis=weighted_interval_score(other, values, HUB_LEVELS).wis,
            coverage_50=covered(own, values, 0.5, HUB_LEVELS),
            coverage_95=covered(own, values, 0.95, HUB_LEVELS),
        )
        frame["places"] = np.where(frame["place"] == CITY, "city", "boroughs")
        for places, group in frame.groupby("places"):
            for first, last in PERIODS:
                here = group[group["horizon"].between(first, last)]
                if len(here):
                    means = here[["wis", "baseline_wis", "coverage_50", "coverage_95"]].astype(float).mean()
                    out.append((target, places, f"{first}-{min(last, longest)}", len(here), means["wis"], means["baseline_wis"],
                                means["wis"] / means["baseline_wis"], means["coverage_50"], means["coverage_95"]))  # fmt: skip
    columns = [
        "target",
        "places",
        "horizons",
        "cells",
        "wis",
        "baseline_wis",
        "relative_wis",
        "coverage_50",
        "coverage_95",
    ]
    return pd.DataFrame(out, columns=columns).round(3)


def truth_of_counts(counts: pd.DataFrame, reference: str) -> pd.DataFrame:
    """The study's own counts after a week, as truth for a rehearsal."""
    later = counts[counts["week_ending"] > reference]
    long = later.melt(["week_ending", "borough"], list(COLUMNS.values()), "target", "value")
    city = long.groupby(["week_ending", "target"], as_index=False)["value"].sum().assign(borough=CITY)
    every = pd.concat([long, city], ignore_index=True)
    names = {column: target for target, column in COLUMNS.items()}
    return every.assign(target=every["target"].map(names)).rename(
        columns={"week_ending": "target_end_date", "borough": "location"}
    )


def main() -> None:
    """Print scores of a forecast, and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("forecast", type=Path, help="file of forecast hub rows")
    parser.add_argument(
        "truth", type=Path, nargs="?", help="target, target_end_date, location, value; left out for a rehearsal"
    )
    parser.add_argument("-o", "--output", type=Path, help="file to write the scores to")
    given = parser.parse_args()
    try:
        rows, counts = read_forecast(given.forecast), pd.read_csv(COUNTS)
        reference = str(rows["reference_date"].iloc[0])
        if given.truth is None:
            truth = truth_of_counts(counts, reference)
            if truth.empty:
                raise DataError(
                    f"The study's counts end on {reference}, where the forecast begins; give a file with what happened."
                )
        else:
            truth = read_truth(given.truth, rows)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    found = score(rows, truth, counts)
    print(found.to_string(index=False))
    if given.output is not None:
        atomic_write_text(given.output, found.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    main()
