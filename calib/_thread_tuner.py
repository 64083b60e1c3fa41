"""How many threads a short kernel takes: those that are found to help.

On some machines many threads halve the time of a loop of milliseconds, on others they wait for one another for longer than they
work, and which of it cannot be told from the number of cores. Kernels that are called thousands of times can afford to try.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numba
import torch

TRIES = 5
"""Calls timed with each number of threads; their median is compared, so that one held up (or compiling) does not count."""

T = TypeVar("T")


def kernel_threads() -> int:
    """`numba.get_num_threads()`, without its effect on torch.

    When Numba starts its threads, at the first such call, those of torch become as many if it has started its own: both are OpenMP's. Then
    tensor operations meant for one thread take all cores, and tiny ones wait for threads that have nothing to do.
    """
    before = torch.get_num_threads()
    count: int = numba.get_num_threads()
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
    return count


class ThreadTuner:
    """Calls a kernel whose result does not depend on the number of threads with 1, 2, 4, ... of them, then with the quickest.

    Calls should be of one size.

    Args:
        most: threads that the kernel can use.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.seconds: dict[int, list[float]] = {}

    def __call__(self, kernel: Callable[[], T]) -> T:
        """What the kernel returns; `numba.get_num_threads()` is the limit, and is as before afterwards."""
        limit = kernel_threads()
        threads = self.choose(min(limit, self.most))
        numba.set_num_threads(threads)
        start = time.perf_counter()
        try:
            result = kernel()
        finally:
            numba.set_num_threads(limit)
        seconds = self.seconds.setdefault(threads, [])
        if len(seconds) < TRIES:
            seconds.append(time.perf_counter() - start)
        return result

    def choose(self, limit: int) -> int:
        """Threads of the next call: a number not tried enough, the smallest first, else the one with the smallest median time."""
        numbers = [1 << k for k in range(limit.bit_length())]
        for threads in numbers:
            if len(self.seconds.get(threads, ())) < TRIES:
                return threads
        return min(numbers, key=lambda threads: statistics.median(self.seconds[threads]))
