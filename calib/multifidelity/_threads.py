"""How many threads tensor operations take.

One, as most of them are tiny. Where an emulator is fitted they are not, and more threads help.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from calib._thread_tuner import kernel_threads

MAX_THREADS = 8
"""More than this and they wait for one another."""


@contextmanager
def several_threads() -> Iterator[None]:
    """Let tensor operations take the threads that the kernels have, at most `OMP_NUM_THREADS` where that is set."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    count = min(MAX_THREADS, kernel_threads(), int(allowed) if allowed.isdigit() and int(allowed) else MAX_THREADS)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
