"""The dearest answer: Sobol indices of the calibrated inputs by sampling, kept piece by piece so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from calib import SobolDesign, sobol_design
from calib._atomic import atomic_path
from experiments.nz_calibration._errors import StudyError
from experiments.sensitivity._simulate import Advance, Array, Work

REPLICATES = 2
PURPOSE = "sobol, two replicates"


@dataclass(frozen=True)
class Columns:
    """Groups of calibrated inputs that the reference moves: each site whole, and each element of a vector site.

    Attributes:
        names: of the groups. members: their columns. sites: how many of them are whole sites; they come first.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    sites: int


def columns_of(names: tuple[str, ...]) -> Columns:
    """Sites first, then the elements of those that are vectors."""
    sites: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        sites.setdefault(name.split("[")[0], []).append(i)
    elements = [(names[i], (i,)) for members in sites.values() if len(members) > 1 for i in members]
    rows = [(name, tuple(members)) for name, members in sites.items()] + elements
    return Columns(tuple(r[0] for r in rows), tuple(r[1] for r in rows), len(sites))


def reference_values(
    work: Work, members: tuple[tuple[int, ...], ...], count: int, file: Path, problem: str, advance: Advance
) -> Array:
    """Flat outputs of every run of the design, in single precision.

    Both replicates of a row share their random stream along it (common random numbers); the file is written every few rows.

    Args:
        work: the model.
        members: groups of inputs.
        count: rows N.
        file: where values are kept.
        problem: what the values hang on; a file of another problem is refused.
        advance: told the number of runs done.

    Returns:
        `[draw, 2 + group, replicate, M]`.

    Raises:
        StudyError: the file belongs to another analysis or is damaged.
    """
    design = sobol_design(count, work.dim, work.seed, members)
    identity = hashlib.sha256(json.dumps([problem, count, work.seed, members]).encode()).hexdigest()[:16]
    done = _kept(file, identity)
    advance(int(done.shape[0] * (2 + len(members)) * REPLICATES))
    for start in range(len(done), count, 2):
        part = _rows(work, design, range(start, min(start + 2, count)), advance)
        done = np.concatenate([done.reshape(-1, *part.shape[1:]), part])
        if start % 8 == 6 or len(done) == count:
            _keep(done, file, identity, work)
    return done


def _rows(work: Work, design: SobolDesign, rows: range, advance: Advance) -> Array:
    points = design.points(list(rows))
    streams = np.repeat(np.array(rows), points.shape[1])
    copies = [
        work.values(points.reshape(-1, points.shape[-1]), PURPOSE, 100 + r, streams=streams, advance=advance)
        for r in range(REPLICATES)
    ]
    stacked = np.stack(copies, 1).reshape(*points.shape[:2], REPLICATES, -1)
    return stacked.astype(np.float32)


def _keep(values: Array, file: Path, identity: str, work: Work) -> None:
    seconds = work.ledger.seconds.get(PURPOSE, 0.0)
    runs = work.ledger.runs.get(PURPOSE, 0)
    data = xr.Dataset(
        {"values": (("draw", "point", "replicate", "output"), values)},
        attrs={"problem": identity, "seconds_per_run": seconds / max(runs, 1)},
    )
    with atomic_path(file) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf")


def _kept(file: Path, identity: str) -> Array:
    if not file.is_file():
        return np.empty((0, 0, 0, 0), dtype=np.float32)
    try:
        with xr.open_dataset(file, engine="h5netcdf") as data:
            held, values = data.attrs.get("problem"), data["values"].values
    except (OSError, KeyError) as error:
        raise StudyError(f"{file} is damaged ({error}); remove it, and its runs are made again.") from error
    if held != identity:
        raise StudyError(f"{file} holds runs of another analysis; remove it or name another output folder.")
    return np.asarray(values)


def seconds_per_run(file: Path) -> float:
    """Seconds a run took when the file was made."""
    with xr.open_dataset(file, engine="h5netcdf") as data:
        return float(data.attrs["seconds_per_run"])
