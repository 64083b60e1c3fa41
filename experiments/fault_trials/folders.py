"""Ways in which the folder of a finished run is damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from calib.storage import FORECAST_DRAWS

__all__ = ["DAMAGES", "damaged"]

Damage = Callable[[Path, np.random.Generator], None]


def _manifest(**entries: Any) -> Damage:
    def change(folder: Path, rng: np.random.Generator) -> None:
        del rng
        file = folder / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | entries), encoding="utf-8")

    return change


def _setting(key: str, value: Any) -> Damage:
    def change(folder: Path, rng: np.random.Generator) -> None:
        held = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["configuration"]
        _manifest(configuration={**held, key: value})(folder, rng)

    return change


def _text(text: str) -> Damage:
    return lambda folder, rng: (folder / "manifest.json").write_text(text, encoding="utf-8") and None  # type: ignore[return-value]


def _groups(file: Path) -> dict[str, xr.Dataset]:
    with xr.open_datatree(file, engine="h5netcdf") as tree:
        return {name: node.to_dataset().load() for name, node in tree.children.items()}


def _without(group: str) -> Damage:
    def change(folder: Path, rng: np.random.Generator) -> None:
        del rng
        _save(folder, {name: data for name, data in _groups(folder / "posterior.nc").items() if name != group})

    return change


def _draws(group: str, value: float) -> Damage:
    """One draw of one positive parameter becomes a value, the seed says which draw."""

    def change(folder: Path, rng: np.random.Generator) -> None:
        groups = _groups(folder / "posterior.nc")
        values = groups[group]["transmission_household"].values
        values[(0, int(rng.integers(values.shape[1])))] = value
        _save(folder, groups)

    return change


def _save(folder: Path, groups: dict[str, xr.Dataset]) -> None:
    """Write the groups and the checksum of their file, so that only what they hold is wrong."""
    file, manifest = folder / "posterior.nc", folder / "manifest.json"
    file.unlink()
    xr.DataTree.from_dict(groups).to_netcdf(file, engine="h5netcdf")
    held = json.loads(manifest.read_text(encoding="utf-8"))
    held["sha256"]["posterior.nc"] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(held), encoding="utf-8")


def _cut(share: float) -> Damage:
    def change(folder: Path, rng: np.random.Generator) -> None:
        del rng
        content = (folder / "posterior.nc").read_bytes()
        (folder / "posterior.nc").write_bytes(content[: int(share * len(content))])

    return change


def _junk(folder: Path, rng: np.random.Generator) -> None:
    (folder / "posterior.nc").write_bytes(rng.bytes(5000))


def _is_a_folder(folder: Path, rng: np.random.Generator) -> None:
    del rng
    (folder / "posterior.nc").unlink()
    (folder / "posterior.nc").mkdir()


DAMAGES: dict[str, Damage] = {
    "status failed": _manifest(status="failed"),
    "status running": _manifest(status="running"),
    "status interrupted": _manifest(status="interrupted"),
    "status a number": _manifest(status=3),
    "draws NaN": _draws(FORECAST_DRAWS, np.nan),
    "draws infinite": _draws(FORECAST_DRAWS, np.inf),
    "negative draws": _draws(FORECAST_DRAWS, -1.0),
    "chains NaN": _draws("posterior", np.nan),
    "chains negative": _draws("posterior", -1.0),
    **{f"without {name}": _without(name) for name in ("posterior", FORECAST_DRAWS, "observed_data", "constant_data")},
    "posterior cut in half": _cut(0.5),
    "posterior cut at its end": _cut(0.98),
    "posterior empty": _cut(0.0),
    "posterior junk": _junk,
    "posterior a folder": _is_a_folder,
    "manifest deep": _text("[" * 100_000 + "]" * 100_000),
    "manifest a list": _text("[1, 2]"),
    "manifest null": _text("null"),
    "manifest cut": _text('{"format": 1, "stud'),
    "configuration a list": _manifest(configuration=[1]),
    "configuration null": _manifest(configuration=None),
    "parameters a number": _manifest(parameters=7),
    "parameters of numbers": _manifest(parameters=[1, 2]),
    "timings a text": _manifest(timings="long"),
    "study a number": _manifest(study=5),
    "setting study a list": _setting("study", ["a"]),
    "setting study nowhere": _setting("study", "/nowhere/at/all"),
    "setting scale a text": _setting("scale", "half"),
    "setting scale negative": _setting("scale", -1.0),
    "setting seed a list": _setting("seed", [1]),
    "format of another version": _manifest(format=99),
}
"""By name; each changes a copy of a run's folder."""


def damaged(folder: Path, name: str, rng: np.random.Generator) -> None:
    """Damage a copy of a run's folder in place.

    Args:
        folder: the copy.
        name: one of `DAMAGES`.
        rng: chooses draws and bytes.
    """
    DAMAGES[name](folder, rng)
