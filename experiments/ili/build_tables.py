"""Write the compact table of influenza-like illness from a public source table.

    python -m experiments.ili.build_tables SOURCE [--output FOLDER]

SOURCE holds `ili_state_weekly.csv`; `data/README.md` names origins and licences, that of `history.csv` too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from calib import atomic_write_csv

HERE = Path(__file__).parent
STATE, FIRST, LAST = "MA", 201740, 201822


def weekly(source: Path) -> pd.DataFrame:
    """Influenza-like illness and symptom searches of the state by week."""
    table = pd.read_csv(source / "ili_state_weekly.csv")
    return table[(table["state"] == STATE) & table["epiweek"].between(FIRST, LAST)]


def main() -> None:
    """Read the source table and write the compact one atomically."""
    parser = argparse.ArgumentParser(description="Write the compact table of influenza-like illness.")
    parser.add_argument("source", type=Path, help="folder with the source table")
    parser.add_argument("--output", type=Path, default=HERE / "data", help="folder to write to")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    atomic_write_csv(arguments.output / "weekly.csv", weekly(arguments.source))


if __name__ == "__main__":
    main()
