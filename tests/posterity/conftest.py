"""The finished run of the study that `posterity new` writes, and commands in this process."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from posterity._app import main
from tests.conftest import NEW_STUDY


def run(*arguments: object, cwd: str | os.PathLike[str]) -> SimpleNamespace:
    """A command in this process: exit code, what it printed, and the lines and last line of standard error."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code or 0
    lines = [line for line in err.getvalue().splitlines() if line.strip()]
    return SimpleNamespace(
        returncode=code, stdout=out.getvalue(), stderr=err.getvalue(), lines=lines, last=lines[-1] if lines else ""
    )


@pytest.fixture(scope="session")
def finished(new_study: tuple[Path, dict]) -> Path:
    """The folder of the finished run; tests copy it and leave it alone."""
    return new_study[0] / "run"


@pytest.fixture(scope="session")
def calibrate(new_study: tuple[Path, dict]) -> Callable[..., SimpleNamespace]:
    """`posterity calibrate` with the study and settings of the finished run, and more settings."""
    return lambda *arguments: run("calibrate", "my_study", *NEW_STUDY, *arguments, cwd=new_study[0])
