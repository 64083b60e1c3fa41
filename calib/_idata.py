"""Posterior files: ArviZ groups on disk as plain netCDF-4, readable by ArviZ 0.23, ArviZ 1.x and xarray."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz as az
import h5netcdf
import numpy as np
import xarray as xr

from calib._atomic import atomic_write_bytes
from calib._netcdf import netcdf_bytes

WITHOUT_DRAWS = ("observed_data", "constant_data", "predictions_constant_data")
"""Groups whose variables have no chain and draw axes."""

GROUPS = (
    "posterior",
    "prior",
    "posterior_predictive",
    "prior_predictive",
    "log_likelihood",
    "sample_stats",
    *WITHOUT_DRAWS,
)

_MAJOR = int(az.__version__.split(".")[0])

Variables = Mapping[str, Any]
Tree = Any
"""`arviz.InferenceData` under ArviZ 0.23, `xarray.DataTree` under 1.x; `tree["group"]["name"]` works on
both."""


def _dataset(
    group: str, variables: Variables, coords: Mapping[str, Any], dims: Mapping[str, Sequence[str]]
) -> xr.Dataset:
    """One group; trailing axes are named by `dims`, else `<variable>_dim_<i>` as ArviZ does."""
    leading = () if group in WITHOUT_DRAWS else ("chain", "draw")
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    used: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    for name, value in variables.items():
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        free = array.ndim - len(leading)
        if free < 0:
            raise ValueError(
                f"Variable {name} of group {group} has shape {array.shape}; expected leading axes chain and draw."
            )
        trailing = tuple(dims.get(name, (f"{name}_dim_{i}" for i in range(free))))
        if len(trailing) != free:
            raise ValueError(
                f"Variable {name} of group {group} has shape {array.shape}, but its axes are named "
                f"{list(leading + trailing)}; name every axis after chain and draw."
            )
        for dim, size in zip(leading + trailing, array.shape, strict=True):
            labels = np.asarray(coords[dim]) if dim in coords else np.arange(size)
            if labels.size != size or used.get(dim, labels).size != size:
                expected, source = (labels.size, "its coordinate") if dim in coords else (used[dim].size, origin[dim])
                raise ValueError(
                    f"Axis {dim} of variable {name} in group {group} has {size} entries, "
                    f"but {source} has {expected}; make them agree."
                )
            used.setdefault(dim, labels)
            origin.setdefault(dim, f"variable {name}")
        arrays[name] = (leading + trailing, array)
    return xr.Dataset(arrays, coords={dim: (dim, labels) for dim, labels in used.items()})


def to_inference_data(
    groups: Mapping[str, Variables],
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
) -> Tree:
    """Name the axes of arrays and put them in ArviZ groups.

    Args:
        groups: `{group: {variable: array}}`; arrays (numpy or tensors) are `[chain, draw, *shape]`, and
            `[*shape]` in `observed_data` and `constant_data`.
        coords: Labels of each named axis.
        dims: Names of the axes after chain and draw, by variable.

    Returns:
        `arviz.InferenceData` under ArviZ 0.23, an `xarray.DataTree` under 1.x.

    Raises:
        ValueError: A group is unknown, a shape does not agree with the names or labels, or there is no group.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown or not groups:
        raise ValueError(f"Group {unknown[0] if unknown else '(none)'} was given; use one of {', '.join(GROUPS)}.")
    datasets = {name: _dataset(name, variables, coords or {}, dims or {}) for name, variables in groups.items()}
    return _tree(datasets)


def _tree(datasets: dict[str, Any]) -> Tree:
    """The running ArviZ's container."""
    return xr.DataTree.from_dict(datasets) if _MAJOR >= 1 else az.InferenceData(**datasets)


def datasets_of(tree: Tree) -> dict[str, xr.Dataset]:
    """The groups of either container as plain datasets."""
    if isinstance(tree, xr.DataTree):
        return {name: node.to_dataset() for name, node in tree.children.items()}
    return {name: tree[name] for name in tree.groups()}


def save_inference_data(tree: Tree, path: str | os.PathLike[str], attrs: Mapping[str, Any] | None = None) -> None:
    """Write every group to one netCDF-4 file, atomically.

    Args:
        tree: What `to_inference_data` returned.
        path: The file.
        attrs: Attributes of the file (text or numbers).
    """
    # the root exists even without attributes: xarray.open_datatree and arviz.from_netcdf expect it
    atomic_write_bytes(path, netcdf_bytes(datasets_of(tree), attrs))


def load_inference_data(path: str | os.PathLike[str]) -> Tree:
    """Read a file of `save_inference_data` into memory and close it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not netCDF-4, or holds none of the groups.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}; run the study that writes it first.")
    try:
        with h5netcdf.File(file, "r") as root:
            names = [name for name in root.groups if name in GROUPS]
        datasets = {name: xr.load_dataset(file, group=name, engine="h5netcdf") for name in names}
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read as netCDF-4 ({error}); it is damaged or another kind of file: write it anew."
        ) from error
    if not datasets:
        raise ValueError(f"{file} holds none of the groups {', '.join(GROUPS)}; pass a posterior file.")
    return _tree(datasets)
