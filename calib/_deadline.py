"""When a method should end, whatever is left of its budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment.

    Attributes:
        end: in seconds of `time.monotonic`; infinite for never.
    """

    end: float = math.inf

    @staticmethod
    def after(seconds: float | None) -> Deadline:
        """So many seconds from now; never if None."""
        return NEVER if seconds is None else Deadline(time.monotonic() + seconds)

    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self.end

    def left(self) -> float | None:
        """Seconds left, at least a thousandth; None for never."""
        return None if math.isinf(self.end) else max(1e-3, self.end - time.monotonic())


NEVER = Deadline()
