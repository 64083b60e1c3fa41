"""Information from each data stream: how wide what is known would be without it, or with it if it was not fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from epi.data import observed
from epi.inference.likelihood import Inference
from epi.inference.setup import Study
from epi.study import Admissions, Cases, Deaths, Infections
from epi.study import Study as Declared

SHOWN = 6
"""Parameters that are shown for each stream: those of which it holds most information."""
MIN_FACTOR = 1.02
"""A parameter is shown from this factor on."""


def stream_information(study: Study, inference: Inference, z: Tensor, jacobian: xr.Dataset) -> pd.DataFrame:
    """Standard deviations with and without each stream, linearised at the mean of the posterior: no simulation.

    With `I_s` the Fisher information of the observations of a stream that could be seen up to the forecast date, z has the covariance
    `(1 + sum_s I_s)^-1`; a stream is taken out of the sum, or put into it if it was not fitted.

    Args:
        study: the problem.
        inference: the likelihood of the fit.
        z: `[S, D]` posterior draws.
        jacobian: what the run kept: expected observations and their derivatives at some of the draws.

    Returns:
        One row an option and quantity (a parameter's z, or an output): `sd` of the run's own combination, `sd_other` with the stream
        switched the other way, `wider`, the factor by which it is wider without the stream, and whether the row is worth a place in
        a figure.
    """
    at = z.mean(0, keepdim=True)
    declared = study.declared
    early = jacobian["output_week"].values.astype(str) <= str(declared.calendar.forecast_from)
    flat, slope = (
        torch.as_tensor(jacobian[name].mean("draw").transpose("output", ...).values[early]).to(z)[None]
        for name in ("expected", "jacobian")
    )
    every = (
        observed(study.epidemic_data, study.full.observation.weeks, declared.options)
        .until(study.short.weeks)
        .in_likelihood
    )
    parts = inference.information(at, flat, slope, every)
    by_option = {
        option: torch.stack([parts[s.name] for s in declared.observed if s.option == option and s.name in parts]).sum(
            0
        )[0]
        for option in declared.options
        if any(s.option == option and s.name in parts for s in declared.observed)
    }
    fitted = [option for option in by_option if option in study.config.streams]
    whole = torch.eye(z.shape[1]).to(z) + torch.stack([by_option[o] for o in fitted]).sum(0)
    names, slopes = _outputs(jacobian, declared)
    directions = torch.cat([torch.eye(z.shape[1]).to(z), torch.as_tensor(slopes).to(z)])
    own = _sd(whole, directions)
    rows = []
    for option, information in by_option.items():
        on = option in fitted
        other = _sd(whole - information if on else whole + information, directions)
        wider = other / own if on else own / other
        rows.append(
            pd.DataFrame(
                {
                    "option": option,
                    "fitted": on,
                    "quantity": [*study.space.names, *names],
                    "output": [False] * z.shape[1] + [True] * len(names),
                    "sd": own.numpy(),
                    "sd_other": other.numpy(),
                    "wider": wider.numpy(),
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    scatter = {n for s in declared.observed for n in (declared.dispersion(s.name), declared.overdispersion(s.name))}
    told = ~table.output & ~table.quantity.str.contains(r"\[") & ~table.quantity.isin(scatter)
    leading = table[told & (table.wider >= MIN_FACTOR)]
    best = leading.sort_values("wider", ascending=False).groupby("option", sort=False).head(SHOWN).quantity
    return table.assign(shown=table.output | table.quantity.isin(set(best)))


def _sd(precision: Tensor, directions: Tensor) -> Tensor:
    """`[K]` standard deviations along `directions [K, D]`."""
    root = torch.linalg.cholesky(precision)
    return torch.linalg.solve_triangular(root, directions.mT, upper=False).norm(dim=0)


def _outputs(jacobian: xr.Dataset, study: Declared) -> tuple[list[str], np.ndarray]:
    """Outputs worth knowing, and their mean derivatives `[output, D]`."""
    mean = jacobian["jacobian"].mean("draw").transpose("output", "parameter").values
    stream, week = (jacobian[f"output_{key}"].values.astype(str) for key in ("stream", "week"))
    known = week <= str(study.calendar.forecast_from)
    chosen = {}
    for kind, label in ((Infections, "infections"), (Cases, "cases"), (Admissions, "admissions"), (Deaths, "deaths")):
        found = study.first_stream(kind)
        if found is not None:
            when, text = (known, "to the forecast date") if kind is Infections else (~known, "in the forecast weeks")
            chosen[f"{label} {text}"] = (stream == found.name) & when
    return list(chosen), np.stack([mean[rows].sum(0) for rows in chosen.values()])
