"""Covariates of transmission by county and week: what is known at the forecast week, and how it goes on beyond."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.massachusetts._data import History

NAMES = ("growth of cases", "doctor visits", "growth of doctor visits", "covid-like illness", "closed")
CLOSED_WEEK = 5
"""Week from `START` on in which most was closed: that of 22 March."""


def covariates(history: History, knots: int) -> tuple[Tensor, tuple[str, ...]]:
    """`[county, knot, covariate]`, and their names.

    Growth of reported cases and of doctor visits for COVID-like illness over a week, logarithms of doctor visits and of emergency visits for
    COVID-like illness, and whether most was closed. Beyond the forecast week each keeps the mean of its last two weeks. Gaps hold the last
    value before them, zero at the start. One that is not reported yet is left out.
    """
    cases = np.nan_to_num(history.weekly("cases"))
    growth = np.diff(np.log1p(cases), axis=0, prepend=np.log1p(cases[:1]))
    visits = _filled(_mean(history.doctor_visits, history.weeks))
    ill = _filled(_mean(history.covid_like_illness, history.weeks))
    log_visits, log_ill = np.log(visits + 0.1), np.log(ill + 0.1)
    change = np.diff(log_visits, axis=0, prepend=log_visits[:1])
    closed = np.repeat((np.arange(history.weeks) >= CLOSED_WEEK).astype(float)[:, None], len(history.counties), 1)
    known = np.stack([growth, log_visits, change, log_ill, closed], -1)  # [week, county, covariate]
    ahead = np.repeat(known[-2:].mean(0, keepdims=True), knots - history.weeks, 0)
    whole = np.concatenate([known, ahead]).transpose(1, 0, 2)
    reported = whole.std((0, 1)) > 1e-9
    return torch.as_tensor(whole[..., reported]), tuple(n for n, keep in zip(NAMES, reported, strict=True) if keep)


def _mean(values: NDArray[np.float64], weeks: int) -> NDArray[np.float64]:
    """`[week, county]` means of the days that were reported; NaN where none was."""
    days = values.reshape(weeks, 7, -1)
    count = np.isfinite(days).sum(1)
    return np.where(count > 0, np.nansum(days, 1) / np.maximum(count, 1), np.nan)


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    out = values.copy()
    for week in range(len(out)):
        before = out[week - 1] if week else np.zeros(out.shape[1])
        out[week] = np.where(np.isnan(out[week]), before, out[week])
    return out
