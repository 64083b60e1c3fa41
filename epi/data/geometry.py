"""Shapes of the regions for maps: outlines from a GeoJSON file, or a grid of tiles from coordinates."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from epi.data.load import read_places
from epi.errors import DataError, StudyError
from epi.study import Study

__all__ = ["Outlines", "coordinates_of", "read_outlines", "tile_grid"]

Ring = NDArray[np.float64]
Outlines = dict[str, list[Ring]]
"""By region its rings `[point, 2]` of longitude and latitude; holes are rings too (even-odd rule)."""


def read_outlines(folder: Path, study: Study) -> Outlines | None:
    """Outlines of the regions from the study's GeoJSON file, or None where it names none.

    Raises:
        DataError: the file is missing, is no GeoJSON of polygons, or lacks a region.
    """
    region = study.region
    if region.geometry is None:
        return None
    file = folder / region.geometry
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        features = content["features"]
    except FileNotFoundError as error:
        raise DataError(f"{file} was not found; give the GeoJSON file that Region geometry names.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is no GeoJSON feature collection ({error}); export one from a map program.") from error
    out: Outlines = {}
    for feature in features:
        name = str((feature.get("properties") or {}).get(region.axis, ""))
        shape = feature.get("geometry") or {}
        kind, drawn = str(shape.get("type")), shape.get("coordinates") or []
        if name not in region.names:
            continue
        polygons = {"Polygon": [drawn], "MultiPolygon": drawn}.get(kind)
        if not polygons:
            raise DataError(
                f"{file}: {name!r} is a {kind}, expected a Polygon or MultiPolygon; export areas, not points or lines."
            )
        out.setdefault(name, []).extend(np.asarray(ring, float)[:, :2] for rings in polygons for ring in rings)
    missing = [name for name in region.names if name not in out]
    if missing:
        raise DataError(
            f"{file} has no feature whose property {region.axis!r} is {missing[0]!r}, expected one for each {region.axis}; add it."
        )
    return out


def coordinates_of(study: Study, folder: Path) -> NDArray[np.float64]:
    """`[R, 2]` latitude and longitude of the regions.

    Raises:
        StudyError: the study gives none.
    """
    if study.region.coordinates is None and not (folder / study.region.place_table).is_file():
        raise StudyError(
            f"A map needs places, and Region of study {study.name!r} has neither coordinates nor the table {study.region.place_table}; give "
            "one of them."
        )
    return read_places(folder, study)[["latitude", "longitude"]].to_numpy(float)


def tile_grid(places: NDArray[np.float64], spare: float = 1.8) -> NDArray[np.int64]:
    """A cell of a grid for each region, near where it lies: row from the north, column from the west.

    The grid has the proportions of the places and about `spare` times as many cells as regions; regions go to cells so that the sum of squared
    distances is least.

    Args:
        places: `[R, 2]` latitude and longitude in degrees.
        spare: cells for each region.

    Returns:
        `[R, 2]` row and column, empty rows and columns left out.

    Examples:
        >>> tile_grid(np.array([[52.0, 0.0], [50.0, 0.0]])).tolist()
        [[0, 0], [1, 0]]
    """
    north = places[:, 0]
    east = places[:, 1] * math.cos(math.radians(float(north.mean())))
    number = len(places)
    height, width = max(float(np.ptp(north)), 1e-9), max(float(np.ptp(east)), 1e-9)
    rows = int(np.clip(round(math.sqrt(spare * number * height / width)), 1, number))
    columns = max(1, math.ceil(spare * number / rows)) if rows < number or width > 1e-6 else 1
    while rows * columns < number:
        columns += 1
    y = (north.max() - north) / height * (rows - 1)
    x = (east - east.min()) / width * (columns - 1)
    cell = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    cost = (y[:, None] - cell[:, 0]) ** 2 + (x[:, None] - cell[:, 1]) ** 2
    _, chosen = linear_sum_assignment(cost)
    found = cell[chosen]
    return np.stack([np.unique(found[:, i], return_inverse=True)[1] for i in (0, 1)], 1).astype(np.int64)
