"""Rules of the codebase that code can check: who may import whom, and that files hold one idea."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "ode": {"ode"},
    "behaviour": {"behaviour"},
    "sim": {"sim"},
    "calib": {"calib"},
    "protocols": {"sim", "calib", "protocols"},
    "epi": {"ode", "behaviour", "sim", "calib", "epi"},
    "posterity": {"ode", "behaviour", "sim", "calib", "protocols", "epi", "posterity"},
    "experiments": {"ode", "behaviour", "sim", "calib", "protocols", "epi", "posterity", "experiments"},
}
FILES = [(package, path) for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(
    ("package", "path"), FILES, ids=lambda x: x if isinstance(x, str) else str(x.relative_to(ROOT))
)
def test_packages_import_in_one_direction(package, path):
    assert imported(path) & set(ALLOWED) <= ALLOWED[package]


@pytest.mark.parametrize("path", [p for _, p in FILES], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_are_typed(package):
    assert (ROOT / package / "py.typed").exists()


EPI = [p for package, p in FILES if package == "epi"]
ORDER = [
    "errors",
    "device",
    "study",
    "data",
    "population",
    "model",
    "inference",
    "outputs",
    "reporting",
    "scenarios",
    "sensitivity",
    "analyst",
    "calibration",
]
"""Parts of `epi` in the order in which they import; reporting and scenarios do not import one another."""


@pytest.mark.parametrize("path", EPI, ids=lambda p: str(p.relative_to(ROOT)))
def test_epi_imports_in_its_order(path):
    own = path.relative_to(ROOT / "epi").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("epi."):
            other = node.module.split(".")[1]
            assert ORDER.index(other) <= ORDER.index(own), f"{path} imports {node.module}"


TEMPLATES = sorted((ROOT / "epi").rglob("*.j2"))


@pytest.mark.parametrize("path", [*EPI, *TEMPLATES], ids=lambda p: str(p.relative_to(ROOT)))
def test_epi_names_no_region_date_or_variant(path):
    """Facts are values of a study: no district, area, country, variant or date of New Zealand's stands in the machinery."""
    from experiments.nz_calibration.study import study

    text = path.read_text()
    names = [*study.region.names, *study.region.areas, study.country, "Omicron", "BA.1", "BA.2", "BA.5", "COVID"]
    # a district may have the name of a word or of an author
    found = [name for name in names if name in text and name not in ("Southern", "Lakes", "Wellington")]
    assert not found
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "date":
            assert not any(isinstance(a, ast.Constant) for a in node.args), f"{path}:{node.lineno} holds a date"


AXIS_FREE = (
    "study/region.py", "study/study.py", "study/printed_names.py", "outputs/former_names.py", "analyst/vocabulary.py",
)  # fmt: skip
"""Files whose documentation says what an axis of regions may be called, that read files of earlier versions, or list ordinary English words."""


@pytest.mark.parametrize("path", [*EPI, *TEMPLATES], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_study_names_its_regions(path):
    """A dimension of regions is `study.region.axis`: none is called in the machinery."""
    if path.relative_to(ROOT / "epi").as_posix() not in AXIS_FREE:
        assert not re.search(r"district|\bcounty\b|\bcounties\b", path.read_text(), re.IGNORECASE)


COMMANDS = sorted((ROOT / "posterity" / "commands").glob("*.py"))


@pytest.mark.parametrize("path", [*EPI, *COMMANDS], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_date_is_a_value(path):
    """Days come from the calendar of a study; examples in docstrings may show one."""
    tree = parsed(path)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    dates = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant)
        and isinstance(n.value, str)
        and id(n) not in texts
        and re.search(r"\b(19|20)\d\d-\d\d-\d\d\b", n.value)
    ]
    assert not dates


def private_imports(path: Path) -> list[str]:
    """Imports of another package's private modules."""
    own, found = path.relative_to(ROOT).parts[0], []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            package, *rest = node.module.split(".")
            if package in ALLOWED and package != own and any(part.startswith("_") for part in rest):
                found.append(node.module)
    return found


@pytest.mark.parametrize(
    ("package", "path"), FILES, ids=lambda x: x if isinstance(x, str) else str(x.relative_to(ROOT))
)
def test_packages_are_used_through_their_faces(package, path):
    assert not private_imports(path)
