"""Everything needed to go on with a fit, in one file that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from calib._atomic import atomic_write_bytes, atomic_write_text

VERSION = "1"
TENSORS = "checkpoint.safetensors"
SUMMARY = "checkpoint.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the text says why and what to do."""


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, stem: str = "checkpoint"
) -> None:
    """Write a checkpoint.

    The file of tensors carries the state and a checksum in its header, so it is complete by itself and
    replaced in one move; `checkpoint.json` is a copy of the state for people, written after it.

    Args:
        folder: where to; made if it is not there.
        tensors: by name.
        state: plain data (JSON), with what `load_checkpoint` compares under `"identity"`.
        stem: name of the two files without their suffix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = {"version": VERSION, "sha256": _digest(plain), "state": json.dumps(state, sort_keys=True)}
    header["state_sha256"] = hashlib.sha256(header["state"].encode()).hexdigest()
    atomic_write_bytes(folder / f"{stem}.safetensors", safetensors.torch.save(plain, metadata=header))
    atomic_write_text(folder / f"{stem}.json", json.dumps(state, indent=1, sort_keys=True) + "\n")


def has_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a checkpoint, whole or not."""
    return (folder / TENSORS).exists()


def load_checkpoint(
    folder: Path, identity: Mapping[str, Any] | None = None, *, stem: str = "checkpoint"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Args:
        folder: where it is.
        identity: what the run to go on with is; compared entry by entry with the one stored. Not compared if
            None.
        stem: as given to `save_checkpoint`.

    Returns:
        Tensors by name, and the state.

    Raises:
        CheckpointError: if it is missing, cut short, altered, of another version, or of another run.
    """
    path = folder / f"{stem}.safetensors"
    advice = "move it away to start from the beginning, or put back a whole copy"
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint in {folder}, expected {path.name}: start without resuming")
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged or cut short ({error}): {advice}") from error
    if header.get("version") != VERSION:
        found = header.get("version", "none")
        raise CheckpointError(f"the checkpoint {path} has format {found}, expected {VERSION}: {advice}")
    text = header.get("state", "")
    whole = header.get("state_sha256") == hashlib.sha256(text.encode()).hexdigest()
    if not whole or header.get("sha256") != _digest(tensors):
        raise CheckpointError(f"the checkpoint {path} is damaged (its checksum does not match its content): {advice}")
    state = json.loads(text)
    for key, wanted in (identity or {}).items():
        stored = state.get("identity", {}).get(key)
        if stored != json.loads(json.dumps(wanted)):
            raise CheckpointError(
                f"the checkpoint {path} belongs to another run: its {key} is {stored!r} and this run's is "
                f"{wanted!r}; resume with "
                "the settings it was made with, or choose another folder"
            )
    return tensors, state
