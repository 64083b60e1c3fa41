"""Scores of every method as one table, and that table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

SHOWN = {
    "cases_district": "cases by district",
    "cases_age": "cases by age",
    "admissions_age": "admissions by age",
    "deaths_age": "deaths by age",
}
"""Data streams that are compared, with their words."""
HORIZONS = ("1-4", "5-11")
COLUMNS = [
    "method", "stream", "horizon", "wis", "relative_wis", "coverage_50", "coverage_95", "simulations", "seconds"
]  # fmt: skip
STUDY = "this study"


def rows(method: str, scores: Mapping[str, Any], simulations: int, seconds: float) -> pd.DataFrame:
    """Scores of one method (`scores.json`), one row a stream and period of horizons; weeks ahead of the forecast date."""
    found = []
    for stream in SHOWN:
        for horizon in HORIZONS:
            score = scores[stream]["overall"][horizon]
            measures = {key: score[key] for key in COLUMNS[3:7]}
            found.append(
                {"method": method, "stream": stream, "horizon": horizon, **measures, "simulations": simulations, "seconds": round(seconds, 1)}
            )  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def markdown(table: pd.DataFrame) -> str:
    """One line a method: relative WIS by stream, at 1-4 / 5-11 weeks, and in brackets the share inside the 95 % intervals."""
    head = ["method", "simulations", "seconds", *SHOWN.values()]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for (method, simulations), part in table.groupby(["method", "simulations"], sort=False):
        by = part.set_index(["stream", "horizon"])
        cells = [str(method), f"{int(simulations):,}", f"{float(part['seconds'].iloc[0]):,.0f}"]
        for stream in SHOWN:
            pair = [by.loc[(stream, horizon)] for horizon in HORIZONS]
            wis = " / ".join(f"{row['relative_wis']:.2f}" for row in pair)
            inside = " / ".join(f"{row['coverage_50']:.2f}, {row['coverage_95']:.2f}" for row in pair)
            cells.append(f"{wis} ({inside})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
