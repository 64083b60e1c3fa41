"""`posterity forecast RUN`: the forecast as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from epi import StudyError
from epi.outputs.run_files import RunFiles
from posterity.commands.errors import one_sentence

LEVELS = {0.025: "low_95", 0.25: "low_50", 0.5: "median", 0.75: "high_50", 0.975: "high_95"}


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    target: Annotated[str | None, typer.Option(help="A stream; default the first that was forecast.")] = None,
    place: Annotated[list[str] | None, typer.Option(help="A place; may be repeated. Default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print median, 50 % and 95 % intervals of the forecast by week and place."""
    console = Console(stderr=True)
    with one_sentence(console):
        rows = RunFiles(run).finished().forecast
        targets = list(dict.fromkeys(rows["target"]))
        chosen = target or targets[0]
        if chosen not in targets:
            raise StudyError(
                f"The run forecasts {', '.join(targets)}, and {chosen!r} was asked for; choose one of them."
            )
        rows = rows[rows["target"] == chosen]
        places = list(dict.fromkeys(rows["location"]))
        for name in place or ():
            if name not in places:
                raise StudyError(f"The forecast of {chosen} has no place {name!r}; choose among {', '.join(places)}.")
        table = as_table(rows[rows["location"].isin(place or places)])
    if as_json:
        print(json.dumps({"target": chosen, "rows": table.to_dict("records")}))
    else:
        print(f"{chosen}: median, 50 % and 95 % intervals")
        print(table.to_string(index=False, float_format=lambda x: f"{x:,.1f}"))


def as_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Hub rows as one row a week and place."""
    level = rows["output_type_id"].astype(float).round(3)
    kept = rows.assign(level=level)[level.isin(LEVELS)]
    wide = kept.pivot_table(
        index=["target_end_date", "location"], columns="level", values="value", sort=False
    ).reset_index()
    return wide.rename(columns=LEVELS)[
        ["target_end_date", "location", "median", "low_50", "high_50", "low_95", "high_95"]
    ]
