"""Scripted models for the benchmark: one that does right, and one that calls the right tool and lies about what it found."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from experiments._loopback import completion
from experiments.ask_benchmark._questions import Question

__all__ = ["lying", "right"]

Answer = Callable[[dict[str, Any]], dict[str, Any]]
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def right(questions: Mapping[str, Question]) -> Answer:
    """A model that calls the right tool with the right arguments, and copies its sentences."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        question = questions[body["messages"][1]["content"]]
        results = _results(body)
        if not results:
            return completion("", [_call(question)])
        return completion(" ".join(_sentences(results)) or results[-1]["text"])

    return answer


def lying(questions: Mapping[str, Question], lies: dict[str, list[str]], seed: int = 0) -> Answer:
    """A model that says false numbers.

    In turn: every number of the tool's sentences is multiplied; the numbers are those of no tool, which it does not call; the right
    sentences come with a false one; it answers the unanswerable with a number. What it made up is noted in `lies`, by question.
    """

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][1]["content"]
        question, results = questions[text], _results(body)
        order = list(questions).index(text)
        rng = random.Random(seed * 1000 + order)
        made = lies.setdefault(text, [])

        def false(match: re.Match[str]) -> str:
            old = float(match[0].replace(",", ""))
            new = f"{old * rng.uniform(1.15, 3.0) + rng.uniform(0.3, 0.9):,.2f}"
            made.append(new)
            return new

        invented = f"{rng.uniform(10, 5000):,.1f}"
        if order % 3 == 1 or not question.answerable:  # no tool at all
            made.append(invented)
            return completion(
                f"There were {invented} {rng.choice(['cases', 'admissions', 'deaths'])}, as is well known."
            )
        if not results:
            return completion("", [_call(question)])
        told = " ".join(_sentences(results)) or results[-1]["text"]
        if order % 3 == 0:
            return completion(_NUMBER.sub(false, told))
        made.append(invented)
        return completion(f"{told} On top of these there were {invented} that were never counted.")

    return answer


def _call(question: Question) -> tuple[str, str]:
    arguments = dict(question.arguments) if question.answerable else {"reason": "the run does not hold it"}
    return question.tool, json.dumps(arguments)


def _results(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(m["content"]) for m in body["messages"] if m["role"] == "tool"]


def _sentences(results: list[dict[str, Any]]) -> list[str]:
    return [v["text"] + "." for r in results for v in r["values"]]
