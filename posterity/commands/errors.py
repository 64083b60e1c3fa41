"""How commands end: one sentence and an exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from calib import CheckpointError, FitError, RankLost, RunFolderError, RunInterrupted, SensitivityError, WriteError
from epi.errors import PlotsFailed, StudyError

USER_ERRORS = (
    StudyError,
    RunFolderError,
    CheckpointError,
    FitError,
    WriteError,
    SensitivityError,
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAILED, WRONG_USE, INTERRUPTED = 1, 2, 3


@contextmanager
def one_sentence(console: Console) -> Iterator[None]:
    """End with a sentence and an exit code.

    1 for a finished run without its plots, 2 for wrong use or data, 3 for a run that was interrupted and can be resumed.
    """
    try:
        yield
    except USER_ERRORS as error:
        if int(os.environ.get("RANK", "0")) and not isinstance(error, RankLost):
            raise typer.Exit(WRONG_USE) from None  # the same as rank 0 says
        # one line however long, so that paths in it can be copied
        console.print(sentence(str(error)), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED if isinstance(error, PlotsFailed) else WRONG_USE) from None
    except BrokenPipeError:  # who reads what is printed has gone
        raise
    except OSError as error:
        console.print(of_system(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(WRONG_USE) from None
    except RunInterrupted as error:
        console.print(
            f"The run was {error}. Run the same command with --resume to go on from where it was.",
            style="yellow", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        raise typer.Exit(INTERRUPTED) from None


def of_system(error: OSError) -> str:
    """What a file or folder could not do, in a sentence.

    Examples:
        >>> of_system(NotADirectoryError(20, "Not a directory", "results/run"))
        'results/run cannot be used (not a directory): name another file or folder, or give the right to it.'
    """
    if error.errno is None:
        return sentence(" ".join(str(error).split()))
    what = error.filename2 or error.filename or "A file"
    why = (error.strerror or "").lower()
    advice = (
        "free space or choose another disk"
        if error.errno in FULL
        else "name another file or folder, or give the right to it"
    )
    return f"{what} cannot be used ({why}): {advice}."


def sentence(text: str) -> str:
    """A message with a capital and a full stop; a path that leads it is left as it is."""
    first = text.split(" ", 1)[0]
    text = text if "/" in first or "." in first or "_" in first else text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
