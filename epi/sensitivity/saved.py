"""Gradients and answers that a killed or resumed report takes up again instead of running the model anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calib.storage import atomic_path, atomic_write_json
from epi.errors import StudyError
from epi.sensitivity.outputs import Array
from epi.sensitivity.reference_designs import Answer

Parts = Sequence[tuple[Array, Array]]
"""Values `[draw, output]` and gradients `[draw, output, input]` of each set of runs."""


def gradients(
    file: Path | None, identity: str, make: Callable[[], Parts], advance: Callable[[int], None] = lambda n: None
) -> Parts:
    """What the file holds if it belongs to the same analysis, else what `make` gives, kept in the file in single precision.

    Raises:
        StudyError: the file is damaged.
    """
    if file is not None and file.is_file():
        try:
            with xr.open_dataset(file, engine="h5netcdf") as data:
                if data.attrs["identity"] == identity:
                    advance(int(np.prod(data["value"].shape[:2])))
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
    # what is resumed and what is gone on from give the same bits
    return [(value, slope.astype(np.float32).astype(float)) for value, slope in parts]


@dataclass(frozen=True)
class Answers:
    """Answers of other methods, kept in a file method by method.

    Attributes:
        file: JSON. identity: of the analysis; answers of another are made anew.
    """

    file: Path
    identity: str

    def __call__(self, key: str, make: Callable[[], list[Answer]]) -> list[Answer]:
        """What the file holds under a key, or what `make` gives.

        Raises:
            StudyError: the file is damaged.
        """
        held: dict[str, Any] = {"identity": self.identity, "answers": {}}
        if self.file.is_file():
            try:
                found = json.loads(self.file.read_text(encoding="utf-8"))
                held = found if found["identity"] == self.identity else held
                if key in held["answers"]:
                    return [Answer(**{**row, "score": np.array(row["score"])}) for row in held["answers"][key]]
            except (ValueError, KeyError, TypeError) as error:
                raise StudyError(
                    f"{self.file} is damaged ({error}); remove it, and its runs are made again."
                ) from error
        made = make()
        held["answers"][key] = [asdict(a) | {"score": a.score.tolist()} for a in made]
        atomic_write_json(self.file, held)
        return made
