"""The weekly figures of every signal, and which of them the likelihood sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from epi.data.load import Figures
from epi.study import calendar
from epi.study.streams import AREAS, SIGNALS, switched_on


@dataclass(frozen=True)
class Data:
    """Weekly figures and what the likelihood sees of them.

    Attributes:
        counts: `[W, places]` by signal, NaN where there is none.
        seen: `[W, places]` by signal, true where the likelihood sees the figure.
        fitted: `[W]` weeks up to the forecast date, without the one in which rapid tests were loaded.
    """

    counts: Mapping[str, Tensor]
    seen: Mapping[str, Tensor]
    fitted: Tensor

    @property
    def signals(self) -> tuple[str, ...]:
        """Those of which the likelihood sees something."""
        return tuple(name for name, seen in self.seen.items() if bool(seen.any()))

    def until(self, weeks: int) -> Data:
        """The first weeks alone."""
        counts, seen = ({name: x[:weeks] for name, x in part.items()} for part in (self.counts, self.seen))
        return Data(counts, seen, self.fitted[:weeks])


def observed(figures: Figures, weeks: pd.DatetimeIndex, options: Iterable[str]) -> Data:
    """The figures of the study's weeks, and which of them the likelihood sees.

    Seen are the figures of the signals that are switched on, up to the forecast date. Levels of nothing are not (below what can be
    found), nor the week in which rapid tests were loaded where it concerns the signal.
    """
    fitted = torch.tensor(calendar.fitted_weeks(weeks))
    early = torch.tensor(np.asarray(weeks <= pd.Timestamp(calendar.FORECAST_DATE)))
    chosen, counts, seen = set(switched_on(options)), {}, {}
    for name, signal in SIGNALS.items():
        table = series(figures, name).reindex(weeks).to_numpy(dtype=float)
        known = np.isfinite(table) & ((table > 0) | (signal.law == "count"))
        counts[name] = torch.tensor(np.where(known, table, np.nan), dtype=torch.float64)
        when = fitted if signal.masked else early
        seen[name] = torch.tensor(known) & when[:, None] & (name in chosen)
    return Data(counts, seen, fitted)


def series(figures: Figures, name: str) -> pd.DataFrame:
    """Every week that the tables have of a signal, one column a place, in the units of `Expected`."""
    if name == "wastewater_area":
        return _areas(figures.wastewater)
    if name == "border_cohort":
        national = figures.border_cohort.query("region == 'National'").set_index("week")
        return national[["border_workers_per_1000"]].set_axis(list(SIGNALS[name].places), axis=1)
    if name == "occupancy_district":
        return figures.occupancy[list(SIGNALS[name].places)].round()
    frame: pd.DataFrame = getattr(figures, name)
    return frame


def _areas(wastewater: pd.DataFrame) -> pd.DataFrame:
    """Million copies a person a day by area: the mean over an area's regions, by the people whose sewage was sampled."""
    columns = {}
    for area, (_, regions) in AREAS.items():
        here = wastewater[wastewater["region"].isin(regions)]
        weight = here["population_covered"]
        copies = (here["genome_copies_per_person_per_day"] * weight).groupby(here["week"]).sum()
        columns[area] = copies / weight.groupby(here["week"]).sum() / 1e6
    return pd.DataFrame(columns)
