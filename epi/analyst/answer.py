"""An answer: its checked text, the results that it rests on, and what was struck out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epi.analyst.toolbox import Toolbox
from epi.analyst.values import Result, clean
from epi.analyst.verifier import Checked, check

__all__ = ["PLAIN", "Answer", "checked_answer", "labels_of"]

PLAIN = "plain"
"""Who answers by the grammar, without a model."""


@dataclass(frozen=True)
class Answer:
    """What is shown to the one who asked.

    Attributes:
        question: as it was asked, as one line.
        text: checked; numbers that no tool found are struck out.
        checked: what was found and what was struck out.
        results: of the tools that were called, in order.
        refused: whether no tool found anything.
        by: `PLAIN`, or the model's name.
        seconds: what it took.
    """

    question: str
    text: str
    checked: Checked
    results: tuple[Result, ...]
    refused: bool
    by: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "question": self.question, "answer": self.text, "refused": self.refused, "by": self.by, "seconds": round(self.seconds, 3),
            "verified": [{"number": n, "is": w} for n, w in self.checked.found], "struck": list(self.checked.struck),
            "results": [r.to_dict() for r in self.results],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The answer for a terminal: text, what was struck out, and where the numbers stand."""
        out = self.text.split("\n")
        if self.checked.struck:
            named = ", ".join(repr(s) for s in self.checked.struck)
            out.append(f"Struck out, since no tool result of this answer holds it: {named}.")
        if self.by != PLAIN:
            out += ["What the tools found:", *("  " + line for r in self.results for line in r.lines())]
        files = {(v.origin.file, v.origin.sha256[:12]) for r in self.results for v in r.values}
        out += [f"from {file} (sha256 {digest}...)" for file, digest in sorted(files)]
        return out


def checked_answer(
    box: Toolbox, question: str, text: str, results: Sequence[Result], by: str, seconds: float
) -> Answer:
    """Check a text against results, and make it an answer."""
    one_line = "\n".join(clean(line, 2000) for line in text.split("\n"))
    checked = check(one_line, results, labels_of(box), refusals=by == PLAIN)
    refused = all(r.refused for r in results)
    return Answer(clean(question), checked.text, checked, tuple(results), refused, by, seconds)


def labels_of(box: Toolbox) -> list[str]:
    """Names of a study that may hold digits."""
    study = box.source.study
    places = [*study.region.names, *study.region.areas, *study.ages.names]
    return [*places, *(s.name for s in study.streams), *(p.name for p in study.parameters())]
