"""The module commands of earlier versions: the same options, the run given by --from or the study fixed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT = Path("results/nz_calibration")


def run_by_option(main: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument, the folder of a run, is the option `--from`."""
    signature = inspect.signature(main, eval_str=True)
    first, *others = signature.parameters.values()
    option = Annotated[Path, typer.Option("--from", help="Folder of the calibrated run.")]
    return _with(main, signature.replace(parameters=[first.replace(annotation=option, default=DEFAULT), *others]))


def with_fixed(main: Callable[..., None], **fixed: Any) -> Callable[..., None]:
    """A command with some arguments given."""
    signature = inspect.signature(main, eval_str=True)
    kept = [p for name, p in signature.parameters.items() if name not in fixed]
    return _with(lambda **options: main(**fixed, **options), signature.replace(parameters=kept), main.__doc__)


def _with(main: Callable[..., None], signature: inspect.Signature, text: str | None = None) -> Callable[..., None]:
    def command(**options: Any) -> None:
        main(**options)

    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    command.__doc__ = text or main.__doc__
    return command
