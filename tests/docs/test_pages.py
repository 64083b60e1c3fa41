"""The documents: sentences that can be read, every public name in the reference, the commands as they are, and a site that builds."""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posterity._app import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    p
    for p in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
    if "api" not in p.parts and p.parent.name != "tutorials"
] + [DOCS / "tutorials" / "index.md"]
SCRIPTS = sorted((DOCS / "tutorials").glob("[0-9]*.py"))
MEAN, LONGEST = 22, 45


def paragraphs(text):
    """Prose: code, tables, headings and directives are left out; each item of a list is a paragraph."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found, now = [], []
    for line in [*text.splitlines(), ""]:
        item = re.match(r"\s*(?:[*+-]|\d+\.)\s+(.*)", line)
        skipped = not line.strip() or line.startswith(("    ", "|", "#", ":::", "!"))
        if skipped or item:
            found.append(" ".join(now))
            now = [item[1]] if item and not skipped else []
        else:
            now.append(line.strip())
    return [p for p in found if p]


def sentences(text):
    """Sentences with their numbers of words; inline code is one word."""
    for paragraph in paragraphs(text):
        p = re.sub(r"`[^`]*`", "code", paragraph)
        p = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", p).replace("*", "")
        p = re.sub(r"\b(e\.g|i\.e|al|vs|Fig)\.", r"\1", p)
        for s in re.split(r"(?<=[.!?])\)?\s+(?=[A-Za-z0-9\"'(\[])", p):
            count = len(re.findall(r"[A-Za-z0-9][\w'’.,%-]*", s))
            if count >= 3:
                yield count, s


def prose_of(path):
    """A page, or the markdown cells of a tutorial."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    return "\n".join(
        re.sub(r"^# ?", "", c.partition("\n")[2], flags=re.MULTILINE) for c in cells if c.startswith(" [markdown]")
    )


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda p: str(p.relative_to(ROOT)))
def test_sentences_can_be_read(path):
    found = list(sentences(prose_of(path)))
    too_long = [f"{n} words: {s}" for n, s in found if n > LONGEST]
    assert not too_long, "\n".join(too_long)
    if len(found) >= 10:
        assert sum(n for n, _ in found) / len(found) < MEAN


def test_long_sentences_are_found():
    text = "One two three. " + "word " * 50 + ".\n\n| a table | is | not prose |\n"
    assert [n for n, _ in sentences(text)] == [3, 50]


def test_guides_hold_no_laboratory_notes():
    """Dates, commits and load averages of measurements stand in docs/benchmarks/."""
    noted = re.compile(r"commit [0-9a-f]{7}|load average|of a version before|[Mm]easured on (?:the )?\d")
    for path in PAGES:
        if "benchmarks" not in path.parts:
            assert not noted.findall(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "name", ["calib", "calib.multifidelity", "calib.diagnostics", "calib.plotting", "epi", "epi.model", "ode", "sim"]
)
def test_every_public_name_is_in_the_reference(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None) or [
        n for n, x in vars(module).items() if not n.startswith("_") and not isinstance(x, type(importlib))
    ]
    listed = set(
        re.findall(
            r"^::: (\S+)$", "\n".join(p.read_text() for p in (DOCS / "reference" / "api").glob("*.md")), re.MULTILINE
        )
    )
    ignored = {"compiled_inner", "ROUNDS_FILE", "WARM_START_FILE", "annotations"}
    assert {f"{name}.{n}" for n in names if n not in ignored} <= listed


def test_the_command_reference_is_that_of_the_commands():
    """`python scripts/command_reference.py` writes it."""
    spec = importlib.util.spec_from_file_location("command_reference", ROOT / "scripts" / "command_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()


def named_commands():
    """`(page, kind, name)` of each `python -m X`, and of each `posterity Y` in code, of the pages and tutorials."""
    for path in sorted({*PAGES, *(DOCS / "tutorials").glob("*.md")}):
        text, page = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        yield from ((page, "module", name) for name in re.findall(r"python3? -m ((?:\w+\.)*\w+)", text))
        code = re.findall(r"`([^`\n]+)`|^ {4}(.+)$", text, re.MULTILINE)
        for line in (a or b for a, b in code):
            found = re.findall(r"(?:^|&& )posterity ([a-z][a-z-]*)", line.strip())
            yield from ((page, "command", name) for name in found)


def resolves(kind, name):
    if kind == "command":
        return name in COMMANDS
    folder = ROOT / name.replace(".", "/")
    if (ROOT / name.partition(".")[0]).is_dir():  # ours: a module, or a package that can be run; nothing is imported
        return folder.with_suffix(".py").is_file() or (folder / "__main__.py").is_file()
    return importlib.util.find_spec(name) is not None


def test_every_command_of_the_pages_exists():
    found = list(named_commands())
    assert {"calibrate", "check", "ask"} <= {name for _, kind, name in found if kind == "command"}
    assert {"experiments.coverage", "posterity.mcp"} <= {name for _, kind, name in found if kind == "module"}
    assert not [row for row in found if not resolves(*row[1:])]


@pytest.mark.parametrize(
    ("kind", "name"), [("command", "calibrates"), ("module", "experiments.no_such"), ("module", "no_such_package")]
)
def test_a_command_that_does_not_exist_is_found(kind, name):
    assert not resolves(kind, name)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "reference" / "api" / "calib.html").stat().st_size > 100_000
    shutil.rmtree(tmp_path)
