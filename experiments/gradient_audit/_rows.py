"""Rows on disk: what was computed, with which settings, where and when; a stopped audit takes them up again."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calib.storage import atomic_write_csv

__all__ = ["RUNS", "TRUTH", "Store", "provenance"]

PROVENANCE = ["commit", "date", "hardware"]
TRUTH = [
    "world", "fingerprint", "outcome", "parameter", "method", "expectation", "derivative", "standard_error",
    "step", "streams", "seed", *PROVENANCE,
]  # fmt: skip
"""`expectation` of the outcome, its `derivative` and that one's `standard_error` (0 where exact); `step` and `streams` of differences."""
RUNS = [
    "world", "fingerprint", "estimator", "outcome", "parameter", "agents", "expectation", "runs", "gradient",
    "standard_error", "sd", "cost", "seconds", "seed", *PROVENANCE,
]  # fmt: skip
"""`gradient`: mean of so many `runs`, with its `standard_error`; `sd` of one run; `cost` in forward runs; `seconds` of all runs."""


class Store:
    """Two tables in a folder, written whole and atomically after each piece of work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.truth = _read(folder / "truth.csv", TRUTH)
        self.runs = _read(folder / "runs.csv", RUNS)

    def has_truth(self, world: str, fingerprint: str, parameter: str) -> bool:
        """Whether the true derivatives in a parameter are there."""
        return _has(self.truth, world=world, fingerprint=fingerprint, parameter=parameter)

    def has_runs(self, world: str, fingerprint: str, estimator: str, runs: int, seed: int) -> bool:
        """Whether an estimator's rows are there, from as many runs of the same seed."""
        key = {"world": world, "fingerprint": fingerprint, "estimator": estimator, "runs": runs, "seed": seed}
        return _has(self.runs, **key)

    def add_truth(self, rows: pd.DataFrame) -> None:
        """Add rows of a world's truth in place of earlier ones."""
        self.truth = _replaced(self.truth, rows[TRUTH], ["world", "parameter", "outcome"])
        atomic_write_csv(self.folder / "truth.csv", self.truth)

    def add_runs(self, rows: pd.DataFrame) -> None:
        """Add rows of an estimator in a world in place of earlier ones."""
        self.runs = _replaced(self.runs, rows[RUNS], ["world", "estimator", "parameter", "outcome"])
        atomic_write_csv(self.folder / "runs.csv", self.runs)


def provenance(device: str) -> dict[str, str]:
    """Commit (with `+` if files differ from it), date and hardware."""
    return {
        "commit": _git("rev-parse", "--short=10", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": torch.cuda.get_device_name() if torch.device(device).type == "cuda" else _processor(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=columns)
    table = pd.read_csv(path, dtype={"fingerprint": str, "commit": str})
    if lacking := set(columns) - set(table.columns):
        raise ValueError(
            f"Found {path} without the columns {', '.join(sorted(lacking))}, expected a table of this audit; give another --output."
        )
    return table[columns]


def _has(table: pd.DataFrame, **key: Any) -> bool:
    if table.empty:
        return False
    return bool(pd.concat([table[name] == value for name, value in key.items()], axis=1).all(axis=1).any())


def _replaced(table: pd.DataFrame, rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """The table without the rows that the new ones stand for, and those."""
    if table.empty:
        return rows.reset_index(drop=True)
    old = pd.MultiIndex.from_frame(table[key]).isin(pd.MultiIndex.from_frame(rows[key]))
    return pd.concat([table[~old], rows], ignore_index=True)
