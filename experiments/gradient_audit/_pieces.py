"""Pieces of an audit on disk, so that one that was stopped goes on where it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calib._atomic import atomic_write_json
from experiments.gradient_audit._estimates import Sample


def piece_path(folder: Path, key: tuple[Any, ...], settings: tuple[Any, ...]) -> Path:
    """Where a piece is kept: its name holds all that it depends on."""
    words = "_".join(str(x) for x in (*key, *settings))
    return folder / (re.sub(r"[^A-Za-z0-9.]+", "-", words) + ".json")


def save_piece(path: Path, value: Any) -> None:
    """Write a truth (frame), a sample or a cost (mapping)."""
    if isinstance(value, Sample):
        content: Any = {"gradient": value.gradient.tolist(), "total": value.total.tolist()}
    else:
        content = {"records": value.to_dict("records")} if isinstance(value, pd.DataFrame) else {"mapping": dict(value)}
    atomic_write_json(path, content)


def load_piece(path: Path) -> Any:
    """Read it back; None if it is not there."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    if "gradient" in content:
        return Sample(np.array(content["gradient"]), np.array(content["total"]))
    return pd.DataFrame(content["records"]) if "records" in content else content["mapping"]
