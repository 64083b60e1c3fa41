"""The check of an answer, without a model: every number in it stands in a tool result of that answer, or is struck out and named."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from epi.analyst.number_text import Printed, normal, printed
from epi.analyst.values import Result

__all__ = ["STRUCK", "Checked", "Known", "check"]

STRUCK = "[number struck out]"
ALWAYS = ("R0", "R_0")
"""Names with a digit that are no numbers."""
_INTERVAL = re.compile(
    r"^[\s%-]*(?:[\w-]+\s+){0,2}?(?:interval|credible|confidence|CI\b|prediction|coverage|posterior|predictive)", re.I
)
_DRAWS = re.compile(r"^\s*(?:posterior\s+|predictive\s+)?draws?\b", re.I)


@dataclass(frozen=True)
class Known:
    """A number of a tool result.

    Attributes:
        value: the number.
        unit: its unit.
        where: what it is and where it stands, for the reader.
        kind: "number", "level" (of an interval) or "draws": the last two match only where the text says so.
    """

    value: float
    unit: str
    where: str
    kind: str = "number"


@dataclass(frozen=True)
class Checked:
    """A checked text.

    Attributes:
        text: with what was not found struck out.
        found: printed number and what it is, in the order of the text.
        struck: what was struck out, as it was printed.
    """

    text: str
    found: tuple[tuple[str, str], ...]
    struck: tuple[str, ...]


def check(text: str, results: Sequence[Result], labels: Iterable[str] = (), *, refusals: bool = False) -> Checked:
    """Strike out every number and date of a text that no result holds to its printed digits.

    A number in per cent matches values in per cent, and shares and ratios times 100; "1.2 thousand" matches 1,234. An unsigned number matches
    a negative value, as in "fell by". Levels of intervals and numbers of draws match only before those words. Numbers that a tool was
    given (an R0, a factor) count as found; text of refusals does not. What the words around a number say is not judged.

    Args:
        text: the answer.
        results: what tools found for it.
        labels: names with digits that are no numbers, such as age bands.
        refusals: whether the text of refusals counts: where no model wrote what they repeat.

    Examples:
        >>> check("There were 7 cases.", []).text
        'There were [number struck out] cases.'
    """
    whole, names = normal(text), (*labels, *ALWAYS, *_hashes(results))
    results = [r if refusals or not r.refused else replace(r, arguments={}, text="", notes=()) for r in results]
    known, days = list(_numbers(results, names)), _days(results)
    parts: list[str] = []
    found: list[tuple[str, str]] = []
    struck: list[str] = []
    at = 0
    for p in printed(whole, names):
        after = whole[p.end : p.end + 60]
        hit = _day_found(p, days) if p.day is not None else _found(p, known, after)
        parts.append(whole[at : p.start])
        parts.append(whole[p.start : p.end] if hit else STRUCK)
        at = p.end
        if hit:
            found.append((p.text, hit))
        else:
            struck.append(p.text)
    return Checked("".join(parts) + whole[at:], tuple(found), tuple(struck))


def _numbers(results: Sequence[Result], names: Sequence[str]) -> Iterator[Known]:
    for r in results:
        for v in r.values:
            where = f"{v.name} ({v.origin.file}: {v.origin.selector})"
            if not v.date:
                ends = [v.value, *(x for x in (v.low, v.high) if x is not None)]
                yield from (Known(x, v.unit, where) for x in ends if math.isfinite(x))
            if v.low is not None or v.date:
                yield Known(v.level, "%", f"level of the interval of {where}", "level")
            if v.draws:
                yield Known(float(v.draws), "", f"draws behind {where}", "draws")
        for key, argument in r.arguments.items():
            yield from _given(r.tool, key, argument)
        for text in (r.text, *r.notes, *(t for v in r.values for t in (v.name, v.unit))):
            for p in printed(normal(text), names):
                if p.day is None:
                    unit = "%" if p.percent else ""
                    yield Known(p.value, unit, f"text of {r.tool}")


_HASH = re.compile(r"\b[0-9a-f]{64}\b")


def _hashes(results: Sequence[Result]) -> set[str]:
    """Checksums that the results name: they hold digits and are no numbers."""
    found = {v.origin.sha256 for r in results for v in r.values}
    return found | {h for r in results for h in _HASH.findall(r.text)}


def _given(tool: str, key: str, argument: Any) -> Iterator[Known]:
    """Numbers that a tool was given and used, and the forms in which people say a factor."""
    if isinstance(argument, bool) or not isinstance(argument, (int, float)):
        return
    x, where = float(argument), f"{key} given to {tool}"
    yield Known(x, "", where)
    if key in ("factor", "times"):
        for said in (100 * x, 100 * (1 - x), 100 * (x - 1)):
            yield Known(said, "%", where)
        yield Known(1 - x, "", where)


def _found(p: Printed, known: Sequence[Known], after: str) -> str:
    for k in known:
        if k.kind == "level" and not (p.percent and _INTERVAL.match(after)):
            continue
        if k.kind == "draws" and not _DRAWS.match(after):
            continue
        scales = (
            (1.0,)
            if not p.percent
            else (1.0,)
            if k.unit == "%"
            else (100.0,)
            if k.unit in ("share", "ratio", "")
            else ()
        )
        for scale in scales:
            value = k.value * scale
            if not p.signed and p.value >= 0:
                value = abs(value)
            if abs(value - p.value) <= p.half * (1 + 1e-9) + 1e-12 * abs(value):
                return k.where
    return ""


def _days(results: Sequence[Result]) -> set[tuple[int, int, int]]:
    found: set[tuple[int, int, int]] = set()
    for r in results:
        texts = [r.text, *r.notes, *(t for v in r.values for t in (v.name, v.date, v.origin.selector))]
        texts += [a for a in r.arguments.values() if isinstance(a, str)]
        for text in texts:
            found |= {p.day for p in printed(normal(text)) if p.day is not None}
    return found


def _day_found(p: Printed, days: set[tuple[int, int, int]]) -> str:
    assert p.day is not None
    y, m, d = p.day
    hit = any(m == b and (not y or not a or y == a) and (not d or d == c) for a, b, c in days)
    return "date of a tool result" if hit else ""
