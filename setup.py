"""The package's long description: README.md, whose links into the repository lead nowhere outside it.

Links become absolute if `pyproject.toml` names the repository (`[project.urls] Source`), else plain text; images without an address are
left out. All else is in `pyproject.toml`.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)]+)\)")


def long_description() -> str:
    """README.md as it reads outside the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project.get("urls", {}).get("Source", "").rstrip("/")

    def outside(link: re.Match[str]) -> str:
        image, text, target = link.groups()
        if source:
            return f"{image}[{text}]({source}/{'raw' if image else 'blob'}/main/{target})"
        return "" if image else text

    return LINK.sub(outside, (ROOT / "README.md").read_text(encoding="utf-8"))


setup(long_description=long_description(), long_description_content_type="text/markdown")
