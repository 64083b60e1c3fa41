"""A headless browser for tests of pages: Debian's chromium, driven by playwright, with the accessibility rules of axe-core.

`CHROMIUM` and `AXE_CORE` name the program and axe's file. Where they are missing, tests that need them are skipped with the reason, but fail
where `BROWSER_REQUIRED` is set, as `.ci/run` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS = {"phone": (390, 844), "desk": (1280, 900)}


@contextmanager
def browser() -> Iterator[tuple[Any, str]]:
    """A browser and the text of axe-core."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    axe = os.environ.get("AXE_CORE", "")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    missing = [
        what
        for what, there in (
            ("chromium (CHROMIUM)", program),
            ("axe-core (AXE_CORE, from npm)", Path(axe).is_file()),
            ("playwright (extra docs)", sync_playwright),
        )
        if not there
    ]
    if missing:
        said = f"pages were not opened in a browser: there is no {', no '.join(missing)}"
        if os.environ.get("BROWSER_REQUIRED"):
            pytest.fail(said)
        pytest.skip(said)
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield chromium, Path(axe).read_text(encoding="utf-8")
        finally:
            chromium.close()


def faults(chromium: Any, axe: str, url: str, size: tuple[int, int]) -> list[str]:
    """What is wrong with a page at a size: overflow to the side, texts over each other, serious findings of axe-core."""
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
    found: list[str] = []
    page.on("request", lambda r: found.append(f"loads {r.url}") if r.url.startswith("http") else None)
    page.goto(url)
    width, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if width > room:
        found.append(f"is {width} px wide in a window of {room} px")
    found += page.evaluate(OVERLAPS)
    page.evaluate(axe)
    results = page.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html]))"
    )
    found += [
        f"{impact}: {rule} ({n} times): {html[:100]}"
        for impact, rule, n, html in results
        if impact in ("serious", "critical")
    ]
    page.close()
    return found


OVERLAPS = """
() => {
  const boxes = [...document.querySelectorAll('h1, h2, h3, p, li, caption, figcaption, summary, .plot')]
    .filter(e => e.checkVisibility() && !e.closest('nav') && !e.querySelector('p, li') && getComputedStyle(e).position === 'static')
    .map(e => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width > 1 && r.height > 1);
  const over = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < Math.min(boxes.length, i + 6); j++) {
    const [a, r] = boxes[i], [b, s] = boxes[j];
    if (a.contains(b) || b.contains(a)) continue;
    const w = Math.min(r.right, s.right) - Math.max(r.left, s.left), h = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
    if (w > 2 && h > 2) over.push(`overlap: ${a.textContent.trim().slice(0, 40)} | ${b.textContent.trim().slice(0, 40)}`);
  }
  return over;
}
"""
