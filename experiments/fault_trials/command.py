"""Commands in this process, as a trial sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import typer
from typer.testing import CliRunner

from experiments.fault_trials.outcome import Outcome

__all__ = ["Ended", "refusal", "run"]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code. out, err: what it printed. error: what it raised, if anything.
    """

    code: int
    out: str
    err: str
    error: str = ""


def run(main: Callable[..., None], *arguments: object) -> Ended:
    """A command by its main function and arguments."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    raised = found.exception
    error = "" if raised is None or isinstance(raised, SystemExit) else f"{type(raised).__name__}: {raised}"
    return Ended(found.exit_code, found.stdout, found.stderr, error)


def refusal(ended: Ended, wanted: str) -> Outcome:
    """Judge a command that met a fault.

    Args:
        ended: how it ended.
        wanted: what it prints without the fault; a fault that changes nothing that the command reads is none.
    """
    said = ended.err.strip()
    if ended.error or "Traceback" in said:
        return Outcome("traceback", ended.error or said.splitlines()[-1])
    if ended.code == 0:
        return Outcome("accepted rightly" if ended.out == wanted else "accepted wrongly", "printed other numbers")
    if ended.code != 2 or len(said.splitlines()) != 1:
        return Outcome("traceback", f"exit code {ended.code}, {len(said.splitlines())} lines: {said[:200]}")
    return Outcome("refused", said)
