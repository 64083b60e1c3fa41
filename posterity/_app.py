"""The command line: `posterity COMMAND ...`. A command's module is imported when it is asked for, so that help is quick."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from posterity._packages import claim_packages
from posterity.commands.former_options import options_of_now
from posterity.commands.usage import run_app

INTERRUPTED, BROKEN = 3, 4
"""Exit codes: ended by a signal; an installation in which another project has overwritten a package of ours."""

COMMANDS = {
    "studies": "List the studies that come with posterity.",
    "new": "Write a study of two made-up counties to a new folder: change it into yours.",
    "validate": "Check a study and its tables; nothing is simulated.",
    "calibrate": "Calibrate a study and forecast: posterior, scores, plots and report.",
    "check": "Judge a finished calibration: one page of verdicts.",
    "forecast": "Print the forecast of a run as a table.",
    "sensitivity": "Rank the parameters that drive a run's outputs.",
    "ask": "Ask a run a question in words; every number of the answer is checked.",
    "serosurvey": "Predict an antibody survey of any design, or say what it would be worth.",
    "scenario": "Ask a run what would have happened if.",
    "allocate-restrictions": "Search for the weekly restrictions that avert most, under a budget.",
    "allocate-doses": "Search for the regions and ages that should get more doses.",
    "compare": "Compare two runs of one study.",
    "report": "Make plots and report of a run anew.",
    "verify": "Compare the files of a run with their checksums.",
}


HELP = {"help_option_names": ["-h", "--help"]}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The command line for some arguments: the command that they name is imported, the others are listed.

    Raises:
        ImportError: another project's package stands in the place of one of ours.
    """
    asked = next((a for a in arguments if not a.startswith("-")), None)
    app = typer.Typer(no_args_is_help=True, context_settings=HELP, pretty_exceptions_enable=False)
    app.callback()(_main)
    for name, text in COMMANDS.items():
        app.command(name, help=text, context_settings=HELP)(_load(name) if name == asked else _listed)
    return app


def _load(name: str) -> Callable[..., None]:
    claim_packages()
    main: Callable[..., None] = importlib.import_module(f"posterity.commands.{name.replace('-', '_')}").main
    return main


def _listed() -> None:
    """Stand for a command that was not asked for."""


def _version(asked: bool) -> None:
    if asked:
        from posterity import __version__

        print(__version__)
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Calibration and sensitivity analysis for agent-based models.

    Exit codes: 0 done, 1 a check failed (--strict) or a plot, 2 wrong use or data, 3 interrupted and resumable, 4 broken installation.
    """


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM end with a sentence and exit code 3 from the first import on; a run that works has its own handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        del frame
        print(
            f"Ended by {signal.Signals(number).name}. Run the same command once more, with --resume if its folder holds a run.",
            file=sys.stderr,
        )
        raise SystemExit(INTERRUPTED)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    with _signals():
        given = options_of_now(sys.argv[1:] if arguments is None else arguments)
        try:
            app = build(given)
        except ImportError as error:
            print(error, file=sys.stderr)
            raise SystemExit(BROKEN) from None
        run_app(app, given)
