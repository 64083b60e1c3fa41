"""How much more a calibration should be given: a number, from what was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST, MOST = 1.5, 20.0
"""Factors between which advice stays: less is not worth a call, and beyond the second one call says too little of the next."""


@dataclass(frozen=True)
class Allowance:
    """What a call may spend, by which advice counts.

    Attributes:
        budget: simulations, those of earlier parts included; of chains, evaluations of the density.
        seconds: `max_seconds` of the call; None without.
        ceiling: largest budget of which the method makes use; None if it takes any.
    """

    budget: int
    seconds: float | None = None
    ceiling: int | None = None

    def more(self, factor: float) -> str:
        """`raise the budget from 500 to about 2,000`, without capital and full stop.

        Args:
            factor: by which the method falls short, as far as one call tells; what is no number counts as the largest.

        Examples:
            >>> Allowance(500).more(3.9)
            'raise the budget from 500 to about 2,000'
        """
        factor = factor if factor >= 0 else math.inf
        to = rounded_up(self.budget * min(max(factor, LEAST), MOST))
        if self.ceiling is not None and to > self.ceiling:
            to = self.ceiling
        if to <= self.budget:
            return f"take another method, since this one uses no more than {self.ceiling:,} simulations"
        if factor > MOST:
            return (
                f"raise the budget from {self.budget:,} to {to:,} and look again (how much it takes cannot be said yet)"
            )
        return f"raise the budget from {self.budget:,} to about {to:,}"

    def more_time(self, factor: float) -> str:
        """`raise max_seconds from 60 to about 120`, without capital and full stop."""
        if self.seconds is None:
            return self.more(factor)
        return f"raise max_seconds from {self.seconds:g} to about {self.seconds * min(max(factor, LEAST), MOST):.2g}"


UNKNOWN = Allowance(0)


def rounded_up(x: float) -> int:
    """The next whole number of two significant digits.

    Examples:
        >>> rounded_up(1234), rounded_up(96), rounded_up(996.0)
        (1300, 96, 1000)
    """
    step = 10 ** max(0, math.floor(math.log10(max(x, 1.0))) - 1)
    return math.ceil(round(x / step, 9)) * step


def as_sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."
