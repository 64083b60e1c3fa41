"""Options of earlier versions: replaced by the current ones, with a sentence that says so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from posterity.commands.usage import run as run_module

OPTIONS = {
    "--signals": "--streams",
    "--figures": "--data",
    "--rival": "--competitor",
    "--again": "--rerun",
    "--district": "--region",
}


def options_of_now(arguments: Sequence[str]) -> list[str]:
    """The arguments with options under their current names; what was replaced is said on standard error."""
    new = []
    for given in arguments:
        name, equals, value = given.partition("=")
        if name in OPTIONS:
            print(f"{name} is now called {OPTIONS[name]}; use that name.", file=sys.stderr)
        new.append(OPTIONS.get(name, name) + equals + value)
    return new


def run(main: Callable[..., None]) -> None:
    """Run a function as the command line of a module, options of earlier versions included."""
    sys.argv[1:] = options_of_now(sys.argv[1:])
    run_module(main)
