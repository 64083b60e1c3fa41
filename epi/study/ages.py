"""Age bands with any breaks, single years too."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from epi.errors import StudyError

__all__ = ["AgeBands"]


@dataclass(frozen=True)
class AgeBands:
    """Age bands from their first ages; the last is open.

    Attributes:
        breaks: first age of each band in years, from 0 on.
        oldest: age up to which people of the open band are spread where single years matter (exclusive); None gives it the
            width of the band before.
        open_midpoint: mean age of the open band, for what depends on age in years; None takes the middle of its years.

    Examples:
        >>> AgeBands((0, 10, 70)).names
        ('0-9', '10-69', '70+')
        >>> AgeBands((0, 1, 2)).names
        ('0', '1', '2+')
    """

    breaks: tuple[int, ...]
    oldest: int | None = None
    open_midpoint: float | None = None

    def __post_init__(self) -> None:
        whole = all(isinstance(b, int) for b in self.breaks)
        if not self.breaks or not whole or self.breaks[0] != 0 or list(self.breaks) != sorted(set(self.breaks)):
            raise StudyError(f"AgeBands breaks are {self.breaks}, expected whole ages that rise from 0; correct them.")
        if self.oldest is not None and self.oldest <= self.breaks[-1]:
            raise StudyError(
                f"AgeBands oldest is {self.oldest}, expected more than the last break {self.breaks[-1]}; correct it."
            )

    def __len__(self) -> int:
        return len(self.breaks)

    @property
    def end(self) -> int:
        """Age at which the open band is cut where single years matter."""
        if self.oldest is not None:
            return self.oldest
        return self.breaks[-1] + (self.breaks[-1] - self.breaks[-2] if len(self.breaks) > 1 else 100)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels such as "0-9" and "70+", in order."""
        closed = [
            str(low) if high == low + 1 else f"{low}-{high - 1}"
            for low, high in zip(self.breaks, self.breaks[1:], strict=False)
        ]
        return (*closed, f"{self.breaks[-1]}+")

    @property
    def widths(self) -> tuple[int, ...]:
        """Years in each band, the open one cut at `end`."""
        return tuple(high - low for low, high in zip(self.breaks, (*self.breaks[1:], self.end), strict=True))

    @property
    def midpoints(self) -> tuple[float, ...]:
        """Middle of each band in years."""
        middle = [low + width / 2 for low, width in zip(self.breaks, self.widths, strict=True)]
        if self.open_midpoint is not None:
            middle[-1] = self.open_midpoint
        return tuple(middle)

    def band_of(self, age: float) -> int:
        """Index of the band in which an age lies."""
        return bisect_right(self.breaks, age) - 1

    def overlap(self, first: int, last: int) -> tuple[float, ...]:
        """Share of each band's years that lie in the ages `first` to `last`, both inclusive."""
        ends = (*self.breaks[1:], self.end)
        return tuple(
            max(0, min(high, last + 1) - max(low, first)) / (high - low)
            for low, high in zip(self.breaks, ends, strict=True)
        )
