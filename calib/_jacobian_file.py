"""The file of kept Jacobians: outputs, their derivatives, and the draws at which they were taken."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from calib._atomic import atomic_write_bytes
from calib._netcdf import netcdf_bytes


def save_jacobian(
    path: str | os.PathLike[str],
    expected: ArrayLike,
    jacobian: ArrayLike,
    z: ArrayLike,
    names: Sequence[str],
    outputs: Mapping[str, Sequence[Any]],
    second: ArrayLike | None = None,
) -> None:
    """Write Jacobians to one netCDF-4 file, atomically, in single precision.

    Args:
        path: The file.
        expected: `[draw, output]`.
        jacobian: `[draw, output, parameter]`, derivatives with respect to z.
        z: `[draw, parameter]`, standard normal under the prior.
        names: `[parameter]`.
        outputs: Labels of the outputs, each `[output]`: `{"stream": ..., "week": ..., "place": ...}` become the
            coordinates `output_stream`, `output_week`, `output_place`.
        second: The Jacobian at the same draws from another simulator seed.

    Raises:
        ValueError: The shapes do not agree.
    """
    value, draws = np.asarray(expected), np.asarray(z)
    shape = (*value.shape, len(names))
    arrays = {"jacobian": np.asarray(jacobian)} | ({} if second is None else {"jacobian_second": np.asarray(second)})
    wrong = [f"{key} {array.shape}" for key, array in arrays.items() if array.shape != shape]
    wrong += [f"z {draws.shape}"] if draws.shape != (shape[0], shape[-1]) else []
    wrong += [f"labels {key} ({len(labels)})" for key, labels in outputs.items() if len(labels) != shape[1]]
    if wrong or value.ndim != 2:
        raise ValueError(
            f"{', '.join(wrong) or 'expected'} do not agree with expected outputs {value.shape} and {len(names)} names; "
            "expected [draw, output, parameter], [draw, parameter] and a label for each output."
        )
    dataset = xr.Dataset(
        {
            "expected": (("draw", "output"), value.astype(np.float32)),
            "z": (("draw", "parameter"), draws.astype(np.float64)),
            **{key: (("draw", "output", "parameter"), array.astype(np.float32)) for key, array in arrays.items()},
        },
        coords={
            "parameter": [str(name) for name in names],
            **{f"output_{key}": ("output", [str(label) for label in labels]) for key, labels in outputs.items()},
        },
    )
    atomic_write_bytes(path, netcdf_bytes({"": dataset}))


def load_jacobian(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a file of `save_jacobian` into memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or holds no Jacobian.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}; run the study that writes it first.")
    try:
        dataset = xr.load_dataset(file, engine="h5netcdf")
    except Exception as error:  # damaged bytes end in an error of any kind inside the library
        raise ValueError(f"{file} cannot be read as netCDF-4 ({error}); it is damaged: write it anew.") from error
    missing = {"jacobian", "expected", "z", "parameter"} - set(dataset.variables)
    if missing:
        raise ValueError(f"{file} lacks {', '.join(sorted(missing))}; expected a file of kept Jacobians.")
    return dataset
