"""Tensors on disk between the steps of a long run: written in one move, checked when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from calib._atomic import atomic_write_bytes
from calib._checkpoint import CheckpointError


def save_tensors(file: Path, tensors: Mapping[str, Tensor], problem: str) -> None:
    """Write tensors atomically, with a checksum and the name of the problem that they belong to."""
    kept = {name: x.detach().contiguous() for name, x in tensors.items()}
    atomic_write_bytes(file, save(kept, {"problem": problem, "sha256": _checksum(kept)}))


def load_tensors(file: Path, problem: str, needed: Sequence[str], remedy: str) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote.

    Args:
        file: to be read.
        problem: that the tensors must belong to.
        needed: names that must be there.
        remedy: what to do about a damaged or foreign file, a clause for the message.

    Raises:
        CheckpointError: the file is damaged, lacks a tensor or belongs to another problem.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            # copies: what is read lies unaligned in memory, where sums may round otherwise than in the run that wrote it
            kept = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 (not a dict)
        if header.get("sha256") != _checksum(kept):
            raise SafetensorError("its checksum does not match its content")
        for name in needed:
            if name not in kept:
                raise SafetensorError(f"it holds no tensor {name!r}")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or cut short ({error}); {remedy}.") from error
    if header.get("problem") != problem:
        raise CheckpointError(f"{file} was made from other data, priors or settings than this run's; {remedy}.")
    return kept


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()
