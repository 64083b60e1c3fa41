"""Parts of a question: dates and what they bound, places, and how strongly something is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from epi.analyst.number_text import MONTHS, NUMBERS, printed
from epi.analyst.source import CannotAnswer
from epi.analyst.vocabulary import LAYERS
from epi.study import Study

__all__ = ["Dates", "find_dates", "find_place", "find_strength", "layers_in"]

_AMOUNTS = {
    "half": 1 / 2, "a half": 1 / 2, "one half": 1 / 2, "a third": 1 / 3, "one third": 1 / 3, "two thirds": 2 / 3, "a quarter": 1 / 4,
    "one quarter": 1 / 4, "three quarters": 3 / 4, "a fifth": 1 / 5, "one fifth": 1 / 5, "a tenth": 1 / 10, "one tenth": 1 / 10,
}  # fmt: skip
_AMOUNT = (
    r"(?P<number>\d+(?:\.\d+)?)\s*(?:%|per\s?cent|percent)|(?P<words>"
    + "|".join(sorted(_AMOUNTS, key=len, reverse=True))
    + ")"
)
_DOWN = r"cut|reduc\w+|lower\w*|fewer|less|fall\w*|fell|drop\w*|declin\w+|decreas\w+|down|smaller"
_UP = r"increas\w+|higher|more|rais\w+|rise\w*|risen|rose|up|larger|greater|stronger"
_NUMBER_TERMS = NUMBERS


@dataclass
class Dates:
    """Days of a question by what they bound; ISO, empty for none.

    Attributes:
        first, last: of an intervention.
        week: a day of the week that is asked about.
        spans: where they stand in the text.
    """

    first: str = ""
    last: str = ""
    week: str = ""
    spans: list[tuple[int, int]] = field(default_factory=list)


def find_dates(text: str, weeks: Sequence[str], forecast_from: str, start: date) -> Dates:
    """Dates of a question; a date without a year is that of the study's time.

    Raises:
        CannotAnswer: a date does not exist, or only a month is named.
    """
    out = Dates()
    for p in printed(text):
        if p.day is None:
            continue
        y, m, d = p.day
        if not d:
            raise CannotAnswer(
                f"The question names {MONTHS[m - 1].capitalize()} as a whole; name a week by the day that ends it."
            )
        when = _dated(y, m, d, weeks, start)
        before = text[: p.start].lower()
        role = _role(before)
        if role == "week" and not out.week:
            out.week = when
        elif role == "last":
            out.last = when
        elif not out.first:
            out.first = when
        else:
            out.last = when
        out.spans.append((p.start, p.end))
    lower = text.lower()
    if not out.week:
        ahead = re.search(
            r"\bin (\d+|"
            + "|".join(_NUMBER_TERMS)
            + r") weeks?\b|\b(\d+|"
            + "|".join(_NUMBER_TERMS)
            + r") weeks? (?:ahead|from now)\b",
            lower,
        )
        following = re.search(r"\b(?:next|coming|following) week\b", lower)
        if ahead or following:
            word = (ahead[1] or ahead[2]) if ahead else "one"
            number = _NUMBER_TERMS.get(word) or int(word)
            out.week = (date.fromisoformat(forecast_from) + timedelta(weeks=number - 1)).isoformat()
            match = ahead or following
            assert match is not None
            out.spans.append(match.span())
    return out


def _dated(y: int, m: int, d: int, weeks: Sequence[str], start: date) -> str:
    try:
        if y:
            return date(y, m, d).isoformat()
        last = date.fromisoformat(weeks[-1])
        for year in range(start.year, last.year + 1):
            if start <= date(year, m, d) <= last:
                return date(year, m, d).isoformat()
        return date(last.year, m, d).isoformat()
    except ValueError:
        raise CannotAnswer(
            f"There is no day {d} {MONTHS[m - 1].capitalize()}{f' {y}' if y else ''}; name another."
        ) from None


def _role(before: str) -> str:
    if re.search(
        r"week (?:that )?(?:end(?:s|ing|ed)?(?: on)?|to|until|of|before|up to|beginning|starting|in which)?\s*(?:on\s+|the\s+)?$",
        before,
    ):
        return "week"
    if re.search(r"(?:\buntil|\btill|\bthrough|\bto|\bup to|\bby|\bbefore|\band)\s+(?:the\s+)?$", before):
        return "last"
    return "first"


def find_place(text: str, study: Study) -> tuple[str, str, list[tuple[int, int]]]:
    """Region and age band of a question, empty for none, and where they stand.

    Raises:
        CannotAnswer: it names a place or an age that the study does not have.
    """
    region, age, spans = "", "", []
    for name in sorted((*study.region.names, *study.region.areas), key=len, reverse=True):
        match = re.search(rf"\b{re.escape(name)}\b", text, re.I)
        if match and not region:
            region = name
            spans.append(match.span())
    for pattern in (
        r"\b(?P<low>\d{1,3})\s*(?:-|–|to)\s*(?P<high>\d{1,3})[\s-]*(?:year[\s-]?olds?|years?)",
        r"\b(?:ages?|aged)\s+(?P<low>\d{1,3})\s*(?:-|–|to)\s*(?P<high>\d{1,3})\b",
        r"\b(?P<from>\d{1,3})(?:\s*\+|\s+(?:years\s+)?(?:and|or)\s+(?:over|older|above|more))",
        r"\b(?:over|above|older than|at least)\s+(?P<from>\d{1,3})s?\b(?!\s*%)",
        r"\b(?:under|below|younger than)\s+(?P<below>\d{1,3})s?\b(?!\s*%)",
    ):
        match = re.search(pattern, text, re.I)
        if not match:
            continue
        found = match.groupdict()
        label = (
            f"{found['from']}+"
            if found.get("from")
            else f"0-{int(found['below']) - 1}"
            if found.get("below")
            else f"{found['low']}-{found['high']}"
        )
        about_people = re.search(
            r"\b(?:age[sd]?|people|persons|those|children|adults|the|of)\s*(?:\w+\s+)?$", text[: match.start()], re.I
        )
        if label not in study.ages.names and not about_people and not re.search(r"year|old", match[0]):
            continue  # a number that something lies above or below
        if label not in study.ages.names:
            raise CannotAnswer(f"The study has no age band {label}; it has {', '.join(study.ages.names)}.")
        age = label
        spans.append(match.span())
        break
    else:
        for label in study.ages.names:
            match = re.search(rf"(?<![\w.-]){re.escape(label)}(?![\w-])", text)
            if match and not label.isdigit():
                age = label
                spans.append(match.span())
                break
    _unknown_place(text, study, spans)
    return region, age, spans


def _unknown_place(text: str, study: Study, spans: list[tuple[int, int]]) -> None:
    """Refuse names after "in" or "at" that are no place of the study."""
    known = {w.lower() for name in (*study.region.names, *study.region.areas) for w in name.split()} | set(MONTHS)
    known |= {w.lower() for w in study.country.split()}
    for match in re.finditer(r"\b(?:in|at|around|near|across|within)\s+(?:the\s+)?([A-Z][\w'-]+)", text):
        word = match[1]
        inside = any(a <= match.start(1) < b for a, b in spans)
        if (
            not inside
            and word.lower() not in known
            and word.lower().rstrip(".") not in {m[:3] for m in MONTHS}
            and word not in ("R0", "Rt")
        ):
            raise CannotAnswer(
                f"The study has no place {word!r}; it has {', '.join((*study.region.names, *study.region.areas))}."
            )


def layers_in(text: str, study: Study) -> tuple[list[str] | None, list[tuple[int, int]]]:
    """Layers that a question names, None for none, and where they stand.

    Raises:
        CannotAnswer: the study lacks a layer.
    """
    layers: list[str] = []
    spans: list[tuple[int, int]] = []
    for pattern, names in LAYERS:
        for match in re.finditer(pattern, text, re.I):
            if any(a <= match.start() < b for a, b in spans):
                continue
            spans.append(match.span())
            layers += [n for n in study.layers if n != "household"] if names is None else names
    known = list(dict.fromkeys(layers))
    for layer in known:
        if layer not in study.layers:
            raise CannotAnswer(f"The study has no layer {layer!r}; it has {', '.join(study.layers)}.")
    return (known or None), spans


def find_strength(text: str) -> float | None:
    """The factor that a question names: 0 for closed, 0.7 for "30 % fewer", 2 for "twice as many"; None for none.

    >>> find_strength("cut by 30 %"), find_strength("schools closed"), find_strength("20 % higher"), find_strength("a fall by a quarter")
    (0.7, 0.0, 1.2, 0.75)
    """
    lower = text.lower()
    for found in (
        re.search(rf"\b(?P<way>{_DOWN}|{_UP})\b[^.,;?!]{{0,60}}?\bby\s+(?:about\s+)?(?:{_AMOUNT})", lower),
        re.search(rf"(?:{_AMOUNT})\s+(?:of\s+)?(?P<way>{_DOWN}|{_UP})\b", lower),
    ):
        if found:
            share = float(found["number"]) / 100 if found["number"] else _AMOUNTS[found["words"]]
            down = re.fullmatch(_DOWN, found["way"]) is not None
            return round(1 - share if down else 1 + share, 4)
    if re.search(r"\b(?:halved|halves|halving|half (?:of )?(?:the|all|as many|as much))\b", lower):
        return 0.5
    if re.search(r"\b(?:doubled|doubling|twice|double)\b", lower):
        return 2.0
    if re.search(r"\b(?:tripled|three times)\b", lower):
        return 3.0
    times = re.search(r"\b(\d+(?:\.\d+)?) times (?:as|the|more|higher)", lower)
    if times:
        return float(times[1])
    if re.search(
        r"\b(?:clos(?:ed?|es|ing|ures?)|shut(?:s|ting)?|without|no (?=school|work|contact|communit)|stopped)\b", lower
    ):
        return 0.0
    return None
