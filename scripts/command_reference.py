"""Write `docs/reference/command_line.md` from the commands themselves: `python scripts/command_reference.py`."""

from __future__ import annotations

from pathlib import Path

import click
from typer.main import get_command

from posterity._app import COMMANDS, build

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
    parts = [HEAD]
    for name, text in COMMANDS.items():
        group = get_command(build([name]))
        assert isinstance(group, click.Group) or hasattr(group, "commands")
        parts.append(section(name, text, group.commands[name]))
    return "\n".join(parts)


def section(name: str, text: str, command: click.Command) -> str:
    """One command: how it is called, arguments and options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    call = " ".join(["posterity", name, *(_argument(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## {name}", "", text, "", f"    {call}", ""]
    rows = [(f"`{_argument(a)}`", _help(a)) for a in arguments]
    rows += [(", ".join(f"`{flag}`" for flag in [*o.opts, *o.secondary_opts]) + _type(o), _help(o)) for o in options]
    if rows:
        lines += ["| argument or option | meaning |", "| --- | --- |", *(f"| {left} | {right} |" for left, right in rows), ""]
    return "\n".join(lines)


def _argument(parameter: click.Parameter) -> str:
    name = parameter.name.upper() if parameter.name else ""
    return name + ("..." if parameter.nargs != 1 or getattr(parameter, "multiple", False) else "")


def _type(option: click.Parameter) -> str:
    return "" if getattr(option, "is_flag", False) else f" {option.make_metavar(click.Context(click.Command('posterity')))}"


def _help(parameter: click.Parameter) -> str:
    text = str(getattr(parameter, "help", "") or "").replace("|", "\\|")
    default = parameter.default
    plain = default not in (None, False, (), []) and not callable(default) and "default" not in text.lower()
    return text + (f" Default: `{default}`." if plain and not getattr(parameter, "is_flag", False) else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
