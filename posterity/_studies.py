"""Studies by name: those that come with posterity, and folders of the user's own."""

from __future__ import annotations

import difflib
from pathlib import Path

from epi.errors import StudyError

SHIPPED = Path(__file__).resolve().parents[1] / "experiments"


def shipped() -> dict[str, str]:
    """`{name: module}` of the studies that come with posterity."""
    return {p.parent.name: f"experiments.{p.parent.name}.study" for p in sorted(SHIPPED.glob("*/study.py"))}


def find(name: str) -> str:
    """Where a study is: a folder, a file, a shipped name or a module, as `epi.load_study` wants it.

    Raises:
        StudyError: nothing has that name.
    """
    path = Path(name)
    if path.is_dir() or path.suffix == ".py":
        return str(path.resolve())  # a run finds its study again from any folder
    known = shipped()
    if name in known:
        return known[name]
    if "." in name and "/" not in name:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise StudyError(
        f"There is no study {name!r}; {hint}name a folder that holds a study.py, or one of {', '.join(known)}."
    )
