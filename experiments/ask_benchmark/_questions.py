"""The questions of the benchmark, and when an answer to one is right: it has the numbers that the right call of a tool gives."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epi.analyst import Answer, Result, Toolbox

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        kind: exploratory, counterfactual or prospective.
        text: as it is asked.
        tool: that answers it; `cannot` if none does.
        arguments: of the right call.
    """

    kind: str
    text: str
    tool: str
    arguments: Mapping[str, Any]

    @property
    def answerable(self) -> bool:
        """Whether the run holds an answer."""
        return self.tool != "cannot"


def questions(name: str = "questions") -> list[Question]:
    """The questions of a file beside this one."""
    with (HERE / f"{name}.toml").open("rb") as file:
        return [Question(**row) for row in tomllib.load(file)["question"]]


def right_result(box: Toolbox, question: Question) -> Result:
    """What the right call gives.

    Raises:
        ValueError: an answerable question's own call is refused: the question does not fit the run.
    """
    arguments = dict(question.arguments) if question.answerable else {"reason": "the run does not hold it"}
    result = box.call(question.tool, arguments)
    if question.answerable and result.refused:
        raise ValueError(f"The question {question.text!r} does not fit the run: {result.text}")
    return result


def judge(question: Question, answer: Answer, right: Result) -> dict[str, bool]:
    """Whether an answer used the right tool, with arguments that give the right numbers, and is right altogether.

    An unanswerable question is answered rightly by a refusal and no number of a tool.
    """
    if not question.answerable:
        fine = answer.refused and not any(r.values for r in answer.results)
        return {"tool": fine, "arguments": fine, "right": fine}
    same_tool = [r for r in answer.results if r.tool == question.tool and not r.refused]
    same = [r for r in same_tool if _numbers(r) == _numbers(right) and (r.values or r.text == right.text)]
    return {"tool": bool(same_tool), "arguments": bool(same), "right": bool(same) and not answer.refused}


def _numbers(result: Result) -> list[tuple[str, float, str]]:
    return [(v.name, v.value, v.date) for v in result.values]
