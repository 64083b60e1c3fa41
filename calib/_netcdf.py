"""netCDF-4 files made in memory: HDF5 crashes the process when the disk fills under an open file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import h5netcdf
import xarray as xr
from xarray.backends import H5NetCDFStore

LARGE = 1000
"""Arrays with more numbers than this are compressed."""


def netcdf_bytes(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any] | None = None) -> bytes:
    """The content of a netCDF-4 file.

    Args:
        groups: datasets by the name of their group; the empty name is the root.
        attrs: attributes of the file (text or numbers).
    """
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as root:
        for key, value in (attrs or {}).items():
            root.attrs[key] = value
        for name, dataset in groups.items():
            packed = {
                variable: {"zlib": True, "complevel": 3}
                for variable, values in dataset.data_vars.items()
                if values.dtype.kind in "fiu" and values.size > LARGE
            }
            dataset.dump_to_store(H5NetCDFStore(root, group=name or None), encoding=packed)
    return buffer.getvalue()
