"""The scenarios of a study: a file `scenarios.py` beside its `study.py`, or a file of the same form."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from epi.errors import StudyError
from epi.scenarios.changed_study import ChangedStudy
from epi.scenarios.scenario import Question

Scenario = Question | ChangedStudy
"""What `scenarios.py` may hold."""

NAME = "SCENARIOS"


def load_scenarios(source: str, add: Path | None = None) -> dict[str, Scenario]:
    """Scenarios by name.

    Args:
        source: where the study is, as `epi.load_study` finds it; its scenarios lie beside it.
        add: a Python file that defines `SCENARIOS`, whose scenarios join these; those of the same name replace them.

    Raises:
        StudyError: a file is missing or cannot be run, or defines no scenarios.
    """
    found = _of_study(source)
    if add is not None:
        found |= _named(_from_file(add), str(add))
    if not found:
        raise StudyError(
            f"The study {source} has no scenarios; write {NAME} in a scenarios.py in its folder, or give a file with --add."
        )
    return found


def _of_study(source: str) -> dict[str, Scenario]:
    path = Path(source)
    if path.suffix == ".py" or path.is_dir():
        file = (path if path.is_dir() else path.parent) / "scenarios.py"
        return _named(_from_file(file), str(file)) if file.is_file() else {}
    name = source.rpartition(".")[0] + ".scenarios"
    if importlib.util.find_spec(name) is None:
        return {}
    return _named(importlib.import_module(name), name)


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise StudyError(f"There is no file {file}; name a Python file that defines {NAME}.")
    spec = importlib.util.spec_from_file_location(f"_scenarios_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise StudyError(f"{file} is not a Python file; name one that defines {NAME}.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise StudyError(f"{file} could not be run ({type(error).__name__}: {error}); correct it.") from error
    return module


def _named(module: ModuleType, where: str) -> dict[str, Scenario]:
    scenarios = getattr(module, NAME, None)
    if (
        not isinstance(scenarios, tuple | list)
        or not scenarios
        or not all(isinstance(q, Question | ChangedStudy) for q in scenarios)
    ):
        raise StudyError(f"{where} defines no scenarios; write {NAME} = (Question(...), ...).")
    return {q.name: q for q in scenarios}
