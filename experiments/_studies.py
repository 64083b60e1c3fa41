"""The study's own command in processes of their own, many side by side; what ends the caller ends them."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = Path(__file__).parents[1]
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
T = TypeVar("T")


def run_study(
    folder: Path, arguments: Sequence[str], threads: int, stop: threading.Event, minutes: float = math.inf
) -> tuple[int | None, str]:
    """Run `python -m experiments.nz_calibration` into a folder, going on with what is there; its words go to a log beside it.

    Args:
        folder: of the run.
        arguments: options of the command.
        threads: its threads.
        stop: set to end it early.
        minutes: time limit.

    Returns:
        Its exit code, None if it was ended early, and the last line that it said.
    """
    end, log = time.monotonic() + 60 * minutes, folder.with_suffix(".log")
    command = [
        sys.executable,
        "-m",
        "experiments.nz_calibration",
        *arguments,
        "--output",
        str(folder.resolve()),
        "--resume",
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        # in the caller's own process group: what ends the caller from the keyboard ends it too
        limits = dict.fromkeys(THREADS, str(threads))
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | limits, stdout=stream, stderr=stream)
        try:
            code = _wait(process, end, stop)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
    return code, " ".join(said)[:300]


def _wait(process: subprocess.Popen[bytes], end: float, stop: threading.Event) -> int | None:
    while time.monotonic() < end and not stop.is_set():
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    return None


def side_by_side(
    jobs: Sequence[Callable[[threading.Event], T]], workers: int, title: str, console: Console
) -> Iterator[T]:
    """What jobs return, as they end, `workers` at once, with progress and time left.

    Each is given the event that tells it to stop, which is set when the caller is interrupted, terminated, or fails.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    stop = threading.Event()
    with _interruptible(), Progress(*columns, console=console) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task(f"{title}, {workers} at once", total=len(jobs))
        try:  # from the first job on: an interrupt while they begin must reach them too
            for one in as_completed([pool.submit(job, stop) for job in jobs]):
                result = one.result()
                bar.advance(task)
                yield result
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, and SIGINT even where a shell started this in the background, raise `KeyboardInterrupt` in the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
