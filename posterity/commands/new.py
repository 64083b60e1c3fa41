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
        with resources.as_file(resources.files(TEMPLATE)) as template:
            shutil.copytree(
                template, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__init__.py", "__pycache__")
            )
        file = folder / "study.py"
        file.write_text(
            file.read_text(encoding="utf-8").replace('name="made_up"', f'name="{folder.name}"'), encoding="utf-8"
        )
        print(f"Written to {folder}: study.py, make_tables.py and data/.")
        print(f"Try it: posterity validate {folder} && posterity calibrate {folder} --smoke")
