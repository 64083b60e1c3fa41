"""A question to put to a language model in the place of a kind of person, and how its answer is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from behaviour._archetypes import Archetypes, BehaviourError
from behaviour._endpoint import Reply

__all__ = ["Question", "read"]

SYSTEM = (
    "You answer as a member of the public would, in the situation described. Answer with one number from 0 to 100 and nothing else: how likely "
    "you would do it, in per cent."
)
_NUMBER = re.compile(r"(?<![\d.,-])(\d{1,3}(?:\.\d+)?)(?![\d,]|\.\d)\s*(?:%|per\s?cent|percent)?")
_REFUSED = re.compile(
    r"\b(?:i(?: a|')m sorry|i can(?:no|')t|i am unable|i'm unable|as an ai|as a language model|cannot (?:answer|help|provide|assist))\b",
    re.I,
)


@dataclass(frozen=True)
class Question:
    """What is asked of every archetype on a grid of contexts.

    Attributes:
        name: short, a Python name.
        text: with a field in braces for each attribute that matters and for the context, as in "You are {age} years old ... {cases} cases".
        context: name of the field that varies.
        grid: its values, rising; answers in between are interpolated.
        unit: of the context, in words.

    Examples:
        >>> q = Question("test", "You are {age}. {cases} in 100,000 fell ill. Would you take a test?", "cases", (0.0, 100.0))
        >>> q.prompt({"age": "20-59"}, 100.0)
        'You are 20-59. 100 in 100,000 fell ill. Would you take a test?'
    """

    name: str
    text: str
    context: str
    grid: tuple[float, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise BehaviourError(f"Question name {self.name!r} cannot be used; use letters, digits and underscores.")
        if not self.grid or list(self.grid) != sorted(set(self.grid)) or not all(math.isfinite(x) for x in self.grid):
            raise BehaviourError(
                f"Question {self.name!r} has the grid {self.grid}, expected finite numbers that rise; correct it."
            )
        if any("." in f or "[" in f or not f.isidentifier() for f in self.fields):
            raise BehaviourError(
                f"Question {self.name!r} has fields {', '.join(self.fields)}, expected plain names in braces; correct them."
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the text."""
        return tuple(name for _, name, spec, conversion in Formatter().parse(self.text) if name is not None)

    def check(self, archetypes: Archetypes) -> None:
        """Refuse a text with fields that nobody fills.

        Raises:
            BehaviourError: it has one.
        """
        known = {*archetypes.attributes, self.context}
        for f in self.fields:
            if f not in known:
                raise BehaviourError(
                    f"Question {self.name!r} has the field {f!r}, expected one of {', '.join(sorted(known))}; correct it."
                )

    def prompt(self, archetype: Mapping[str, str], value: float) -> str:
        """The question of an archetype at a value of the context."""
        return self.text.format(**archetype, **{self.context: f"{value:,.10g}"})

    def messages(self, archetype: Mapping[str, str], value: float) -> list[dict[str, Any]]:
        """As the protocol wants it."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.prompt(archetype, value)}]


def read(reply: Reply) -> tuple[str, float]:
    """Status and probability of an answer: "ok", or "refused", "truncated" or "unparsable" with NaN. Nothing becomes 0.

    One number from 0 to 100 is read as per cent; an answer with several different numbers says none.

    >>> read(Reply("About 70 %."))
    ('ok', 0.7)
    """
    if reply.refusal or reply.finish == "content_filter" or _REFUSED.search(reply.text):
        return "refused", math.nan
    numbers = {float(m[1]) for m in _NUMBER.finditer(reply.text)}
    if reply.finish == "length":
        return "truncated", math.nan
    if len(numbers) != 1:
        return "unparsable", math.nan
    (number,) = numbers
    return ("ok", number / 100) if 0 <= number <= 100 else ("unparsable", math.nan)
