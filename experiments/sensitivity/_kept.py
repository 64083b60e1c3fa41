"""Gradients and answers that a killed or resumed report takes up again instead of running the model anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import xarray as xr

from calib._atomic import atomic_path, atomic_write_json
from experiments.nz_calibration._errors import StudyError
from experiments.sensitivity._baselines import Answer
from experiments.sensitivity._outputs import Array

Parts = Sequence[tuple[Array, Array]]
"""Values `[draw, output]` and gradients `[draw, output, input]` of each set of runs."""


def gradients(file: Path | None, identity: str, make: Callable[[], Parts]) -> Parts:
    """What the file holds if it belongs to the same analysis, else what `make` gives, kept in the file in single precision.

    Raises:
        StudyError: the file is damaged.
    """
    if file is not None and file.is_file():
        try:
            with xr.open_dataset(file, engine="h5netcdf") as data:
                if data.attrs["identity"] == identity:
                    values, slopes = (np.asarray(data[k].values, dtype=float) for k in ("value", "gradient"))
                    return list(zip(values, slopes, strict=True))
        except (OSError, KeyError) as error:
            raise StudyError(f"{file} is damaged ({error}); remove it, and its runs are made again.") from error
    parts = make()
    if file is not None:
        data = xr.Dataset(
            {
                "value": (("set", "draw", "output"), np.stack([value for value, _ in parts])),
                "gradient": (
                    ("set", "draw", "output", "input"),
                    np.stack([slope.astype(np.float32) for _, slope in parts]),
                ),
            },
            attrs={"identity": identity},
        )
        with atomic_path(file) as temporary:
            data.to_netcdf(temporary, engine="h5netcdf")
    # what is gone on with and what is gone on from give the same bits
    return [(value, slope.astype(np.float32).astype(float)) for value, slope in parts]


def answers(
    file: Path, identity: str, make: Callable[[], tuple[list[Answer], list[str]]]
) -> tuple[list[Answer], list[str]]:
    """The same for the answers of other methods, and sentences on those that cannot run.

    Raises:
        StudyError: the file is damaged.
    """
    if file.is_file():
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            if held["identity"] == identity:
                return [Answer(**{**row, "score": np.array(row["score"])}) for row in held["answers"]], held["missing"]
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{file} is damaged ({error}); remove it, and its runs are made again.") from error
    found, missing = make()
    rows = [asdict(a) | {"score": a.score.tolist()} for a in found]
    atomic_write_json(file, {"identity": identity, "answers": rows, "missing": missing})
    return found, missing
