"""What an exact method returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer:
    """Expected outcomes and their derivatives.

    Attributes:
        expectation: `[O]` of each outcome.
        derivative: `[O, Q]` of each expectation in each parameter.
    """

    expectation: NDArray[np.float64]
    derivative: NDArray[np.float64]

    def __mul__(self, copies: float) -> Answer:
        """The answer for so many independent copies."""
        return Answer(copies * self.expectation, copies * self.derivative)

    def __add__(self, other: Answer) -> Answer:
        """The answer for both, independent of each other."""
        return Answer(self.expectation + other.expectation, self.derivative + other.derivative)
