"""Numbers and dates as they stand in a text: digits, per cent, thousands, and words such as "forty-five"."""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["MONTHS", "NUMBERS", "Printed", "normal", "printed"]

MONTHS = tuple(name.lower() for name in calendar.month_name[1:])
_MONTH = "(?:" + "|".join(f"{m}|{m[:3]}\\.?" for m in MONTHS) + ")"
_ISO = re.compile(r"(?<![\w.])(\d{4})-(\d\d)-(\d\d)(?!\d)")
_DAY_MONTH = re.compile(rf"(?<![\w.])(\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+({_MONTH})(?:,?\s+(\d{{4}}))?\b", re.I)
_MONTH_DAY = re.compile(rf"\b({_MONTH})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(\d{{4}}))?", re.I)
_MONTH_YEAR = re.compile(rf"\b({_MONTH})\s+(\d{{4}})\b", re.I)
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w\d.,)])[-−+])?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d{1,2}(?![\w.]))?"
    r"(?P<after>\s*(?:%|‰|per\s?cent\b|percent\b|percentage points?\b|thousand\b|million\b|billion\b|trillion\b|[kKmM]\b))?"
)
_SCALES = {"thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9, "trillion": 1e12}


def _numbered(text: str, start: int, step: int) -> dict[str, int]:
    return {word: start + step * i for i, word in enumerate(text.split())}


_ONES = _numbered(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    0,
    1,
)
NUMBERS = {word: n for word, n in _ONES.items() if 1 <= n <= 12}
"""Words for small numbers, as in "in two weeks"."""
_TENS = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
_BIG = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SPECIAL = {
    "half": 0.5, "halved": 0.5, "halves": 0.5, "quarter": 0.25, "dozen": 12, "dozens": 12, "twice": 2, "double": 2, "doubled": 2, "doubles": 2,
    "triple": 3, "tripled": 3, "thrice": 3, "quadruple": 4, "quadrupled": 4, "couple": 2, "score": 20, "hundreds": 100, "thousands": 1_000,
    "millions": 1_000_000, "billions": 1_000_000_000, "tenfold": 10, "twofold": 2, "threefold": 3,
}  # fmt: skip
_WORD = re.compile(r"\b(?:" + "|".join((*_ONES, *_TENS, *_BIG, *_SPECIAL)) + r")\b", re.I)
_PLAIN_ONE = re.compile(
    r"\bone(?=\s+(?:of|another|can|may|should|must|by)\b)|\b(?:no|any|every|some|this|that|which)[ -]one\b", re.I
)


@dataclass(frozen=True)
class Printed:
    """A number or date in a text.

    Attributes:
        start, end: where it stands.
        text: as it is printed.
        value: the number, scaled ("1.2 thousand" is 1,200); NaN for a date.
        half: half a unit of its last printed digit, scaled.
        signed: whether a sign is printed.
        percent: whether it is in per cent.
        day: year (0 for none), month and day (0 for none) of a date; None for a number.
    """

    start: int
    end: int
    text: str
    value: float = float("nan")
    half: float = 0.0
    signed: bool = False
    percent: bool = False
    day: tuple[int, int, int] | None = None


def normal(text: str) -> str:
    r"""A text in which digits of all scripts are those of ASCII, and invisible characters are gone.

    >>> normal("４５\u200b½")
    '451⁄2'
    """
    folded = unicodedata.normalize("NFKC", text)
    digits = "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in folded)
    return "".join(c for c in digits if c in "\n\t" or unicodedata.category(c)[0] != "C")


def printed(text: str, labels: Iterable[str] = ()) -> Iterator[Printed]:
    """Numbers and dates of a `normal` text from left to right.

    Args:
        text: the text.
        labels: names that hold digits without being numbers, such as "R0"; of an age band such as "0-19" those that follow a word such
            as "ages".

    Examples:
        >>> [p.value for p in printed("1,234 cases, 12 % of 3.5 thousand; forty-five more")]
        [1234.0, 12.0, 3500.0, 45.0]
    """
    taken = [False] * (len(text) + 1)
    found: list[Printed] = []

    def free(start: int, end: int) -> bool:
        if any(taken[start:end]):
            return False
        taken[start:end] = [True] * (end - start)
        return True

    for start, end in _labelled(text, labels):
        free(start, end)
    for match in _ISO.finditer(text):
        if free(*match.span()):
            y, m, d = map(int, match.groups())
            found.append(Printed(*match.span(), match[0], day=(y, m, d)))
    for pattern, order in ((_DAY_MONTH, (3, 2, 1)), (_MONTH_DAY, (3, 1, 2)), (_MONTH_YEAR, (2, 1, 0))):
        for match in pattern.finditer(text):
            if free(*match.span()):
                year = int(match[order[0]] or 0)
                day = int(match[order[2]]) if order[2] else 0
                found.append(Printed(*match.span(), match[0], day=(year, _month(match[order[1]]), day)))
    # what is taken is blank, so that digits that stand right behind a name or a date are read by themselves
    blank = "".join(" " if t else c for c, t in zip(text, taken[: len(text)], strict=True))
    for match in _NUMBER.finditer(blank):
        if free(*match.span()):
            found.append(_number(match))
    for match in _PLAIN_ONE.finditer(text):
        free(*match.span())
    found += _spelled(text, free)
    return iter(sorted(found, key=lambda p: p.start))


def _month(name: str) -> int:
    return next(i for i, m in enumerate(MONTHS, 1) if m.startswith(name.lower().rstrip(".")[:3]))


def _labelled(text: str, labels: Iterable[str]) -> Iterator[tuple[int, int]]:
    for label in sorted(set(labels), key=len, reverse=True):
        if not any(c.isdigit() for c in label):
            continue
        lead = ""
        if label[0].isdigit() and len(label) < 8:  # an age band: a number unless it is said to be an age
            lead = r"(?:\bage[sd]?|\bage=|\bbands?|\baged|\bpeople of|\bthose of)\s*"
        for match in re.finditer(rf"{lead}(?<![\w.,])({re.escape(label)})(?![\w%]|[.,]\d)", text, re.I):
            yield match.span(1)


def _number(match: re.Match[str]) -> Printed:
    digits = match["digits"].replace(",", "")
    after = (match["after"] or "").strip().lower()
    scale = _SCALES.get(after, 1.0)
    exponent = int(match["exponent"][1:]) if match["exponent"] else 0
    decimals = len(digits.partition(".")[2])
    negative = (match["sign"] or "") in ("-", "−")
    value = float(digits) * 10.0**exponent * scale * (-1 if negative else 1)
    half = 0.5 * 10.0 ** (exponent - decimals) * scale
    percent = after.startswith("%") or after.startswith("per")
    if after == "‰":
        value, half, percent = value / 10, half / 10, True
    return Printed(*match.span(), match[0].strip(), value, half, bool(match["sign"]), percent)


def _spelled(text: str, free: object) -> Iterator[Printed]:
    """Numbers in words; those that stand together, such as "forty-five" or "two hundred", are one."""
    matches = list(_WORD.finditer(text))
    i = 0
    while i < len(matches):
        run = [matches[i]]
        while i + 1 < len(matches) and re.fullmatch(r"[\s-]+(?:and\s+)?", text[run[-1].end() : matches[i + 1].start()]):
            i += 1
            run.append(matches[i])
        i += 1
        start, end = run[0].start(), run[-1].end()
        if not free(start, end):  # type: ignore[operator]
            continue
        after = re.match(r"\s*(?:%|per\s?cent\b|percent\b)", text[end:])
        yield Printed(
            start, end, text[start:end], _value_of([m[0].lower() for m in run]), 0.5e-9, False, after is not None
        )


def _value_of(parts: list[str]) -> float:
    total = part = 0.0
    for word in parts:
        if word in _ONES or word in _TENS:
            part += _ONES.get(word, _TENS.get(word, 0))
        elif word in _BIG:
            part = (part or 1.0) * _BIG[word]
            if word != "hundred":
                total, part = total + part, 0.0
        else:
            part = (part or 1.0) * _SPECIAL[word]
    return total + part
