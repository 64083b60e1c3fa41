"""A user's simulator as rows of numbers: any container in, float64 `[P, M]` out, failures counted and not fatal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calib._config import FitError, Interrupted
from calib._failures import MOST_TEXTS

Theta = Mapping[str, Tensor]


@dataclass(eq=False)
class Rows:
    """Outputs `[P, M]` of a simulator, NaN in the rows at which it raised.

    Attributes:
        model: `(theta {name: [P, *event]}, seed) -> outputs`.
        failures: what was raised, and how often.
        calls: rows that were asked for.
        succeeded: whether any row has come back yet.
        width: outputs of a row, M; 0 until one has come back.
    """

    model: Callable[..., Any]
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
        parts, error = self._parts(theta, seed, rows)
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
                text = _text(error)
                self.failures[text if text in self.failures or len(self.failures) < MOST_TEXTS else "other errors"] += 1
                return [1], error
            half = rows // 2
            first, one = self._parts({n: v[:half] for n, v in theta.items()}, seed, half)
            second, two = self._parts({n: v[half:] for n, v in theta.items()}, seed, rows - half)
            return first + second, one or two
        return [as_rows(raw, rows)], None

    def forget(self) -> None:
        """Count from zero."""
        self.failures.clear()
        self.calls = 0


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def as_rows(raw: Any, rows: int) -> Tensor:
    """What a simulator returned as `[P, M]`, float64 on the CPU, with its graph if it has one.

    Args:
        raw: a tensor, an array, a table, nested lists with one entry a draw, or a mapping of such, set side by side.
        rows: P.

    Raises:
        TypeError: it holds no numbers.
        ValueError: it is not P rows, or has more than two axes.
    """
    if isinstance(raw, Mapping):
        if not raw:
            raise ValueError("the simulator gave outputs in an empty dict, expected at least one output a draw.")
        return torch.cat([as_rows(part, rows) for part in raw.values()], 1)
    out = as_numbers(raw, "the simulator's outputs")
    if out.ndim == 1 and len(out) == rows:
        out = out[:, None]
    if out.ndim != 2 or len(out) != rows or out.shape[1] == 0:
        raise ValueError(
            f"the simulator gave outputs of shape {tuple(out.shape)} for {rows} draws, expected [{rows}, M]: "
            "return one row of outputs for each draw, flattened to two axes."
        )
    return out


def as_numbers(raw: Any, what: str) -> Tensor:
    """Numbers in any container as a float64 tensor on the CPU.

    Raises:
        TypeError: they are no real numbers, or lists are ragged.
    """
    try:
        if isinstance(raw, list | tuple) and any(isinstance(part, Tensor) for part in raw):
            raw = torch.stack([torch.as_tensor(part) for part in raw])
        if not isinstance(raw, Tensor):
            array = raw.to_numpy(dtype=float, na_value=np.nan) if hasattr(raw, "to_numpy") else np.asarray(raw)
            if array.dtype == object:
                array = array.astype(float)  # None becomes NaN, ragged lists and text an error
            if array.dtype.kind not in "fiub":
                raise TypeError
            raw = torch.from_numpy(np.array(array, dtype=float))
        if raw.is_complex():
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{what} are a {type(raw).__name__} that holds no table of real numbers: pass a tensor, an array or nested lists."
        ) from None
    found: Tensor = raw.to("cpu", torch.float64)
    return found
