"""How many threads tensor operations take.

One, as most of them are tiny. Where an emulator is fitted they are not, and more threads help. Another number of threads adds in another
order, so the last bits of an emulator depend on it, and with them all that is drawn later: the number is a setting of a calibration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from calib._thread_tuner import kernel_threads

MAX_THREADS = 8
"""More than this and they wait for one another."""


def allowed_threads() -> int:
    """The threads that the kernels have, at most `MAX_THREADS`, and at most `OMP_NUM_THREADS` where that is set."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(MAX_THREADS, kernel_threads(), int(allowed) if allowed.isdigit() and int(allowed) else MAX_THREADS)


@contextmanager
def several_threads(count: int | None = None) -> Iterator[None]:
    """Let tensor operations take so many threads; `allowed_threads()` if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or allowed_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
