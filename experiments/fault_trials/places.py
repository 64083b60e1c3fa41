"""Folders that cannot be: a file in the way, a dangling link, a name too long, a disk that is full."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.fault_trials.command import refusal, run
from experiments.fault_trials.outcome import Outcome
from experiments.fault_trials.runs import SETTINGS
from posterity.commands import calibrate, check, new, report, serosurvey

__all__ = ["COMMANDS", "PLACES", "judge"]


def _file(place: Path) -> Path:
    (place / "out").write_text("something else\n")
    return place / "out"


def _below_a_file(place: Path) -> Path:
    return _file(place) / "below" / "run"


def _dangling(place: Path) -> Path:
    (place / "out").symlink_to(place / "nowhere" / "at" / "all")
    return place / "out"


def _others(place: Path) -> Path:
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("years of work\n")
    return place / "out"


PLACES: dict[str, Callable[[Path], Path]] = {
    "a file": _file,
    "below a file": _below_a_file,
    "a dangling link": _dangling,
    "a name of 300 letters": lambda place: place / ("x" * 300),
    "a path of 5,000 letters": lambda place: place.joinpath(*["y" * 200] * 25),
    "under /proc": lambda place: Path("/proc/nowhere/run"),
    "a folder of other files": _others,
    "a full disk": lambda place: place / "out",
}
COMMANDS: dict[str, Callable[[Path, Path, Path], tuple[Callable[..., None], tuple[object, ...]]]] = {
    "calibrate": lambda study, source, out: (calibrate.main, (study, *SETTINGS, "--output", out)),
    "new": lambda study, source, out: (new.main, (out,)),
    "check": lambda study, source, out: (check.main, (source, "--output", out)),
    "serosurvey": lambda study, source, out: (
        serosurvey.main, (source, "--first", "2030-05-01", "--last", "2030-05-07", "--draws", "4", "--output", out),
    ),
    "report": lambda study, source, out: (report.main, (out,)),
}  # fmt: skip
"""Commands that write to a folder or file, or read one; `new`, `check` and `serosurvey` may write next to other files."""


@contextmanager
def _full(bytes_: int | None) -> Iterator[None]:
    """No file can grow beyond a size; None for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if bytes_ is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def judge(study: Path, source: Path, command: str, name: str, place: Path) -> Outcome | None:
    """Run a command with an output that cannot be; None where it can.

    Args:
        study: a study's folder.
        source: a finished run, of which a copy is used.
        command: one of `COMMANDS`.
        name: one of `PLACES`.
        place: an empty folder.
    """
    if name == "a folder of other files" and command in ("check", "serosurvey"):
        return None
    if name == "a full disk" and command == "report":
        return None
    copy = Path(shutil.copytree(source, place / "source"))
    output = PLACES[name](place)
    before = {p for p in place.rglob("*") if "source" not in p.parts}
    main, arguments = COMMANDS[command](study, copy, output)
    with _full(50 if name == "a full disk" else None):
        ended = run(main, *arguments)
    outcome = refusal(ended, "")
    if outcome.word == "refused" and name != "a full disk":
        left = {p for p in place.rglob("*") if "source" not in p.parts} - before
        if left:
            return Outcome("litter", ", ".join(sorted(p.name for p in left)))
    return outcome
