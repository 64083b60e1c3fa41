"""What the method tells its caller, and where it saves its state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from calib._config import FitError, ProgressCallback
from calib._kept_tensors import load_tensors, save_tensors


class Recorder:
    """Does nothing with what it is told; override what you need.

    Args:
        folder: where state is saved, so that a run that was stopped is resumed; None saves nothing.
        fingerprint: of the problem; saved state of another is refused.
    """

    def __init__(self, folder: Path | None = None, fingerprint: str = "") -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Around a part of the work."""
        yield

    @contextmanager
    def steps(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Around work of known length; yields a function that is told of steps done."""
        yield lambda done: None

    @contextmanager
    def fit_progress(self) -> Iterator[ProgressCallback | None]:
        """Around a fit of a flow; yields its progress callback."""
        yield None

    def count(self, purpose: str, runs: int) -> None:
        """Runs were made for a purpose."""

    def total(self, purpose: str, runs: int) -> None:
        """So many runs have been made for a purpose, those before a resumption included."""

    def update(self, **entries: Any) -> None:
        """Plain data that describe the state."""

    def notice(self, text: str) -> None:
        """A sentence that the user must see."""

    def failed(self, good: Tensor, what: str, fewest: int = 10) -> None:
        """Runs that are not finite were left out.

        Raises:
            FitError: fewer than `fewest` are finite.
        """
        if int(good.sum()) < fewest:
            raise FitError(
                f"{int(good.sum())} of {len(good)} {what} were finite, expected at least {fewest}: check the simulator and the priors."
            )

    def has(self, name: str) -> bool:
        """Whether state of this name was saved."""
        return self.folder is not None and self._file(name).exists()

    def save(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Save state, in one move."""
        if self.folder is not None:
            save_tensors(self._file(name), tensors, self.fingerprint)

    def load(self, name: str, needed: Sequence[str], remedy: str) -> dict[str, Tensor]:
        """Read it.

        Raises:
            CheckpointError: it is damaged or of another problem.
        """
        return load_tensors(self._file(name), self.fingerprint, needed, remedy)

    def drop(self, name: str) -> None:
        """Remove it."""
        if self.folder is not None:
            self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"
