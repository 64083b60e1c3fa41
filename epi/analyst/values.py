"""What a tool of the analyst gives back: numbers, each with interval, unit, draws, file, selector and checksum."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calib.plotting import number

__all__ = ["Origin", "Result", "Value", "clean", "of_draws", "shown"]

LEVEL = 95.0
"""Level of intervals in per cent, unless a file holds others."""


@dataclass(frozen=True)
class Origin:
    """Where a number stands.

    Attributes:
        file: name of the file, relative to the run's folder.
        selector: how to find the number in it.
        sha256: checksum of the file.
    """

    file: str
    selector: str
    sha256: str


@dataclass(frozen=True)
class Value:
    """One number of a result.

    Attributes:
        name: what it is, in words.
        value: the number: a median where there are draws.
        unit: in words; "share" and "%" are told apart.
        origin: where it stands.
        low, high: ends of the interval; None for a number without one, such as a count that was reported.
        level: of the interval, per cent.
        draws: posterior draws behind it; 0 for none.
        date: a date in place of a number, such as the week of a peak; empty for none.
    """

    name: str
    value: float
    unit: str
    origin: Origin
    low: float | None = None
    high: float | None = None
    level: float = LEVEL
    draws: int = 0
    date: str = ""

    def sentence(self) -> str:
        """Name, number with unit and interval, as a line."""
        text = f"{self.name}: {shown(self)}"
        return text + (f" [{self.draws} draws]" if self.draws else "")


@dataclass(frozen=True)
class Result:
    """What a tool found.

    Attributes:
        tool: its name.
        arguments: as they were understood.
        values: the numbers, the one that was asked for first.
        text: what the numbers are about, without numbers that are not among the values.
        notes: what a reader must know besides: what an answer leaves out.
        refused: whether this is a refusal: there is no answer, and `text` says why.
        seconds: what it took. cached: whether it was kept from an earlier question.
    """

    tool: str
    arguments: Mapping[str, Any]
    values: tuple[Value, ...] = ()
    text: str = ""
    notes: tuple[str, ...] = ()
    refused: bool = False
    seconds: float = field(default=0.0, compare=False)
    cached: bool = field(default=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        values = [asdict(v) | {"text": v.sentence()} for v in self.values]
        return {
            "tool": self.tool, "arguments": dict(self.arguments), "refused": self.refused, "text": self.text, "values": values,
            "notes": list(self.notes), "seconds": round(self.seconds, 3), "cached": self.cached,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The result as lines for a reader."""
        return [*([self.text] if self.text else []), *(v.sentence() for v in self.values), *self.notes]


def shown(value: Value) -> str:
    """A number with its unit and interval, at three digits or more, whole numbers in full.

    >>> shown(Value("cases", 1234.4, "cases", Origin("a", "b", "c"), 900.0, 1500.6))
    '1,234 cases (95 % interval 900 to 1,501)'
    """
    if value.date:
        return value.date
    unit = "" if value.unit in ("", "ratio") else f" {value.unit}"
    if value.low is None or value.high is None:
        exact = value.value == round(value.value)
        return f"{value.value:,.0f}{unit}" if exact else f"{number(value.value)}{unit}"
    text = f"{number(value.value)}{unit}"
    return f"{text} ({value.level:g} % interval {number(value.low)} to {number(value.high)})"


def of_draws(name: str, draws: ArrayLike, unit: str, origin: Origin) -> Value:
    """Median and 95 % interval of draws `[S]`; those that are not finite are left out and not counted."""
    x = np.asarray(draws, dtype=float).ravel()
    x = x[np.isfinite(x)]
    if not x.size:
        return Value(name, math.nan, unit, origin)
    low, middle, high = np.quantile(x, (0.025, 0.5, 0.975))
    return Value(name, float(middle), unit, origin, float(low), float(high), draws=int(x.size))


def clean(text: str, longest: int = 400) -> str:
    r"""Text from a file, a question or a model as one line of data: no control characters, none that change direction, not too long.

    >>> clean("North\x1b[31m\n")
    'North[31m'
    """
    kept = "".join(" " if c in "\n\r\t" else c for c in text if c in "\n\r\t" or unicodedata.category(c)[0] != "C")
    joined = " ".join(kept.split())
    return joined if len(joined) <= longest else joined[: longest - 1] + "…"
