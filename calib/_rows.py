"""Numbers in any container as float64 tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_rows(raw: Any, rows: int) -> Tensor:
    """What a simulator returned as `[P, M]`, float64 on the CPU, with its graph if it has one.

    Args:
        raw: a tensor, an array, a table, nested lists with one entry a draw, or a mapping of such, set side by side.
        rows: P.

    Raises:
        TypeError: it holds no numbers.
        ValueError: it is not P rows, or has more than two axes.
    """
    if isinstance(raw, Mapping):
        if not raw:
            raise ValueError("the simulator gave outputs in an empty dict, expected at least one output a draw.")
        return torch.cat([as_rows(part, rows) for part in raw.values()], 1)
    if raw is None:
        raise TypeError("the simulator gave None, expected outputs: end it with return.")
    out = as_numbers(raw, "the simulator's outputs")
    if out.ndim == 1 and len(out) == rows:
        out = out[:, None]
    if out.ndim != 2 or len(out) != rows or out.shape[1] == 0:
        raise ValueError(
            f"the simulator gave outputs of shape {tuple(out.shape)} for {rows} draws, expected [{rows}, M]: "
            "return one row of outputs for each draw, flattened to two axes."
        )
    return out


def as_numbers(raw: Any, what: str) -> Tensor:
    """Numbers in any container as a float64 tensor on the CPU.

    Raises:
        TypeError: they are no real numbers, or lists are ragged.
    """
    try:
        if isinstance(raw, list | tuple) and any(isinstance(part, Tensor) for part in raw):
            raw = torch.stack([torch.as_tensor(part) for part in raw])
        if not isinstance(raw, Tensor):
            array = raw.to_numpy(dtype=float, na_value=np.nan) if hasattr(raw, "to_numpy") else np.asarray(raw)
            if array.dtype == object:
                array = array.astype(float)  # None becomes NaN, ragged lists and text an error
            if array.dtype.kind not in "fiub":
                raise TypeError
            raw = torch.from_numpy(np.array(array, dtype=float))
        if raw.is_complex():
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{what} are a {type(raw).__name__} that holds no table of real numbers: pass a tensor, an array or nested lists."
        ) from None
    found: Tensor = raw.to("cpu", torch.float64)
    return found
