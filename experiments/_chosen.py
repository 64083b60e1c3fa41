"""Names of models as a command line gives them."""

from __future__ import annotations

from collections.abc import Collection

import typer
from rich.console import Console


def chosen(text: str, known: Collection[str], console: Console) -> tuple[str, ...]:
    """Models of a comma-separated list.

    Raises:
        typer.Exit: with code 2, after a sentence on the console, if a name is not known.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            console.print(f"There is no model {name!r}; choose among {', '.join(known)}.")
            raise typer.Exit(2)
    return names
