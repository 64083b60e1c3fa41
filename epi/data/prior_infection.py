"""The table of infections before the study, and who they were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.data import tables
from epi.errors import DataError
from epi.study import PriorInfection, Study

__all__ = ["PriorCases", "read_prior_cases"]


@dataclass(frozen=True, eq=False)
class PriorCases:
    """Reported infections before the study.

    Attributes:
        share: `[R, A]` reported cases over people, below 1.
        days: `[A]` mean days from infection to the day of the table.
        classes: `[R, A, C]` share of people in each class of `PriorInfection`, sums to 1 over C.
    """

    share: NDArray[np.float64]
    days: NDArray[np.float64]
    classes: NDArray[np.float64]


def read_prior_cases(folder: Path, study: Study, part: PriorInfection, population: NDArray[np.int64]) -> PriorCases:
    """Read and check the table of prior infections.

    Raises:
        DataError: a cell is missing, out of order, not whole, or has more cases than people.
    """
    name, axis, bands = part.table, study.region.axis, study.ages.names
    table = tables.read_table(folder, name, (axis, "age_band", "cases", "days"), text=(axis, "age_band"))
    tables.known(table, name, axis, study.region.names)
    tables.known(table, name, "age_band", bands)
    table = tables.numbers(tables.whole_numbers(table, name, ("cases",)), name, ("days",))
    key = f"{axis}, age_band"
    cells = [f"{r}, {a}" for r in study.region.names for a in bands]
    tables.ordered(pd.DataFrame({key: table[axis] + ", " + table["age_band"]}), name, key, cells)
    cases = table["cases"].to_numpy(float).reshape(population.shape)
    days = table["days"].to_numpy(float).reshape(population.shape)
    if (cases > population).any():
        at = int(np.flatnonzero((cases > population).ravel())[0])
        raise DataError(
            f"{name}, line {at + 2}: found {cases.flat[at]:,.0f} cases among {population.flat[at]:,} people, expected no more than people; "
            "correct the row."
        )
    share, total = cases / population, cases.sum(0)
    mean = np.divide((cases * days).sum(0), total, out=np.zeros_like(total), where=total > 0)
    reached = np.minimum(share[..., None] * np.array(part.infections_per_case), 1.0)
    return PriorCases(share, mean, np.diff(reached, axis=-1, prepend=0.0, append=1.0))
