"""A child process with progress and a limit of seconds: no shell, no text that is evaluated."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from epi.analyst.source import CannotAnswer
from epi.analyst.values import clean

__all__ = ["run_module"]

ROOT = Path(__file__).resolve().parents[2]


def run_module(
    module: str,
    arguments: Sequence[str],
    given: str,
    seconds: float,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run a module of ours in a process of its own.

    Args:
        module: its name.
        arguments: each one argument, whatever it holds.
        given: standard input.
        seconds: after which it is ended.
        progress: told what lines `progress DONE TOTAL` say.

    Raises:
        CannotAnswer: it ended with an error, or was ended.
    """
    # the same modules as here, without the working folder in front of them
    path = [str(ROOT), *(p for p in sys.path if p not in ("", str(ROOT)))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "MPLBACKEND": "Agg"}
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    readers = [
        threading.Thread(target=_read, args=(process.stdout, lines.put), daemon=True),
        threading.Thread(target=_read, args=(process.stderr, lambda line: errors.append(line or "")), daemon=True),
    ]
    for reader in readers:
        reader.start()
    said = ""
    try:
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.close()
        while True:
            left = seconds - (time.monotonic() - begun)
            if left <= 0:
                raise CannotAnswer(
                    f"The simulation was ended after its limit of {seconds:g} seconds; allow more, or ask for fewer draws."
                )
            try:
                line = lines.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
            if line is None:
                break
            word, _, rest = line.partition(" ")
            if word == "progress" and progress is not None:
                done, total = rest.split()
                progress(int(done), int(total))
            elif word == "error":
                said = rest
        code = process.wait(timeout=max(1.0, seconds - (time.monotonic() - begun)))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code:
        for reader in readers:
            reader.join(timeout=5)
        last = [line for line in errors if line.strip()]
        raise CannotAnswer(clean(said or (last[-1] if last else f"The simulation ended with exit code {code}."), 600))


def _read(stream: object, put: Callable[[str | None], None]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        put(line.rstrip("\n"))
    put(None)
