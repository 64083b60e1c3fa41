"""Posterior files: ArviZ groups with labelled axes, on disk as plain netCDF-4 that ArviZ and xarray read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import h5netcdf
import numpy as np
import xarray as xr

from calib._atomic import atomic_write_bytes
from calib._netcdf import netcdf_bytes

if TYPE_CHECKING:
    import arviz as az  # takes over a second, which reading and writing files do without

WITHOUT_DRAWS = ("observed_data", "constant_data", "predictions_constant_data")
"""Groups whose variables have no chain and draw axes."""

REPLICATED = ("posterior_predictive", "predictions", "prior_predictive")
"""Groups whose variables may hold several simulations of a draw, along a first axis `replicate`."""

FORECAST_DRAWS = "forecast_draws"
"""Parameters at the draws that predictive groups were simulated at, where these are fewer than the posterior's."""

LIBRARY = "posterity"
"""Written into every group as `inference_library`, as ArviZ expects it."""

GROUPS = (
    "posterior",
    "prior",
    "posterior_predictive",
    "predictions",
    "prior_predictive",
    "log_likelihood",
    "sample_stats",
    FORECAST_DRAWS,
    *WITHOUT_DRAWS,
)

Variables = Mapping[str, Any]
Tree: TypeAlias = "az.InferenceData"
"""`tree["group"]["name"]` is an xarray array; plots and statistics of ArviZ take the whole."""


def _labels(name: str, values: Any) -> np.ndarray:
    """Labels of an axis; dates become `datetime64`, to the nanosecond as xarray keeps them."""
    labels = np.asarray(values)
    if labels.dtype == object and labels.size and all(isinstance(label, date) for label in labels.flat):
        labels = labels.astype("datetime64[ns]")
    labels = labels.astype("datetime64[ns]") if labels.dtype.kind == "M" else labels
    if labels.ndim != 1 or len(set(labels.tolist())) != labels.size:
        raise ValueError(
            f"Labels of axis {name} have shape {labels.shape} or repeat; give one of its own for each entry."
        )
    return labels


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
        if group in REPLICATED and name in dims and len(trailing) == free - 1:
            trailing = ("replicate", *trailing)
        if len(trailing) != free:
            raise ValueError(
                f"Variable {name} of group {group} has shape {array.shape}, but its axes are named "
                f"{list(leading + trailing)}; name every axis after chain and draw."
            )
        for dim, size in zip(leading + trailing, array.shape, strict=True):
            labels = _labels(dim, coords[dim]) if dim in coords else np.arange(size)
            if labels.size != size or used.get(dim, labels).size != size:
                expected, source = (labels.size, "its coordinate") if dim in coords else (used[dim].size, origin[dim])
                raise ValueError(
                    f"Axis {dim} of variable {name} in group {group} has {size} entries, "
                    f"but {source} has {expected}; make them agree."
                )
            used.setdefault(dim, labels)
            origin.setdefault(dim, f"variable {name}")
        if group == "sample_stats" and name == "diverging":
            array = array.astype(bool)  # as ArviZ counts and marks divergent transitions
        arrays[name] = (leading + trailing, array)
    return xr.Dataset(arrays, coords={dim: (dim, labels) for dim, labels in used.items()})


