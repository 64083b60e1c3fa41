"""Rules of the codebase that code can check: who may import whom, and that files hold one idea."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "ode": {"ode"},
    "sim": {"sim"},
    "calib": {"calib"},
    "epi": {"ode", "sim", "calib", "epi"},
    "experiments": {"ode", "sim", "calib", "epi", "experiments"},
}
FILES = [(package, path) for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
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
