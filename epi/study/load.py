"""Finding a study again by its name: a module that holds `study`, or the path of a study file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from epi.errors import StudyError
from epi.study.study import Study

__all__ = ["load_study"]


@lru_cache(maxsize=16)
def load_study(source: str) -> Study:
    """The study of a module such as `"my_package.study"`, of a file `study.py`, or of a folder that holds one.

    Args:
        source: the module or path.

    Raises:
        StudyError: there is no such module or file, or it defines no `study`.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "study.py"
    if path.suffix == ".py":
        if not path.is_file():
            raise StudyError(f"There is no study file {path}; name a file that defines `study = epi.Study(...)`.")
        name = f"_study_{path.resolve().parent.name}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise StudyError(f"{path} cannot be read as a Python file; name a file that defines `study`.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise StudyError(f"There is no study {source!r}; name a study file, its folder, or its module.") from error
    found = getattr(module, "study", None)
    if not isinstance(found, Study):
        raise StudyError(f"{source} defines no `study`; add `study = epi.Study(...)` to it.")
    return found
