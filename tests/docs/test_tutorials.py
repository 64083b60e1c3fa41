"""Tutorials run and end in a checked number; their pages hold the code that runs."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"
NAMES = sorted(p.stem for p in FOLDER.glob("[0-9]*.py"))
QUICK = {"09_sensitivity"}
"""Seconds each; the others are in the slow run."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES], ids=lambda n: n
)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_a_tutorial_runs_and_its_numbers_hold(name, monkeypatch):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.syspath_prepend(str(FOLDER))
    torch.set_default_dtype(torch.float32)  # a reader's, where the tests have double precision
    try:
        with torch.random.fork_rng():
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    finally:
        plt.close("all")


def test_there_are_twelve():
    assert [int(name[:2]) for name in NAMES] == list(range(1, 13))
    listed = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in listed for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_ends_in_a_check(name):
    last = (FOLDER / f"{name}.py").read_text(encoding="utf-8").split("# %%")
    assert any("assert " in cell for cell in last[-3:])


@pytest.mark.parametrize("name", NAMES)
def test_the_page_holds_the_code_that_runs(name):
    """`python scripts/render_tutorials.py NAME` writes the page."""
    page = plain((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    script = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        else:
            body = re.sub(r"^# Figure: (?:.*\n# )*.*\n", "", body, flags=re.MULTILINE)
        for part in body.split("\n\n"):
            assert plain(part) in page, f"the page of {name} is of another version: {part[:200]}"
    images = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    assert images
    assert all((FOLDER / file).is_file() and len(alt) > 30 for alt, file in images)


def plain(text):
    """Text without white space."""
    return re.sub(r"\s+", "", text)
