"""The weekly observations of every stream, and which of them the likelihood uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from epi.data.load import EpidemicData
from epi.study import Study

__all__ = ["Data", "nothing_observed", "observed"]


@dataclass(frozen=True)
class Data:
    """Weekly observations and what the likelihood uses of them.

    Attributes:
        counts: `[W, places]` by stream, NaN where there is none.
        in_likelihood: `[W, places]` by stream, true where the likelihood uses the observation.
        fitted: `[W]` weeks up to the forecast date, without the masked ones.
        tested: `[W, places]` number tested, for streams of positives among the tested; where nobody was tested, a usual number.
    """

    counts: Mapping[str, Tensor]
    in_likelihood: Mapping[str, Tensor]
    fitted: Tensor
    tested: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[str, ...]:
        """Those of which the likelihood uses something."""
        return tuple(name for name, in_likelihood in self.in_likelihood.items() if bool(in_likelihood.any()))

    def until(self, weeks: int) -> Data:
        """The first weeks alone."""
        counts, in_likelihood, tested = (
            {name: x[:weeks] for name, x in part.items()} for part in (self.counts, self.in_likelihood, self.tested)
        )
        return Data(counts, in_likelihood, self.fitted[:weeks], tested)


def observed(data: EpidemicData, weeks: pd.DatetimeIndex, options: Iterable[str]) -> Data:
    """The observations of the study's weeks, and which of them the likelihood uses.

    It uses the streams that are switched on, up to the forecast date. Levels of nothing are left out (below what can be found), and
    masked weeks where they concern the stream.
    """
    study = data.study
    fitted = torch.tensor(study.calendar.fitted_weeks(weeks))
    early = torch.tensor(study.calendar.early(weeks))
    chosen, counts, in_likelihood = set(study.switched_on(options)), {}, {}
    for s in study.observed:
        table = data.series[s.name].reindex(weeks).to_numpy(dtype=float)
        known = np.isfinite(table) & ((table > 0) | s.counts)
        counts[s.name] = torch.tensor(np.where(known, table, np.nan), dtype=torch.float64)
        when = fitted if s.masked else early
        in_likelihood[s.name] = torch.tensor(known) & when[:, None] & (s.name in chosen)
    return Data(counts, in_likelihood, fitted, numbers_tested(data, weeks))


def numbers_tested(data: EpidemicData, weeks: pd.DatetimeIndex) -> dict[str, Tensor]:
    """`[W, places]` people tested by stream; where nobody was, the median of the weeks in which some were."""
    out = {}
    for name, frame in data.tested.items():
        usual = frame.where(frame > 0).median()
        table = frame.reindex(weeks)
        table = table.where(table > 0).fillna(usual)
        out[name] = torch.tensor(table.to_numpy(float), dtype=torch.float64)
    return out


def nothing_observed(study: Study, weeks: int) -> Data:
    """Observations of which the likelihood uses none: to read a model's parameters, or to draw from it."""
    none = {s.name: torch.ones(weeks, len(s.places(study))) for s in study.observed}
    unseen = {name: torch.zeros_like(x, dtype=torch.bool) for name, x in none.items()}
    return Data(none, unseen, torch.zeros(weeks, dtype=torch.bool))
