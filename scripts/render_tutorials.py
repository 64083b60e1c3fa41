"""Run the tutorials and write them as pages with their output and plots: `python scripts/render_tutorials.py [NAME ...]`.

Each `docs/tutorials/NAME.py` (percent format) becomes `docs/tutorials/NAME.md` and `NAME_files/*.png`. The pages are kept in the repository,
so that the site is built in seconds; `tests/docs/test_tutorials.py` compares their code with the scripts. Needs the extra `docs`.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
SETUP = (
    "import warnings\nwarnings.simplefilter('ignore')\n"
    "%config InlineBackend.figure_formats = ['png']\n%config InlineBackend.rc = {'figure.dpi': 90}"
)
FIGURE = re.compile(r"^# Figure: ((?:.*\n# )*.*)\n", re.MULTILINE)


def main(names: list[str]) -> None:
    """Render the tutorials named, or all."""
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    os.environ.pop("MPLBACKEND", None)
    for name in names or sorted(p.stem for p in TUTORIALS.glob("[0-9]*.py")):
        render(name)
        print(f"docs/tutorials/{name}.md")


def render(name: str) -> None:
    """Run one tutorial and write its page."""
    book = jupytext.read(TUTORIALS / f"{name}.py")
    alts = [" ".join(text.split("\n# ")) for cell in book.cells for text in FIGURE.findall(cell.source + "\n")]
    book.cells.insert(0, NotebookNode(cell_type="code", source=SETUP, metadata={}, outputs=[], execution_count=None))
    NotebookClient(book, timeout=1800, kernel_name="python3", resources={"metadata": {"path": TUTORIALS}}).execute()
    del book.cells[0]
    for cell in book.cells:
        cell.source = FIGURE.sub("", cell.source)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.name == "stdout"]
    text, extra = MarkdownExporter().from_notebook_node(book, {"output_files_dir": f"{name}_files", "unique_key": name})
    for alt in alts:
        text = text.replace("![png]", f"![{alt}]", 1)
    folder = TUTORIALS / f"{name}_files"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for file, content in extra["outputs"].items():
        (TUTORIALS / file).write_bytes(content)
    note = f"*This page is the output of [`{name}.py`]({name}.py), which runs by itself: `python docs/tutorials/{name}.py`.*"
    head, _, rest = text.strip().partition("\n")
    (TUTORIALS / f"{name}.md").write_text(_wrapped(f"{head}\n\n{note}\n{rest}\n"), encoding="utf-8")


def _wrapped(text: str) -> str:
    """Long lines of printed output are broken, so that pages need no scrolling."""
    lines = []
    for line in text.splitlines():
        if line.startswith("    ") and len(line) > 110:
            lines += textwrap.wrap(line, 110, initial_indent="", subsequent_indent="    ", drop_whitespace=False)
        else:
            lines.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