def to_inference_data(
    groups: Mapping[str, Variables],
    coords: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    *,
    units: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    attrs: Mapping[str, Any] | None = None,
    group_coords: Mapping[str, Mapping[str, Any]] | None = None,
) -> Tree:
    """Name the axes of arrays and put them in ArviZ groups.

    Chains stay chains: with 64 chains of 150 draws an array is `[64, 150, *shape]`, and R-hat can be computed from the file.
    Several simulations of one draw lie along an axis `replicate` of their own: in predictive groups an array may have one
    axis more than `dims` names, `[chain, draw, replicate, *shape]`. In `sample_stats` ArviZ
    knows `lp`, `energy`, `diverging`, `acceptance_rate` and `step_size`. A `log_likelihood` is NaN where there is no
    observation; `without_missing` prepares it for `arviz.loo`.

    Args:
        groups: `{group: {variable: array}}`; arrays (numpy or tensors) are `[chain, draw, *shape]`, and
            `[*shape]` in `observed_data` and `constant_data`.
        coords: Labels of each named axis; dates become `datetime64`.
        dims: Names of the axes after chain and draw, by variable.
        units: Unit of each variable, where it has one.
        descriptions: What each variable is, in words.
        attrs: Attributes of every group, next to `inference_library`.
        group_coords: `{group: coords}` where a group has labels of its own, such as the draws that were kept of each chain.

    Returns:
        The groups in ArviZ's container.

    Raises:
        ValueError: A group or a described variable is unknown, a shape does not agree with the names or labels, labels
            repeat, or there is no group.

    Examples:
        >>> import numpy as np
        >>> rate = np.random.default_rng(0).gamma(2.0, size=(4, 100))
        >>> tree = to_inference_data({"posterior": {"rate": rate}}, units={"rate": "per day"})
        >>> tree["posterior"]["rate"].attrs["units"], dict(tree["posterior"].sizes)
        ('per day', {'chain': 4, 'draw': 100})
    """
    unknown = [group for group in (*groups, *(group_coords or {})) if group not in GROUPS]
    if unknown or not groups:
        raise ValueError(f"Group {unknown[0] if unknown else '(none)'} was given; use one of {', '.join(GROUPS)}.")
    known = {name for variables in groups.values() for name in variables}
    unknown = [name for name in (*(units or {}), *(descriptions or {})) if name not in known]
    if unknown:
        raise ValueError(f"A unit or description was given for {unknown[0]}, which no group holds; check its name.")
    datasets = {}
    for group, variables in groups.items():
        labels = {**(coords or {}), **(group_coords or {}).get(group, {})}
        dataset = _dataset(group, variables, labels, dims or {})
        dataset.attrs.update({"inference_library": LIBRARY, **(attrs or {})})
        for key, texts in (("units", units or {}), ("description", descriptions or {})):
            for name in texts.keys() & variables.keys():
                dataset[name].attrs[key] = texts[name]
        datasets[group] = dataset
    return _tree(datasets)


def without_missing(tree: Tree) -> Tree:
    """Prepare log likelihoods for `arviz.loo`: observations as one axis, without those that are missing.

    Args:
        tree: With groups `posterior` and `log_likelihood`, the latter NaN where there is no observation.

    Returns:
        The same groups, where each log likelihood is `[chain, draw, observation]`; the labels of an observation are joined by commas.

    Raises:
        ValueError: The tree has no log likelihood, a value is missing in some draws only, or nothing is left.
    """
    datasets = datasets_of(tree)
    if "log_likelihood" not in datasets:
        raise ValueError("There is no group log_likelihood; write one when the posterior is saved.")
    kept = {}
    for name, array in datasets["log_likelihood"].data_vars.items():
        axes = [dim for dim in array.dims if dim not in ("chain", "draw")]
        values = (
            array.transpose("chain", "draw", *axes).to_numpy().reshape(array.sizes["chain"], array.sizes["draw"], -1)
        )
        missing = np.isnan(values)
        if not np.array_equal(missing.all((0, 1)), missing.any((0, 1))):
            raise ValueError(f"Log likelihood {name} is NaN in some draws and not in others; leave those draws out.")
        use = ~missing.any((0, 1))
        if not use.any():
            raise ValueError(f"Log likelihood {name} is NaN everywhere; leave it out.")
        labels = ["" for _ in range(values.shape[-1])]
        if axes:
            index = np.indices([array.sizes[dim] for dim in axes]).reshape(len(axes), -1)
            text = [_text(array[dim].to_numpy())[at] for dim, at in zip(axes, index, strict=True)]
            labels = [", ".join(parts) for parts in zip(*text, strict=True)]
        axis = f"{name}_observation"
        kept[name] = xr.DataArray(
            values[..., use],
            dims=("chain", "draw", axis),
            coords={"chain": array["chain"], "draw": array["draw"], axis: np.asarray(labels)[use]},
        )
    return _tree({**datasets, "log_likelihood": xr.Dataset(kept)})


def _tree(datasets: dict[str, Any]) -> Tree:
    import arviz as az

    return az.InferenceData(**datasets)


def _text(labels: np.ndarray) -> np.ndarray:
    """Labels as text; dates as days."""
    return np.datetime_as_string(labels, unit="D") if labels.dtype.kind == "M" else labels.astype(str)


def datasets_of(tree: Tree) -> dict[str, xr.Dataset]:
    """The groups as plain datasets."""
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
    return _tree(load_datasets(path))


def load_datasets(path: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    """The groups of a file of `save_inference_data` as plain datasets, in memory: quicker, since ArviZ is not imported.

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
    except Exception as error:  # damaged bytes end in an error of any kind inside the library
        raise ValueError(
            f"{file} cannot be read as netCDF-4 ({error}); it is damaged or another kind of file: write it anew."
        ) from error
    if not datasets:
        raise ValueError(f"{file} holds none of the groups {', '.join(GROUPS)}; pass a posterior file.")
    return datasets
