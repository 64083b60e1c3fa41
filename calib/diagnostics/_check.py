"""One page of verdicts from whatever arrays are at hand."""

from __future__ import annotations

import html
import math
import os
from dataclasses import dataclass
from typing import Any

from calib._atomic import atomic_write_json, atomic_write_text
from calib.diagnostics._registry import DIAGNOSTICS
from calib.diagnostics._verdict import Verdict, Word

MARKS: dict[Word, str] = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "not run": "–"}
COLOURS: dict[Word, str] = {"pass": "#1c6391", "warn": "#b0791a", "fail": "#b3261e", "not run": "#8a9096"}
OTHERS = ("names", "groups", "seed", "prior_samples", "references")


@dataclass(frozen=True)
class Page:
    """Verdicts in the order to look at them.

    Attributes:
        verdicts: one a diagnostic.
        questions: what each answers, by name.
        title: of the page.
    """

    verdicts: tuple[Verdict, ...]
    questions: dict[str, str]
    title: str = "Can the posterior be believed?"

    @property
    def word(self) -> Word:
        """The worst verdict: "fail", "warn" or "pass"; "not run" if none was."""
        grades = {v.word for v in self.verdicts}
        order: tuple[Word, ...] = ("fail", "warn", "pass")
        return next((w for w in order if w in grades), "not run")

    def __getitem__(self, name: str) -> Verdict:
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        raise KeyError(f"no verdict is called {name!r}: the page has {', '.join(v.name for v in self.verdicts)}")

    def summary(self) -> str:
        """The count of verdicts, one sentence."""
        count = {w: sum(v.word == w for v in self.verdicts) for w in MARKS}
        run = len(self.verdicts) - count["not run"]
        return f"{run} checks: {count['pass']} pass, {count['warn']} warn, {count['fail']} fail; {count['not run']} not run."

    def text(self) -> str:
        """The page for a terminal."""
        lines = [self.title, self.summary(), ""]
        for v in self.verdicts:
            lines.append(f"{MARKS[v.word]:>4}  {self.questions.get(v.name, v.name)}  [{v.name}]")
            lines.append(f"      {v.text[:1].upper()}{v.text[1:]}.")
            if v.advice:
                lines.append(f"      What to do: {v.advice}.")
        return "\n".join(lines) + "\n"

    def html(self, plots: dict[str, str] | None = None) -> str:
        """One self-contained page.

        Args:
            plots: `{name: "data:image/png;base64,..."}` shown beneath the verdict of that name.
        """
        rows = []
        for v in self.verdicts:
            advice = f"<p><b>What to do:</b> {html.escape(v.advice)}.</p>" if v.advice else ""
            image = (plots or {}).get(v.name)
            picture = f'<img src="{image}" alt="{html.escape(v.name)}">' if image else ""
            rows.append(
                f'<section style="border-color:{COLOURS[v.word]}"><h2><span style="background:{COLOURS[v.word]}">{v.word}</span>'
                f"{html.escape(self.questions.get(v.name, v.name))}</h2>"
                f"<p>{html.escape(v.text[:1].upper() + v.text[1:])}.</p>{advice}{picture}"
                f"<p class=rule>{html.escape(v.name)}: {html.escape(v.threshold)}</p></section>"
            )
        return _PAGE.format(title=html.escape(self.title), summary=html.escape(self.summary()), rows="\n".join(rows))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"word": self.word, "verdicts": [v.to_dict() for v in self.verdicts]}

    def save(self, path: str | os.PathLike[str], plots: dict[str, str] | None = None) -> None:
        """Write the page, atomically: `.html`, `.json`, or text by any other suffix."""
        suffix = os.path.splitext(os.fspath(path))[1]
        if suffix == ".json":
            atomic_write_json(path, self.to_dict())
        else:
            atomic_write_text(path, self.html(plots) if suffix == ".html" else self.text())


def check(**arrays: Any) -> Page:
    """Run every diagnostic whose arrays are given, and judge.

    Args:
        **arrays: by the names of docs/diagnostics.md (`observed`, `prior_predictive`, `thetas`, `samples`, ...); with them `names`
            of the parameters, `groups` of the observed observations, and `seed`.

    Returns:
        The page; a diagnostic whose arrays are missing says so.

    Raises:
        ValueError: an array of another name was given, or one does not fit the others.
    """
    known = {name for d in DIAGNOSTICS for name in d.needs} | set(OTHERS)
    unknown = sorted(set(arrays) - known)
    if unknown:
        raise ValueError(f"{unknown[0]!r} was given to check; it knows {', '.join(sorted(known))}.")
    given = {name: value for name, value in arrays.items() if value is not None}
    verdicts = []
    for d in DIAGNOSTICS:
        missing = [name for name in d.needs if name not in given]
        if missing:
            verdicts.append(not_run(d.name, f"it needs {', '.join(missing)}"))
        else:
            arguments = {name: given[name] for name in (*d.needs, *d.takes) if name in given}
            verdicts.append(d.judge(d.compute(**arguments)))
    return Page(tuple(verdicts), {d.name: d.question for d in DIAGNOSTICS})


def not_run(name: str, why: str) -> Verdict:
    """A verdict that says why there is none."""
    return Verdict(name, "not run", math.nan, "", f"not run: {why}")


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
body {{ margin: 0 auto; max-width: 860px; padding: 2rem 1.4rem 4rem; color: #22262a; background: #fff;
  font: 16px/1.5 -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
h1 {{ font-size: 1.7rem; margin: 0 0 .3rem; }}
h2 {{ font-size: 1.05rem; margin: 0 0 .3rem; }}
h2 span {{ color: #fff; border-radius: 3px; padding: .05rem .5rem; margin-right: .6rem; font-size: .85rem; }}
section {{ border-left: 4px solid; padding: .5rem 1rem; margin: 1rem 0; }}
p {{ margin: .25rem 0; }}
img {{ width: 100%; height: auto; margin-top: .4rem; }}
.rule {{ color: #5d646b; font-size: .82rem; }}
</style></head><body>
<h1>{title}</h1><p>{summary}</p>
{rows}
</body></html>
"""
