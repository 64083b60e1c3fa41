"""Write `docs/reference/command_line.md` from the commands themselves: `python scripts/command_reference.py`."""

from __future__ import annotations

import importlib
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from posterity._app import COMMANDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "command_line.md"
HEAD = """# Command line

Written by `python scripts/command_reference.py`; a test compares this page with the commands. `posterity COMMAND --help` prints the same.
STUDY is the name of a shipped study or a folder that holds a `study.py`. RUN is the folder of a finished calibration.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | a check failed (`--strict`), or files changed (`verify`) |
| 2 | wrong use or data; one sentence says what was found and what to do |
| 3 | interrupted; the same command with `--resume` continues |
| 4 | broken installation: another package overwrote one of ours |

`posterity --install-completion` makes the shell complete commands and options.
"""


def page() -> str:
    """The page, as text."""
    return "\n".join([HEAD, *(section(name, text) for name, text in COMMANDS.items())])


def section(name: str, text: str) -> str:
    """One command: how it is called, arguments and options."""
    main = importlib.import_module(f"posterity.commands.{name.replace('-', '_')}").main
    hints = typing.get_type_hints(main, include_extras=True)
    found = [(p, *_parts(hints[p.name])) for p in inspect.signature(main).parameters.values()]
    arguments = [x for x in found if isinstance(x[2], ArgumentInfo)]
    options = [x for x in found if isinstance(x[2], OptionInfo)]
    names = [p.name.upper() + ("..." if get_origin(kind) is list else "") for p, kind, _ in arguments]
    call = " ".join(["posterity", name, *names, *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{shown}`", info.help or "") for shown, (_, _, info) in zip(names, arguments, strict=True)]
    rows += [(_flags(p.name, kind, info), _help(p.default, info)) for p, kind, info in options if not info.hidden]
    table = (
        ["| argument or option | meaning |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows), ""] if rows else []
    )
    return "\n".join([f"## {name}", "", text, "", f"    {call}", "", *table])


def _parts(hint: Any) -> tuple[Any, Any]:
    """The type of a parameter without None, and what typer is told of it."""
    kind, *told = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(x for x in get_args(kind) if x is not type(None))
    return kind, next((x for x in told if isinstance(x, OptionInfo | ArgumentInfo)), None)


def _flags(name: str, kind: Any, info: OptionInfo) -> str:
    first = (
        [info.default] if str(info.default).startswith("-") else []
    )  # where typer keeps the first flag of an Annotated option
    declared = [*first, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"]
    of_list = get_args(kind)[0] if get_origin(kind) is list else kind
    value = "" if kind is bool else f" {getattr(of_list, '__name__', 'text').replace('str', 'text').upper()}"
    return ", ".join(f"`{flag}`" for flag in declared) + value + (" (repeat)" if get_origin(kind) is list else "")


def _help(default: Any, info: OptionInfo) -> str:
    text = re.sub(r"(\S*\[\S*)", r"`\1`", str(info.help or "").replace("|", "\\|"))
    shown = default not in (None, False, True, (), []) and "default" not in text.lower()
    return text + (f" Default: `{default}`." if shown else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
