"""Runs of the model side by side in several processes, each with a model of its own."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numba
import torch

from calib.numerics import kernel_threads
from epi.errors import StudyError
from epi.outputs.reload import rebuild
from epi.sensitivity.simulate import Work, timed


class Builds(Protocol):
    """What a process needs to build what its tasks are given first; travels to the process."""

    def build(self) -> Any:
        """What the tasks are given."""


@dataclass(frozen=True)
class Recipe:
    """What a process needs to build the model: folder of the calibration, scale, seed, runs at once."""

    folder: str
    scale: float
    seed: int
    batch: int

    def build(self, device: str = "cpu") -> Work:
        """The model."""
        simulator = rebuild(Path(self.folder), scale=self.scale, device=device).simulator
        return Work(simulator, self.seed, self.batch)


_WORK: list[Any] = []
"""The model of a worker process; empty elsewhere."""


def _start(recipe: Builds) -> None:
    kernel_threads()  # starts them: later it would change the number of torch's
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    numba.set_num_threads(1)
    threading.Thread(target=_follow, daemon=True).start()
    _WORK.append(recipe.build())


def _follow() -> None:
    """End with the parent, however it ends: a killed report leaves no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(task: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float]:
    return timed(task, _WORK[0], *arguments)


class Workers:
    """Processes that wait for batches of runs; a context, at whose end they are gone."""

    def __init__(self, recipe: Builds, count: int) -> None:
        # started anew, not forked: threads of the parent do not survive a fork
        self._pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start, (recipe,))
        self.count = count

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, task: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, float]]:
        """What a task gives for each part, in their order, and its seconds; a few parts a process are under way at a time.

        Raises:
            StudyError: a process died.
        """
        waiting: deque[Future[tuple[Any, float]]] = deque()
        try:
            for part in parts:
                waiting.append(self._pool.submit(_call, task, part))
                if len(waiting) >= 4 * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise StudyError(
                "A worker process died, perhaps for want of memory; use fewer --workers or a smaller --batch, and --resume."
            ) from error
