"""A run's folder and the console as what `calib.multifidelity` reports to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from calib import ProgressCallback, RunFolder, rich_progress
from calib.multifidelity import Recorder
from epi.errors import StudyError


class RunRecorder(Recorder):
    """Phases, numbers and notices go to the manifest of a run, progress to the console, state to the folder.

    Args:
        run: the folder.
        console: for progress.
        fingerprint: of the study.
    """

    def __init__(self, run: RunFolder, console: Console, fingerprint: str) -> None:
        super().__init__(run.path, fingerprint)
        self.run = run
        self.console = console

    def phase(self, name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Timed."""
        return self.run.phase(name)

    def steps(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:  # type: ignore[override]
        """A progress bar."""
        return steps(self.console, label, total)

    @contextmanager
    def fit_progress(self) -> Iterator[ProgressCallback | None]:
        """A line of a fit."""
        with rich_progress(self.console) as progress:
            yield progress

    def count(self, purpose: str, runs: int) -> None:
        """Add to the number of simulations."""
        self.run.count(purpose, runs)

    def total(self, purpose: str, runs: int) -> None:
        """Set the number of simulations."""
        self.run.update(simulations=self.run.manifest["simulations"] | {purpose: runs})

    def update(self, **entries: Any) -> None:
        """Entries of the manifest."""
        self.run.update(**entries)

    def notice(self, text: str) -> None:
        """A sentence that the report shows."""
        self.run.notice(text)

    def failed(self, good: Tensor, what: str, fewest: int = 10) -> None:
        """See `report_failed`."""
        report_failed(good, self.run, what, fewest)


@contextmanager
def steps(console: Console, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with time left; yields a function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


def report_failed(good: Tensor, run: RunFolder, what: str, fewest: int = 10) -> None:
    """Count draws whose simulation was not finite, and refuse to go on with fewer than `fewest`."""
    count = int(good.sum())
    if count < len(good):
        run.skip(what, len(good) - count)
        run.notice(
            f"{len(good) - count} of {len(good)} {what} gave a simulation that was not finite and were left out."
        )
    if count < fewest:
        raise StudyError(
            f"Only {count} of {len(good)} {what} gave finite simulations; the priors or the fit are out of the model's range."
        )
