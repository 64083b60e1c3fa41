"""How a command is run: wrong use ends in one sentence and exit code 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

ABORTED = 1


def run_app(app: Callable[..., Any], arguments: Sequence[str] | None = None) -> None:
    """Run a command line.

    Args:
        app: of typer.
        arguments: of the command; those of the process if None.

    Raises:
        SystemExit: always.
    """
    try:
        code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except typer.Abort:
        print("Aborted.", file=sys.stderr)
        raise SystemExit(ABORTED) from None
    except Exception as error:
        # typer carries its own copy of click since 0.20, so that the class of its errors depends on the version
        if not hasattr(error, "format_message"):
            raise
        print(_sentence(error), file=sys.stderr)
        raise SystemExit(getattr(error, "exit_code", 1)) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def run(main: Callable[..., None]) -> None:
    """Run a function as the command of a module, as `typer.run` does."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(main)
    run_app(app)


def _sentence(error: Any) -> str:
    """What is wrong and where the options are listed; the help itself where no command was named."""
    text: str = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        return text
    text = re.sub(r"\s+", " ", text).strip().rstrip(".").replace(". ", ", ")
    context = getattr(error, "ctx", None)
    where = "" if context is None else f"; '{context.command_path} --help' lists what it takes"
    return f"{text}{where}."
