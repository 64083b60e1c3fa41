"""Value of an antibody survey: how much narrower infections by region would be, as a normal update of posterior draws; nothing is simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.errors import StudyError
from epi.model.serology import SurveyDesign
from epi.outputs.run_files import RunFiles

__all__ = ["Update", "entropy_gain", "log_infections", "normal_entropy", "survey_values", "update"]

Array = NDArray[np.float64]
SIZES = (500, 1000, 2000, 5000, 10_000, 20_000)


def normal_entropy(draws: Array) -> float:
    """Entropy in nats of the normal distribution with the covariance of draws `[S, D]`: `(D log(2 pi e) + log det) / 2`.

    Raises:
        StudyError: there are too few draws for a covariance.
    """
    if len(draws) <= draws.shape[1] + 1:
        raise StudyError(
            f"{len(draws)} draws of {draws.shape[1]} quantities give no covariance; take more than {draws.shape[1] + 1} draws."
        )
    covariance = np.atleast_2d(np.cov(draws.T))
    _, logdet = np.linalg.slogdet(covariance)
    return 0.5 * (draws.shape[1] * math.log(2 * math.pi * math.e) + float(logdet))


def entropy_gain(before: Array, after: Array) -> float:
    """Entropy before minus after, in nats, both normal with the covariance of their draws `[S, D]`."""
    return normal_entropy(before) - normal_entropy(after)


def log_infections(run: RunFiles) -> Array:
    """`[S, R]` logarithm of the infections by region up to the forecast date, of the draws of a finished run; one infection at least."""
    last = str(run.study.calendar.forecast_from)
    early = [i for i, week in enumerate(run.weeks) if week <= last]
    return np.log(np.maximum(run.predicted(run.study.infections)[:, early].sum(1), 1.0))


@dataclass(frozen=True)
class Update:
    """What observations do to targets.

    Attributes:
        gain: entropy before minus after, nats.
        sd_before: `[D]` standard deviations.
        sd_after: `[D]`.
    """

    gain: float
    sd_before: Array
    sd_after: Array


def update(targets: Array, expected: Array, noise: Array) -> Update:
    """The update of targets by observations, both jointly normal: exact for linear-Gaussian models, else to first order.

    Args:
        targets: `[S, D]` draws.
        expected: `[S, F]` expected observations at the same draws.
        noise: `[F]` variance of each observation around its expectation, independent.

    References:
        Särkkä 2013, Bayesian Filtering and Smoothing, section 4.3 (Kalman update); Lindley 1956, Ann Math Stat 27:986 (gain of an
        experiment).
    """
    size = targets.shape[1]
    joint = np.cov(np.concatenate([targets, expected], 1).T)
    own, cross, other = joint[:size, :size], joint[:size, size:], joint[size:, size:]
    left = own - cross @ np.linalg.solve(other + np.diag(noise), cross.T)
    before, after = (float(np.linalg.slogdet(np.atleast_2d(x))[1]) for x in (own, left))
    return Update(0.5 * (before - after), np.sqrt(np.diag(own)), np.sqrt(np.diag(left)))


def survey_values(
    targets: Array,
    names: Sequence[str],
    share: Array,
    people: Array,
    design: SurveyDesign,
    sizes: Sequence[int] = SIZES,
) -> pd.DataFrame:
    """The value of a survey by its size.

    Args:
        targets: `[S, D]` draws of what is to be known, such as log infections by region.
        names: of the targets.
        share: `[S, F]` expected share that tests positive in each stratum of the survey.
        people: `[F]` people of each stratum; those tested are shared out in proportion.
        design: gives clusters and their correlation.
        sizes: numbers tested.

    Returns:
        Rows `people, gain_nats` and for each target `sd_<name>`; the first row, of nobody, is as it is without a survey.
    """
    mean, rows = share.mean(0), []
    for size in (0, *sizes):
        if not size:
            sd, gain = targets.std(0, ddof=1), 0.0
        else:
            own = replace(design, people=size)
            each = own.effective_people * people / people.sum()
            found = update(targets, share, mean * (1 - mean) / each)
            sd, gain = found.sd_after, found.gain
        rows.append({"people": size, "gain_nats": gain, **{f"sd_{n}": x for n, x in zip(names, sd, strict=True)}})
    return pd.DataFrame(rows)
