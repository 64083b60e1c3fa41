"""A user's simulator as rows of numbers: any container in, float64 `[P, M]` out, failures counted and not fatal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from calib._config import FitError, Interrupted
from calib._executor import Workers
from calib._failures import MOST_TEXTS
from calib._rows import as_rows

Theta = Mapping[str, Tensor]


@dataclass(eq=False)
class Rows:
    """Outputs `[P, M]` of a simulator, NaN in the rows at which it raised.

    Attributes:
        model: `(theta {name: [P, *event]}, seed) -> outputs`.
        workers: where rows are simulated; here if None.
        failures: what was raised, and how often.
        calls: rows that were asked for.
        succeeded: whether any row has come back yet.
        width: outputs of a row, M; 0 until one has come back.
    """

    model: Callable[..., Any]
    workers: Workers | None = None
    failures: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    succeeded: bool = False
    width: int = 0

    def __call__(self, theta: Theta, seed: int) -> Tensor:
        """Simulate.

        Args:
            theta: each parameter by name, `[P, *event]`.
            seed: of the simulator.

        Returns:
            Outputs `[P, M]`, float64.

        Raises:
            FitError: the simulator raised at every row, and no row has succeeded before.
            TypeError: the outputs are no numbers.
            ValueError: the outputs are not P rows.
        """
        rows = len(next(iter(theta.values())))
        self.calls += rows
        parts, error = (self._shared if self.workers is not None else self._parts)(theta, seed, rows)
        widths = {part.shape[1] for part in parts if isinstance(part, Tensor)}
        if error is not None and not widths:
            if not self.succeeded:
                raise FitError(
                    f"the simulator raised {_text(error)!r} at each of {rows} draws of the prior: look at the simulator, "
                    "which is called as model(theta, seed)."
                ) from error
            widths = {self.width}
        if len(widths) > 1:
            raise ValueError(
                f"the simulator gave rows of {' and '.join(str(w) for w in sorted(widths))} outputs: every draw needs as many."
            )
        self.succeeded, self.width = True, widths.pop()
        blank = [
            torch.full((p, self.width), torch.nan, dtype=torch.float64) if isinstance(p, int) else p for p in parts
        ]
        return blank[0] if len(blank) == 1 else torch.cat(blank)

    def _parts(self, theta: Theta, seed: int, rows: int) -> tuple[list[Tensor | int], Exception | None]:
        """Outputs of the rows that succeeded, and how many did not, in order; halves are tried where a batch raises."""
        try:
            raw = self.model(theta, seed)
        except (FitError, Interrupted):
            raise
        except Exception as error:
            if rows == 1:
                self._count(error, 1)
                return [1], error
            half = rows // 2
            first, one = self._parts({n: v[:half] for n, v in theta.items()}, seed, half)
            second, two = self._parts({n: v[half:] for n, v in theta.items()}, seed, rows - half)
            return first + second, one or two
        return [as_rows(raw, rows)], None

    def _shared(self, theta: Theta, seed: int, rows: int) -> tuple[list[Tensor | int], Exception | None]:
        """The same by workers; a task that fails is lost as a whole."""
        assert self.workers is not None
        parts: list[Tensor | int] = []
        last: Exception | None = None
        for start, found in zip(
            range(0, rows, self.workers.draws), self.workers.run(self.model, theta, seed, rows), strict=True
        ):
            if isinstance(found, Exception):
                lost, last = min(self.workers.draws, rows - start), found
                self._count(found, lost)
                parts.append(lost)
            else:
                parts.append(found)
        return parts, last

    def _count(self, error: Exception, rows: int) -> None:
        text = _text(error)
        self.failures[text if text in self.failures or len(self.failures) < MOST_TEXTS else "other errors"] += rows

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the workers, which stay where they are."""
        return self.__dict__ | {"workers": None}

    def forget(self) -> None:
        """Count from zero."""
        self.failures.clear()
        self.calls = 0


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
