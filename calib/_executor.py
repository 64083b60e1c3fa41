"""A simulator's rows shared among workers: any executor of `concurrent.futures`, failures and time-outs counted and not fatal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calib._config import FitError
from calib._noise import derive_seed
from calib._rows import as_rows

Theta = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class EachDraw:
    """A simulator of one draw as one of many, for `calibrate`.

    Attributes:
        simulate: `({name: float or array [*event]}, seed) -> outputs [M]` of one draw.

    Examples:
        >>> import numpy as np, torch
        >>> each = EachDraw(lambda theta, seed: theta["rate"] * np.arange(3))
        >>> each({"rate": torch.tensor([1.0, 2.0])}, 0)[1]
        array([0., 2., 4.])
    """

    simulate: Callable[..., Any]

    def __call__(self, theta: Theta, seed: int) -> list[Any]:
        """Simulate draw by draw, each with a seed of its own."""
        plain = {name: value.detach().cpu().numpy() for name, value in theta.items()}
        rows = len(next(iter(plain.values())))
        found = []
        for row in range(rows):
            one = {name: value[row].item() if value.ndim == 1 else value[row] for name, value in plain.items()}
            found.append(self.simulate(one, derive_seed(seed, row, "draw") % 2**32))  # numpy takes no larger seed
        return found


@dataclass(frozen=True, eq=False)
class Workers:
    """Where rows are simulated.

    Attributes:
        executor: a pool of processes or threads, or one of another library with `submit`.
        draws: rows of a task.
        timeout: seconds that a task may take, from the first moment at which no other is waited for; none if None.
    """

    executor: Executor
    draws: int = 1
    timeout: float | None = None

    def run(self, model: Callable[..., Any], tasks: Sequence[tuple[Theta, int]]) -> Iterator[Tensor | Exception]:
        """Simulate tasks.

        Args:
            model: `(theta, seed) -> outputs`.
            tasks: parameters by name, `[rows of the task, *event]`, and a seed.

        Yields:
            Outputs `[rows of the task, M]`, or what the task raised, in the order of the tasks.

        Raises:
            FitError: the executor is broken or shut down.
        """
        try:
            futures = [self.executor.submit(simulate, model, dict(theta), seed) for theta, seed in tasks]
            for future in futures:
                yield self._result(future)
        except BrokenExecutor as error:
            raise FitError(
                f"a worker died ({type(error).__name__}: {error}): it may have run out of memory, or the simulator ended the process."
            ) from error
        except RuntimeError as error:
            raise FitError(f"the executor takes no tasks ({error}): pass one that is open.") from error

    def _result(self, future: Future[Tensor]) -> Tensor | Exception:
        """What a task gave; a task that waits in the queue is not late."""
        try:
            if self.timeout is not None:
                while not future.running() and not future.done():
                    time.sleep(0.01)
            return future.result(self.timeout)
        except FutureTimeout:
            future.cancel()
            return TimeoutError(f"no answer within {self.timeout:g} s")
        except BrokenExecutor:
            raise
        except Exception as error:
            return error


def simulate(model: Callable[..., Any], theta: Theta, seed: int) -> Tensor:
    """One task, in a worker."""
    with torch.no_grad():
        return as_rows(model(theta, seed), len(next(iter(theta.values()))))
