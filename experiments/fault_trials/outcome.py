"""What a fault ended in, in words that are counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BAD", "OUTCOMES", "Outcome"]

OUTCOMES = ("refused", "accepted rightly", "accepted wrongly", "traceback", "hang", "litter")
"""Refused: one sentence that names what is wrong, exit code 2, nothing left behind. Accepted rightly: the fault is none, and the result is that
without it. Litter: files left behind by what was refused."""
BAD = OUTCOMES[2:]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        word: one of `OUTCOMES`.
        said: the sentence with which it was refused, or what was wrong.
    """

    word: str
    said: str = ""
