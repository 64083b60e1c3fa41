"""The signals: what was counted or measured every week, where, and how it scatters around its expectation."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from epi.data.load import AGE_BANDS, DISTRICTS
from epi.errors import StudyError

AREAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Northland": (("Northland",), ("Northland",)),
    "Auckland": (("Waitemata", "Auckland", "Counties Manukau"), ("Auckland",)),
    "Waikato": (("Waikato",), ("Waikato",)),
    "Bay of Plenty": (("Lakes", "Bay of Plenty"), ("Bay of Plenty",)),
    "Gisborne": (("Tairawhiti",), ("Gisborne",)),
    "Taranaki": (("Taranaki",), ("Taranaki",)),
    "Hawke's Bay": (("Hawke's Bay",), ("Hawke's Bay",)),
    "Manawatu-Whanganui": (("Whanganui", "MidCentral"), ("Manawatu-Whanganui",)),
    "Wellington": (("Hutt Valley", "Capital and Coast", "Wairarapa"), ("Wellington",)),
    "Top of the South": (("Nelson Marlborough",), ("Nelson", "Tasman", "Marlborough")),
    "West Coast": (("West Coast",), ("West Coast",)),
    "Canterbury": (("Canterbury", "South Canterbury"), ("Canterbury",)),
    "Otago and Southland": (("Southern",), ("Otago", "Southland")),
}
"""Areas that are both whole districts and whole regions: `{area: (districts, regions)}`."""

Law = Literal["count", "level"]


@dataclass(frozen=True)
class Signal:
    """One weekly series.

    Attributes:
        name: its site in the model and its field in `Expected`.
        option: under which `--signals` turns it on.
        axis, places: its last axis.
        law: "count" (negative binomial) or "level" (log-normal: a measurement, not a number of people).
        dispersion: the parameter that holds its relative standard deviation.
        clustered: whether small counts come in outbreaks.
        words: what it is, for a sentence.
        title: for a figure.
        masked: whether the week in which rapid tests were loaded is left out.
    """

    name: str
    option: str
    axis: str
    places: tuple[str, ...]
    law: Law
    dispersion: str
    words: str
    title: str
    clustered: bool = False
    masked: bool = False


SIGNALS: dict[str, Signal] = {
    s.name: s
    for s in (
        Signal("cases_district", "cases", "district", DISTRICTS, "count", "dispersion_district",
               "weekly cases by district", "Cases by district", clustered=True, masked=True),
        Signal("cases_age", "cases", "age", AGE_BANDS, "count", "dispersion_age",
               "weekly cases by age", "Cases by age", clustered=True, masked=True),
        Signal("admissions_age", "admissions", "age", AGE_BANDS, "count", "dispersion_admissions",
               "weekly admissions by age", "Admissions by age", masked=True),
        Signal("deaths_age", "deaths", "age", AGE_BANDS, "count", "dispersion_deaths",
               "weekly deaths by age", "Deaths by age"),
        Signal("occupancy_district", "occupancy", "district", DISTRICTS, "count", "dispersion_occupancy",
               "people in hospital by district", "In hospital, by district"),
        Signal("wastewater_area", "wastewater", "area", tuple(AREAS), "level", "dispersion_wastewater",
               "virus in wastewater by area", "Virus in wastewater"),
        Signal("border_cohort", "border", "cohort", ("border workers",), "level", "dispersion_border",
               "infections among border workers", "Border workers"),
    )
}  # fmt: skip
"""Every signal by name, in the order of `Expected`."""

OPTIONS = tuple(dict.fromkeys(s.option for s in SIGNALS.values()))
"""What `--signals` may name."""

DEFAULT = ("cases", "admissions", "deaths")
"""The lowest mean score of two seeds among the combinations that were run (docs/signals.md)."""


def parse_signals(given: str | Iterable[str]) -> tuple[str, ...]:
    """Names of options, in the order of `OPTIONS`, from `"cases,wastewater"`.

    Raises:
        StudyError: none is given, or one is unknown.
    """
    names = [name.strip() for name in (given.split(",") if isinstance(given, str) else given) if name.strip()]
    for name in names:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1, 0.5)
            hint = f"did you mean {near[0]!r}? Choose" if near else "choose"
            raise StudyError(f"Signal {name!r} was asked for; {hint} among {', '.join(OPTIONS)}.")
    if not names:
        raise StudyError(f"No signal was asked for; name at least one of {', '.join(OPTIONS)}.")
    return tuple(option for option in OPTIONS if option in names)


def switched_on(options: Iterable[str]) -> tuple[str, ...]:
    """Names of the signals that belong to some options."""
    chosen = set(options)
    return tuple(name for name, s in SIGNALS.items() if s.option in chosen)
