"""Showing how a fit goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from calib._config import Progress
from calib._iterated_regression import Adjusted
from calib._reporter import Spent
from calib._reuse import Round


def memory_mib() -> float:
    """Resident memory of this process, MiB (its peak where the system does not tell the present)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def rich_progress(console: Console | None = None, *, label: str = "fit") -> Iterator[Callable[[Any], None]]:
    """A progress bar with what was reached, time left and memory, for `calibrate` and `fit(..., progress=...)`.

    Args:
        console: where to draw; standard error if None, so that output can be piped.
        label: text before the bar.

    Yields:
        The callback: it takes the steps of a fit (`Progress`), the rounds of `calibrate` (`Round`) and its simulations (`Spent`).
    """
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[state]}"),
        console=console or Console(stderr=True),
        refresh_per_second=4,
    )
    with bar:
        task = bar.add_task(label, total=None, state="", visible=False)

        def show(p: Progress | Round | Spent | Adjusted) -> None:
            if isinstance(p, Adjusted):
                return  # weighted draws say nothing of time
            if isinstance(p, Spent):
                done, total, state = p.simulations, p.budget, _of_spent(p)
            elif isinstance(p, Round):
                done, total, state = p.simulations, max(p.budget, p.simulations), _of_round(p)
            else:
                done, total, state = p.step, p.max_steps, _of_step(p)
            bar.update(task, completed=done, total=total, state=state, visible=True)

        yield show


def _of_step(p: Progress) -> str:
    skipped = f"  skipped {p.skipped}" if p.skipped else ""
    return (
        f"ELBO {p.smoothed:,.1f}  {p.phase}  {_clock(p.seconds)} gone, at most {_clock(p.eta_seconds)} left  "
        f"{p.memory_mib:,.0f} MiB{skipped}"
    )


def _of_spent(p: Spent) -> str:
    left = p.seconds / max(1, p.simulations) * (p.budget - p.simulations)
    return f"simulations  {_clock(p.seconds)} gone, at most {_clock(left)} left  {memory_mib():,.0f} MiB"


def _of_round(p: Round) -> str:
    left = p.seconds / max(1, p.simulations) * max(0, p.budget - p.simulations)
    error = f"error {p.error_90:.2g} nats  " if p.error_90 < 1e6 else ""
    return (
        f"simulations  likelihood at {p.weight:.2g} of its weight  {error}{_clock(p.seconds)} gone, at most {_clock(left)} left  "
        f"{memory_mib():,.0f} MiB"
    )
