"""Damaged bytes: a random file of a finished run is cut, changed, emptied, replaced or gone, and a command reads the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.fault_trials.command import refusal, run
from experiments.fault_trials.folders import damaged
from experiments.fault_trials.outcome import Outcome
from posterity.commands import check, compare, forecast, report

__all__ = ["COMMANDS", "judge", "judge_named", "plain"]

COMMANDS: dict[str, Callable[[Path], tuple[Callable[..., None], tuple[object, ...]]]] = {
    "forecast": lambda folder: (forecast.main, (folder, "--json")),
    "compare": lambda folder: (compare.main, (folder, folder, "--json")),
    "check": lambda folder: (check.main, (folder, "--json", "--output", folder.parent / "page")),
    "report": lambda folder: (report.main, (folder,)),
}
"""By name; `check` and `report` take seconds."""


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    """One byte of the file becomes another."""
    if not content:
        return b"x"
    at = int(rng.integers(len(content)))
    return content[:at] + bytes([content[at] ^ int(rng.integers(1, 256))]) + content[at + 1 :]


WAYS: dict[str, Callable[[bytes, np.random.Generator], bytes | None]] = {
    "cut": lambda content, rng: content[: int(rng.integers(max(1, len(content))))],
    "a byte changed": _flip,
    "a stretch of zeros": lambda content, rng: _over(content, b"\0" * 64, rng),
    "a stretch of junk": lambda content, rng: _over(content, rng.bytes(64), rng),
    "more at its end": lambda content, rng: content + rng.bytes(40),
    "empty": lambda content, rng: b"",
    "gone": lambda content, rng: None,
}


def _over(content: bytes, piece: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(max(1, len(content))))
    return content[:at] + piece + content[at + len(piece) :]


def plain(source: Path, command: str, place: Path) -> str:
    """What a command prints of a run without a fault."""
    folder = Path(shutil.copytree(source, place / "run"))
    main, arguments = COMMANDS[command](folder)
    return run(main, *arguments).out.replace(str(place), "")


def judge(source: Path, command: str, wanted: str, seed: int, place: Path) -> tuple[str, Outcome]:
    """Damage a copy of a run and read it by a command.

    Args:
        source: a finished run.
        command: one of `COMMANDS`.
        wanted: of `plain`.
        seed: chooses file, way and place.
        place: an empty folder.

    Returns:
        The fault in words, and how it ended.
    """
    rng = np.random.default_rng([seed, 5])
    folder = Path(shutil.copytree(source, place / "run"))
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    # half of all faults meet the files that commands read most
    chosen = (
        folder / str(rng.choice(("posterior.nc", "manifest.json")))
        if rng.random() < 0.5
        else files[int(rng.integers(len(files)))]
    )
    way = str(rng.choice(list(WAYS)))
    content = WAYS[way](chosen.read_bytes(), rng)
    if content is None:
        chosen.unlink()
    else:
        chosen.write_bytes(content)
    main, arguments = COMMANDS[command](folder)
    ended = run(main, *arguments)
    outcome = refusal(replace(ended, out=ended.out.replace(str(place), "")), wanted)
    return f"{chosen.relative_to(folder)}, {way}", outcome


def judge_named(source: Path, command: str, name: str, seed: int, place: Path) -> Outcome:
    """The same with one of the damages that have a name (`folders.DAMAGES`), all of which must be refused."""
    folder = Path(shutil.copytree(source, place / "run"))
    damaged(folder, name, np.random.default_rng([seed, 7]))
    main, arguments = COMMANDS[command](folder)
    return refusal(run(main, *arguments), "")
