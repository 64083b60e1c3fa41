"""The observations of a study as one labelled vector: stream x week x place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from epi.study import Study

__all__ = ["Layout"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Order of the outputs of a study over some weeks: all weeks and places of the first stream, then of the next.

    Attributes:
        study: gives the streams, infections among them, and their places.
        index: the W weeks.
    """

    study: Study
    index: pd.DatetimeIndex

    @property
    def weeks(self) -> int:
        """Number of weeks W."""
        return len(self.index)

    @cached_property
    def places(self) -> dict[str, tuple[str, ...]]:
        """Labels of the last axis by stream, in order."""
        return {s.name: s.places(self.study) for s in self.study.streams}

    @cached_property
    def axes(self) -> dict[str, str]:
        """Name of the last axis by stream."""
        return {s.name: s.by for s in self.study.streams}

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each stream stands in the vector."""
        out, start = {}, 0
        for name, places in self.places.items():
            out[name] = slice(start, start := start + self.weeks * len(places))
        return out

    @cached_property
    def size(self) -> int:
        """Length M of the vector."""
        return self.weeks * sum(len(places) for places in self.places.values())

    def flat(self, values: Mapping[str, Tensor]) -> Tensor:
        """All streams side by side, `[*batch, M]`, of `[*batch, W, place]` by stream."""
        return torch.cat([values[name].flatten(-2) for name in self.places], dim=-1)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Inverse of `flat`: `[*batch, W, place]` by stream."""
        parts = flat.split([self.weeks * len(p) for p in self.places.values()], dim=-1)
        return {
            name: x.unflatten(-1, (self.weeks, len(places)))
            for (name, places), x in zip(self.places.items(), parts, strict=True)
        }

    def until(self, weeks: int) -> Layout:
        """The layout of the first weeks."""
        return Layout(self.study, self.index[:weeks])

    def labels(self) -> list[tuple[str, str, str]]:
        """Stream, ISO date of the week and place of each entry."""
        names = [str(w.date()) for w in self.index]
        return [(s, w, p) for s, places in self.places.items() for w in names for p in places]
