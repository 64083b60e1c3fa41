"""Scalar outputs of the study, by a short text: sums over weeks and places of what the simulator gives, or the timing of the wave."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from epi.data import Layout
from epi.errors import StudyError
from epi.study import Cohort, Infections, LogNormalError, Occupancy, Study

Array = NDArray[np.float64]


def streams_by_name(kept: Iterable[str]) -> dict[str, str]:
    """Word in an output's text by stream: the first series of a kind has the kind's name alone, others say by what they are."""
    by_name: dict[str, str] = {}
    for name in kept:
        kind, _, axis = name.partition("_")
        by_name[kind if kind not in by_name else f"{kind} by {axis}"] = name
    return by_name


DEFAULT = ("cases", "infections@all", "admissions", "timing")
HELP = (
    "stream[:place][@first[..last]] with a stream such as cases, infections or admissions, a place (region, age band, area) and weeks by the "
    "ISO dates of the days that end them, or @all (default: the forecast weeks); or timing"
)
_PATTERN = re.compile(
    r"^(?P<stream>[a-z ]+?)(:(?P<place>[^@]+))?(@(?P<all>all)|@(?P<first>\d{4}-\d\d-\d\d)(\.\.(?P<last>\d{4}-\d\d-\d\d))?)?$"
)


@dataclass(frozen=True)
class Output:
    """A scalar output: `flat @ weights`, or `flat @ weights / flat @ over`.

    Attributes:
        name: in words. unit: its unit. weights: `[M]` on the simulator's flat outputs. over: `[M]` of a ratio, else None.
        text: what was asked for.
    """

    name: str
    unit: str
    weights: Array
    over: Array | None = None
    text: str = ""

    def value(self, flat: Any) -> Any:
        """`[..., M]` to `[...]`, arrays or tensors; NaN for a ratio of nothing to nothing, as the mean week of no infection."""

        def real(w: Array) -> Any:
            return torch.as_tensor(w).to(flat) if isinstance(flat, torch.Tensor) else w

        top = flat @ real(self.weights)
        if self.over is None:
            return top
        below = flat @ real(self.over)
        return top / below if isinstance(flat, torch.Tensor) else _ratio(top, below)

    def slope(self, flat: Array) -> Array:
        """`[draw, M]`, derivative of the value with respect to the flat outputs."""
        if self.over is None:
            return np.broadcast_to(self.weights, flat.shape)
        below = (flat @ self.over)[:, None]
        return _ratio(self.weights - self.value(flat)[:, None] * self.over, below)


def _ratio(top: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below == 0, np.nan, top / below))


@dataclass(frozen=True)
class Labels:
    """What each flat output is: the study; `stream, week, place`, each `[M]`; and the first forecast week."""

    study: Study
    stream: NDArray[np.str_]
    week: NDArray[np.str_]
    place: NDArray[np.str_]
    forecast_from: str

    @property
    def weeks(self) -> list[str]:
        """ISO dates of the weeks."""
        return sorted(set(self.week.tolist()))


def labels_of(layout: Layout, forecast_from: str) -> Labels:
    """Labels of a simulator's flat outputs."""
    stream, week, place = (np.array(column) for column in zip(*layout.labels(), strict=True))
    return Labels(layout.study, stream, week, place, forecast_from)


def make_output(text: str, labels: Labels) -> Output:
    """The output that a text names.

    Raises:
        StudyError: the text is no output, or the run did not keep its stream, place or weeks.
    """
    if text == "timing":
        here = labels.stream == labels.study.infections
        number = np.array([labels.weeks.index(w) for w in labels.week], dtype=float)
        return Output("mean week of infection", "weeks", here * number, here.astype(float), text)
    found = _PATTERN.match(text.strip())
    by_name = streams_by_name(s.name for s in labels.study.streams)
    if not found or found["stream"] not in by_name:
        raise StudyError(
            f"Output {text!r} was asked for, which is not known; give {HELP}. Streams: {', '.join(by_name)}."
        )
    name = by_name[found["stream"]]
    stream = labels.study.stream(name)
    measured = isinstance(stream.family, LogNormalError) and not isinstance(stream, Infections)
    mean_of_weeks = isinstance(stream, Occupancy) or (measured and not isinstance(stream, Cohort))
    here = labels.stream == name
    if not here.any():
        raise StudyError(f"The run did not keep {name}, which output {text!r} needs; run the study again to keep it.")
    chosen, where = here, ""
    if place := found["place"]:
        chosen = here & (labels.place == place)
        where = f" at age {place}" if stream.by == "age" else f" in {place}"
        if not chosen.any():
            known = ", ".join(dict.fromkeys(labels.place[here].tolist()))
            raise StudyError(
                f"Output {text!r} names the place {place!r}, which the run did not keep; choose of {known}."
            )
    first = found["first"] or (labels.weeks[0] if found["all"] else labels.forecast_from)
    last = found["last"] or found["first"] or labels.weeks[-1]
    chosen = chosen & (labels.week >= first) & (labels.week <= last)
    unknown = [w for w in (first, last) if w not in labels.weeks]
    if unknown or not chosen.any():
        raise StudyError(
            f"Output {text!r} asks for weeks {first} to {last}, and the run kept weeks ending {labels.weeks[0]} to {labels.weeks[-1]}"
            "; choose among these."
        )
    weights = chosen.astype(float)
    if mean_of_weeks:
        weights /= len(set(labels.week[chosen]))
    if measured:
        weights /= len(set(labels.place[chosen]))
    title = f"{found['stream']}{where}, {_period(first, last, labels)}{' (mean)' if mean_of_weeks else ''}"
    return Output(title, stream.unit, weights, None, text)


def _period(first: str, last: str, labels: Labels) -> str:
    if (first, last) == (labels.forecast_from, labels.weeks[-1]):
        return "forecast weeks"
    if (first, last) == (labels.weeks[0], labels.weeks[-1]):
        return "all weeks"
    return f"week ending {first}" if first == last else f"weeks ending {first} to {last}"
