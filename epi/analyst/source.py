"""The run that questions are asked of: its files with their checksums, and names as the study has them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import xarray as xr

from epi.analyst.values import Origin, clean
from epi.errors import StudyError
from epi.model import Quantity, quantities
from epi.outputs.run_files import RunFiles
from epi.reporting.sentences import listed
from epi.study import Stream, Study

__all__ = ["ALL", "CannotAnswer", "Output", "Source", "nearest"]

ALL = "all"


class CannotAnswer(StudyError):
    """A question that the run holds no answer to; its text says what is missing and what there is."""


@dataclass(frozen=True)
class Output:
    """A weekly series or quantity of a run at one place.

    Attributes:
        name: of the stream or quantity.
        label: in words.
        unit: of a value.
        by: axis of its places. place: a label of the axis, or "all".
        index: of the place on the axis; None to sum over all places.
        places: labels of the axis.
        stream: whether it is a data stream; else a derived quantity.
        weekly: whether it has a value for each week.
        adds: whether weeks and places can be added up.
    """

    name: str
    label: str
    unit: str
    by: str
    place: str
    index: int | None
    places: tuple[str, ...]
    stream: bool
    weekly: bool = True
    adds: bool = True

    @property
    def where(self) -> str:
        """The place in words."""
        if self.place == ALL:
            return "all places"
        return f"ages {self.place}" if self.by == "age" else self.place


@dataclass(frozen=True, eq=False)
class Source:
    """A finished run as a source of answers.

    Attributes:
        folder: the run's folder.
        seconds: limit of one simulation.
        draws: posterior draws of a simulation, if the run has as many.
        scale: agents per person of simulations; None for the run's own.
        progress: told simulations done and simulations in all.
        apart: whether simulations have a process of their own, which is ended after `seconds`; else they are made in this one.
    """

    folder: Path
    seconds: float = 300.0
    draws: int = 32
    scale: float | None = None
    progress: Callable[[int, int], None] | None = None
    apart: bool = True
    _hashes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def files(self) -> RunFiles:
        """The run's files."""
        return RunFiles(self.folder)

    @property
    def study(self) -> Study:
        """The run's study."""
        return self.files.study

    @cached_property
    def derived(self) -> xr.Dataset:
        """Every draw of the derived quantities.

        Raises:
            CannotAnswer: the run kept none.
        """
        if not self.file("derived.nc").is_file():
            raise CannotAnswer("The run kept no derived quantities; calibrate again with this version.")
        return self.files.derived_draws

    def file(self, name: str) -> Path:
        """A file of the run.

        Raises:
            CannotAnswer: the name leads out of the run's folder.
        """
        root = self.folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise CannotAnswer("The file asked for lies outside the run's folder; only files of the run are read.")
        return path

    def origin(self, name: str, selector: str) -> Origin:
        """Where a number stands, with the checksum of the file as it is now."""
        if name not in self._hashes:
            file = self.file(name)
            with file.open("rb") as stream:
                self._hashes[name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return Origin(name, clean(selector), self._hashes[name])

    def changed(self, name: str) -> bool:
        """Whether a file is another than the one that the run wrote."""
        written = (self.files.manifest.get("sha256") or {}).get(name)
        return written is not None and self.origin(name, "").sha256 != written

    # names

    def week(self, text: str) -> str:
        """The week in which a day lies, by the day that ends it.

        Raises:
            CannotAnswer: the text is no date, or lies outside the run's weeks.
        """
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise CannotAnswer(
                f"The week {clean(text, 40)!r} is no date; name the day that ends it, as {self.files.weeks[0]}."
            ) from None
        for week in self.files.weeks:
            if 0 <= (date.fromisoformat(week) - day).days < 7:
                return week
        raise CannotAnswer(
            f"The run says nothing about {day.isoformat()}: its weeks end from {self.files.weeks[0]} to {self.files.weeks[-1]}."
        )

    def output(self, name: str, place: str = "") -> Output:
        """The stream or derived quantity of a name at a place: streams first, then quantities.

        Raises:
            CannotAnswer: there is none, or not by such a place.
        """
        for found in (self._streams(name), self._quantities(name)):
            if found:
                return self._at(name, found, place or ALL)
        known = [s.option for s in self.study.observed] + [q.name for q in quantities(self.study)]
        raise CannotAnswer(
            f"The run has no output {clean(name, 60)!r}{nearest(name, known)}; it has {listed(list(dict.fromkeys(known)))}."
        )

    def stream(self, name: str, place: str = "") -> Output:
        """As `output`, of observed streams alone."""
        found = self._streams(name)
        if not found:
            known = [s.name for s in self.study.observed]
            raise CannotAnswer(
                f"The run has no data on {clean(name, 60)!r}{nearest(name, known)}; its data streams are {listed(known)}."
            )
        return self._at(name, found, place or ALL)

    def quantity(self, name: str, place: str = "") -> Output:
        """As `output`, of derived quantities alone."""
        found = self._quantities(name)
        if not found:
            known = list(dict.fromkeys(q.name for q in quantities(self.study)))
            raise CannotAnswer(
                f"The run has no quantity {clean(name, 60)!r}{nearest(name, known)}; it has {listed(known)}."
            )
        return self._at(name, found, place or ALL)

    def _streams(self, name: str) -> list[Output]:
        wanted = name.strip().lower()
        observed = [s for s in self.study.observed if s.name == wanted]
        observed = observed or [s for s in self.study.observed if wanted in (s.option, s.kind)]
        return [self._of_stream(s) for s in observed]

    def _of_stream(self, s: Stream) -> Output:
        places = s.places(self.study)
        label = {"cases": "reported cases"}.get(s.kind, s.kind)
        adds = s.counts and s.kind not in ("serosurvey", "occupancy")
        return Output(s.name, label, s.unit, s.by, ALL, None, places, True, True, adds)

    def _quantities(self, name: str) -> list[Output]:
        wanted = name.strip().lower()
        return [self._of_quantity(q) for q in quantities(self.study) if q.name.lower() == wanted]

    @staticmethod
    def _of_quantity(q: Quantity) -> Output:
        adds = q.name == "infections"
        return Output(q.name, q.name, q.unit, q.by, ALL, None, q.places, False, q.weekly, adds)

    def _at(self, name: str, found: list[Output], place: str) -> Output:
        wanted = place.strip().lower()
        if wanted in (ALL, self.study.country.lower()):
            whole = [o for o in found if o.by == ALL]
            if whole:
                return replace(whole[0], index=0)
            additive = [o for o in found if o.adds or o.name.startswith("occupancy")]
            if additive:
                return additive[0]
            raise CannotAnswer(
                f"{clean(name, 60)} of all places together is not among the run's outputs; name one of {listed(found[0].places)}."
            )
        for o in found:
            for i, label in enumerate(o.places):
                if label.lower() == wanted:
                    return replace(o, place=label, index=i)
        labels = list(dict.fromkeys(p for o in found for p in o.places if p != ALL))
        has = listed(labels) if labels else "all places together"
        raise CannotAnswer(
            f"The run has no {clean(name, 60)} at {clean(place, 60)!r}{nearest(place, labels)}; it has {has}."
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
