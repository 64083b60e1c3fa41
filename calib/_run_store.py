"""Simulations on disk: every call of a simulator as one file that appears whole or not at all, found again by its arguments."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from calib._atomic import atomic_write_bytes, atomic_write_json
from calib._checkpoint import CheckpointError

IDENTITY = "simulator.json"


class RunStore:
    """What a simulator gave, by what it was asked.

    Args:
        folder: where; made if it is not there.
        model: the simulator; a folder of another one is refused.
        names: of the parameters.
        resume: whether calls that the folder holds are taken from it.

    Raises:
        CheckpointError: the folder holds runs and `resume` was not asked for, or they are another simulator's.
    """

    def __init__(
        self, folder: str | os.PathLike[str], model: Callable[..., Any], names: tuple[str, ...], resume: bool
    ) -> None:
        self.folder = Path(folder)
        identity = {"simulator": fingerprint(model), "parameters": list(names)}
        path = self.folder / IDENTITY
        if path.exists():
            if not resume:
                raise CheckpointError(
                    f"{self.folder} holds runs: pass resume=True to use them, or choose another folder."
                )
            if json.loads(path.read_text(encoding="utf-8")) != identity:
                raise CheckpointError(
                    f"the runs in {self.folder} are of another simulator or other parameters: choose another folder, or delete them."
                )
        else:
            atomic_write_json(path, identity)
        self.loaded = 0

    def _path(self, asked: Mapping[str, Tensor], seed: int) -> Path:
        key = hashlib.sha256(str(seed).encode())
        for name, value in asked.items():
            key.update(f"|{name}|{value.dtype}|{tuple(value.shape)}|".encode())
            key.update(value.detach().cpu().contiguous().numpy().tobytes())
        return self.folder / f"{key.hexdigest()[:32]}.safetensors"

    def get(self, asked: Mapping[str, Tensor], seed: int) -> tuple[dict[str, Tensor], dict[str, int]] | None:
        """Tensors and failures of a call; None if it has not been made, or its file is damaged."""
        path = self._path(asked, seed)
        if not path.exists():
            return None
        try:
            with safetensors.safe_open(path, framework="pt") as opened:
                failures = json.loads((opened.metadata() or {})["failures"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, KeyError, ValueError):
            return None  # it is simulated again, and replaced
        self.loaded += len(next(iter(tensors.values())))
        return tensors, failures

    def put(
        self, asked: Mapping[str, Tensor], seed: int, tensors: Mapping[str, Tensor], failures: Mapping[str, int]
    ) -> None:
        """Write a call."""
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        content = safetensors.torch.save(plain, metadata={"failures": json.dumps(dict(failures))})
        atomic_write_bytes(self._path(asked, seed), content)


def fingerprint(model: Any) -> str:
    """Name and code of a function, as far as they can be told: an edited simulator is another one."""
    inner = getattr(model, "simulate", model)
    code = getattr(inner, "__code__", None)
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    if code is None:
        return name
    plain = [c for c in code.co_consts if isinstance(c, int | float | str | bytes | None)]
    text = repr((code.co_code, plain, code.co_names, code.co_varnames))
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
