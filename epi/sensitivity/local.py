"""Level 1: rankings from what the calibration kept, without a simulation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from calib import LEAST_DRAWS, Functional, Sensitivity, SensitivityError, sensitivity, sensitivity_frame
from epi.data import Layout
from epi.errors import StudyError
from epi.sensitivity.outputs import Array, Labels, Output, labels_of, make_output
from epi.study import Study


def kept_labels(jacobian: xr.Dataset, study: Study, forecast_from: str) -> Labels:
    """What each output of the file is."""
    try:
        stream, week, place = (jacobian[f"output_{key}"].values.astype(str) for key in ("stream", "week", "place"))
    except KeyError as error:
        raise StudyError(f"jacobian.nc does not say what its outputs are (no {error}); run the study again.") from error
    labels = Labels(study, stream, week, place, forecast_from)
    here = labels_of(Layout(study, pd.DatetimeIndex(labels.weeks)), forecast_from)
    if len(here.stream) != len(stream) or (here.stream != stream).any() or (here.place != place).any():
        raise StudyError("jacobian.nc holds other outputs than this version of the study has; run the study again.")
    return labels


def zero_shot(
    jacobian: xr.Dataset, outputs: Sequence[Output], generator: np.random.Generator, replicates: int = 500
) -> list[Sensitivity]:
    """Sensitivity of outputs to the calibrated parameters over the draws of the posterior.

    `posterior_share` is what each parameter contributes to the variance left by the fit; `prior_share` what it would if it were as
    uncertain as its prior, linearised where the posterior lies.

    Raises:
        SensitivityError: too few finite draws, or an output that no parameter moves.
    """
    order = ("draw", "output", "parameter")
    expected = jacobian["expected"].transpose("draw", "output").values.astype(float)
    if len(expected) < LEAST_DRAWS:
        raise SensitivityError(
            f"jacobian.nc holds {len(expected)} draws, and the ranking needs at least {LEAST_DRAWS}; run the study with more --draws."
        )
    slopes = [output.slope(expected) for output in outputs]

    def chain(name: str) -> Array:
        whole = jacobian[name].transpose(*order).values
        return np.stack([np.einsum("sm,smd->sd", slope, whole) for slope in slopes], 1)

    names = [str(name) for name in jacobian["parameter"].values]
    return sensitivity(
        chain("jacobian"),
        jacobian["z"].transpose("draw", "parameter").values,
        names,
        [Functional(o.name, np.eye(len(outputs))[k], o.unit) for k, o in enumerate(outputs)],
        generator,
        second=chain("jacobian_second") if "jacobian_second" in jacobian else None,
        replicates=replicates,
    )


def in_time(
    jacobian: xr.Dataset, labels: Labels, word: str, generator: np.random.Generator, replicates: int = 100
) -> pd.DataFrame:
    """Shares of each site in each week's national total: `week, over, site, share, low, high`."""
    candidates = [make_output(f"{word}@{week}", labels) for week in labels.weeks]
    whole = jacobian["jacobian"].transpose("draw", "output", "parameter").values
    # a week that no parameter moves has no ranking: the wave has not reached it
    outputs = [o for o in candidates if np.nan_to_num(whole[:, o.weights > 0]).any()]
    rows = []
    for output, result in zip(outputs, zero_shot(jacobian, outputs, generator, replicates), strict=True):
        week = (output.text or "").split("@")[1]
        for over in ("prior", "posterior"):
            index = result.group_measures[f"{over}_share"]
            for k, site in enumerate(result.groups):
                rows.append((week, over, site, index.value[k], index.low[k], index.high[k]))
    return pd.DataFrame(rows, columns=["week", "over", "site", "share", "low", "high"])


def zero_shot_table(results: Sequence[Sensitivity]) -> pd.DataFrame:
    """All measures of all outputs, in long form."""
    return sensitivity_frame(list(results))
