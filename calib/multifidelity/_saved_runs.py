"""Runs that take minutes, saved as they come: a run that was stopped does not make them again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from calib._kept_tensors import load_tensors, save_tensors

EVERY = 20.0
"""Seconds between two savings."""


def saved_runs(
    file: Path | None,
    problem: str,
    z: Tensor,
    batch: int,
    simulate: Callable[[Tensor, int], Tensor],
    made: Callable[[int, bool], None],
) -> Tensor:
    """Simulate at `z [S, D]` in batches; go on from `file` if it holds the first of these runs, and remove it at the end.

    Args:
        file: where they are saved meanwhile; None for nowhere.
        problem: that they belong to.
        z: where to simulate.
        batch: runs at once.
        simulate: `(z [P, D], index of the first)` to outputs `[P, M]`; must depend on these alone.
        made: called as runs are there: how many, and whether they were simulated now.

    Returns:
        `[S, M]`.

    Raises:
        CheckpointError: the file is damaged or of another problem.
    """
    rows: list[Tensor] = []
    done = 0
    if file is not None and file.exists():
        kept = load_tensors(file, problem, ("z", "values"), "remove it, and these runs are made again")
        done = len(kept["values"])
        if torch.equal(kept["z"], z):
            rows.append(kept["values"])
            made(done, False)
        else:  # of an earlier stage, which has changed since
            done = 0
    saved = time.monotonic()
    for start in range(done, len(z), batch):
        part = z[start : start + batch]
        rows.append(simulate(part, start))
        made(len(part), True)
        if file is not None and time.monotonic() - saved >= EVERY:
            save_tensors(file, {"z": z, "values": torch.cat(rows)}, problem)
            saved = time.monotonic()
    if file is not None:
        file.unlink(missing_ok=True)
    return torch.cat(rows)
