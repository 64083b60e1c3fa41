"""The outputs whose sensitivity the study reports: sums over weeks and places of what the Jacobian holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from calib import Functional, sensitivity, sensitivity_frame

COUNTED = ("cases", "admissions")
"""Kinds of streams that are summed; of several of a kind the first: others count the same people again."""

HEADLINES = ("cases in the forecast weeks", "admissions in the forecast weeks")
"""The outputs that plots and report lead with."""


def week_name(counted: str, week: str) -> str:
    """Name of the total of what is counted in one week."""
    return f"{counted}, week ending {week}"


def first_streams(streams: NDArray[np.str_]) -> dict[str, str]:
    """`{kind: the first stream of this kind}` of those that are summed."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(streams.tolist()):
        kind = name.split("_")[0]
        if kind in COUNTED:
            found.setdefault(kind, name)
    return found


def functionals(jacobian: xr.Dataset, forecast_from: str) -> list[Functional]:
    """Scalar outputs: national totals over the forecast weeks, each week's total, each region's forecast total.

    Args:
        jacobian: `jacobian.nc`, with `output_signal`, `output_week`, `output_place` on the axis `output`.
        forecast_from: ISO date that ends the first forecast week.
    """
    stream, week, place = (jacobian[f"output_{key}"].values.astype(str) for key in ("stream", "week", "place"))
    later = week >= forecast_from
    chosen = []
    first = first_streams(stream)
    for counted, key in first.items():
        here = stream == key
        chosen.append(Functional(f"{counted} in the forecast weeks", (here & later).astype(float), counted))
        chosen += [
            Functional(week_name(counted, day), (here & (week == day)).astype(float), counted)
            for day in sorted(set(week[here]))
        ]
    here = stream == first.get("cases", "")
    for name in dict.fromkeys(place[here]):
        chosen.append(
            Functional(
                f"cases in {name} in the forecast weeks", (here & later & (place == name)).astype(float), "cases"
            )
        )
    return chosen


def sensitivity_table(
    jacobian: xr.Dataset, forecast_from: str, generator: np.random.Generator, replicates: int = 300
) -> pd.DataFrame:
    """The content of `sensitivity.csv`, from the kept Jacobians alone: no simulation.

    Args:
        jacobian: What `calib._jacobian_file.load_jacobian` reads; `jacobian_second` is used where it is there.
        forecast_from: ISO date that ends the first forecast week.
        generator: Source of the bootstrap.
        replicates: Bootstrap replicates.
    """
    order = ("draw", "output", "parameter")
    first = jacobian["jacobian"].transpose(*order).values
    second = jacobian["jacobian_second"].transpose(*order).values if "jacobian_second" in jacobian else None
    results = sensitivity(
        first,
        jacobian["z"].transpose("draw", "parameter").values,
        [str(name) for name in jacobian["parameter"].values],
        # a week before the epidemic reaches a stream moves with nothing: no ranking of it exists
        [f for f in functionals(jacobian, forecast_from) if np.nan_to_num(first[:, np.asarray(f.weights) != 0]).any()],
        generator,
        second=second,
        replicates=replicates,
    )
    return sensitivity_frame(results)
