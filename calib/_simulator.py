"""A user's simulator as rows of numbers: any container in, float64 `[P, M]` out, failures counted and not fatal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.autograd.forward_ad as fwad
from torch import Tensor

from calib._brings_jacobian import BringsJacobian, unpack
from calib._config import FitError, Interrupted
from calib._executor import Workers
from calib._failures import MOST_TEXTS
from calib._noise import derive_seed
from calib._rows import as_rows
from calib._run_store import RunStore

Theta = Mapping[str, Tensor]


@dataclass(eq=False)
class Rows:
    """Outputs `[P, M]` of a simulator, NaN in the rows at which it raised.

    Attributes:
        model: `(theta {name: [P, *event]}, seed) -> outputs`.
        workers: where rows are simulated; here if None.
        report: called with the number of rows whenever some are done.
        store: where calls without derivatives are kept; nowhere if None.
        failures: what was raised, and how often.
        calls: rows that were asked for.
        succeeded: whether any row has come back yet.
        width: outputs of a row, M; 0 until one has come back.
    """

    model: Callable[..., Any]
    workers: Workers | None = None
    store: RunStore | None = None
    report: Callable[[int], None] | None = None
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
        outputs = self._rows(theta, seed)
        if isinstance(self.model, BringsJacobian):
            return unpack(theta, outputs, _differentiated(theta))
        return outputs

    def _rows(self, theta: Theta, seed: int) -> Tensor:
        rows = len(next(iter(theta.values())))
        self.calls += rows
        store = None if self.store is None or _differentiated(theta) else self.store
        if self.workers is not None:
            return self._joined(*self._shared(theta, seed, rows, store), rows, theta)
        kept = None if store is None else store.get(theta, seed)
        if kept is not None:
            self.failures.update(kept[1])
            self.succeeded, self.width = True, kept[0]["outputs"].shape[1]
            self._report(rows)
            return kept[0]["outputs"]
        before = self.failures.copy()
        outputs = self._joined(*self._parts(theta, seed, rows), rows, theta)
        self._report(rows)
        if store is not None:
            store.put(theta, seed, {"outputs": outputs}, self.failures - before)
        return outputs

    def _joined(self, parts: list[Tensor | int], error: Exception | None, rows: int, theta: Theta) -> Tensor:
        """Parts in one, NaN where rows failed."""
        widths = {part.shape[1] for part in parts if isinstance(part, Tensor)}
        if error is not None and not widths:
            if not self.succeeded:
                raise FitError(
                    f"the simulator raised {_text(error)!r} at each of {rows} draws of the prior: look at the simulator, "
                    f"which is called as model(theta, seed) with theta of the keys {', '.join(map(repr, theta))}."
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

    def _shared(
        self, theta: Theta, seed: int, rows: int, store: RunStore | None
    ) -> tuple[list[Tensor | int], Exception | None]:
        """The same by workers; a task that fails is lost as a whole."""
        assert self.workers is not None
        size = self.workers.draws
        tasks = [
            ({n: v[s : s + size].detach().clone() for n, v in theta.items()}, derive_seed(seed, s, "task"))
            for s in range(0, rows, size)
        ]
        kept = [None if store is None else store.get(*task) for task in tasks]
        found = self.workers.run(self.model, [task for task, old in zip(tasks, kept, strict=True) if old is None])
        parts: list[Tensor | int] = []
        last: Exception | None = None
        for task, old in zip(tasks, kept, strict=True):
            new = next(found) if old is None else old[0]["outputs"]
            self._report(min(size, rows - size * len(parts)))
            if isinstance(new, Exception):
                last = new
                lost = min(size, rows - size * len(parts))
                parts.append(lost)
                self._count(new, lost)
                continue
            parts.append(new)
            if store is not None and old is None:
                store.put(*task, {"outputs": new}, {})
        return parts, last

    def _report(self, rows: int) -> None:
        if self.report is not None:
            self.report(rows)

    def _count(self, error: Exception, rows: int) -> None:
        text = _text(error)
        self.failures[text if text in self.failures or len(self.failures) < MOST_TEXTS else "other errors"] += rows

    def __getstate__(self) -> dict[str, Any]:
        """Everything but workers, folder and progress, which stay where they are."""
        return self.__dict__ | {"workers": None, "store": None, "report": None}

    def forget(self) -> None:
        """Count from zero."""
        self.failures.clear()
        self.calls = 0


def _differentiated(theta: Theta) -> bool:
    """Whether derivatives in the parameters are being taken, in reverse or forward mode."""
    values = theta.values()
    wanted = torch.is_grad_enabled() and any(v.requires_grad for v in values)
    return wanted or any(fwad.unpack_dual(v).tangent is not None for v in values)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
