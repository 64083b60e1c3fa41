"""`posterity new FOLDER`: a commented study file and small made-up tables to start from."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from epi import StudyError
from posterity.commands.errors import one_sentence

TEMPLATE = "posterity.template"


def main(folder: Annotated[Path, typer.Argument(help="Folder to make; its name becomes the study's.")]) -> None:
    """Write a study of two made-up counties to a new folder: change it into yours."""
    console = Console(stderr=True)
    with one_sentence(console):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder} exists and is not empty; name a new folder.")
        if not folder.name.isidentifier():
            raise StudyError(f"{folder.name!r} cannot name a study; use letters, digits and underscores.")
        there = folder.is_dir()
        try:
            _write(folder)
        except OSError:
            if not there:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        print(f"Written to {folder}: study.py, make_tables.py and data/.")
        print(f"Try it: posterity validate {folder} && posterity calibrate {folder} --smoke")


def _write(folder: Path) -> None:
    with resources.as_file(resources.files(TEMPLATE)) as template:
        for source in sorted(
            p for p in template.rglob("*") if p.is_file() and p.name != "__init__.py" and p.suffix != ".pyc"
        ):
            target = folder / source.relative_to(template)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    file = folder / "study.py"
    file.write_text(
        file.read_text(encoding="utf-8").replace('name="made_up"', f'name="{folder.name}"'), encoding="utf-8"
    )
