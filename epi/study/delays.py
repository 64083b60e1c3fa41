"""Delays between two events, as distributions in days."""

from __future__ import annotations

from dataclasses import dataclass

from epi.errors import StudyError

__all__ = ["Delay"]


@dataclass(frozen=True)
class Delay:
    """A gamma-distributed delay, cut at `longest` days.

    Attributes:
        mean: in days.
        sd: in days.
        longest: longest delay that counts, in days.
        source: where it comes from.

    Examples:
        >>> import epi
        >>> epi.Delay(6.0, 2.5).longest
        28
    """

    mean: float
    sd: float
    longest: int = 28
    source: str = ""

    def __post_init__(self) -> None:
        if not (self.mean > 0 and self.sd > 0):
            raise StudyError(f"Delay has mean {self.mean:g} and sd {self.sd:g} days, expected more than 0; correct it.")
        if self.longest < self.mean:
            raise StudyError(
                f"Delay has mean {self.mean:g} days and is cut at longest={self.longest}; cut it well above its mean."
            )
