"""Ask every archetype at every grid point, once, before anything is simulated; what was answered is kept by what was asked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from behaviour._archetypes import Archetypes, BehaviourError
from behaviour._endpoint import Endpoint, EndpointError, OverBudget, Reply
from behaviour._question import Question, read
from behaviour._table import AnswerTable

__all__ = ["elicit"]


def elicit(
    archetypes: Archetypes,
    question: Question,
    models: Sequence[Endpoint],
    *,
    draws: int = 1,
    cache: Path,
    temperature: float = 1.0,
    answers_only: bool = False,
    advance: Callable[[int], None] | None = None,
) -> AnswerTable:
    """Ask a question of archetypes on its grid.

    An answer is kept in a file named by the hash of what was asked (model, address, messages, temperature, seed), and never asked for again.
    Refusals, truncated and unreadable answers and failed calls are counted as such: none of them becomes a probability.

    Args:
        archetypes: who is asked.
        question: what.
        models: whom to ask.
        draws: answers of each model for each archetype and grid point, with seeds 0, 1, ...
        cache: folder of the kept answers.
        temperature: of the draws.
        answers_only: use kept answers alone and refuse any call.
        advance: told how many answers were found.

    Returns:
        The table; its provenance has models, temperature, calls, tokens and cost.

    Raises:
        BehaviourError: `answers_only`, and an answer is not kept; or the question has a field that nobody fills.
        OverBudget: the limit of cost is reached; answers so far are kept.
    """
    question.check(archetypes)
    if draws < 1:
        raise BehaviourError(f"The question is to be asked {draws} times, expected once or more; correct it.")
    rows: list[dict[str, Any]] = []
    for model in models:
        for kind, label in zip(archetypes.each, archetypes.labels, strict=True):
            for value in question.grid:
                for draw in range(draws):
                    messages = question.messages(kind, value)
                    reply, failed = _reply(model, messages, temperature, draw, cache, answers_only)
                    status, answer = ("failed", float("nan")) if reply is None else read(reply)
                    rows.append(
                        {
                            "archetype": label,
                            "context": value,
                            "draw": draw,
                            "model": model.model,
                            "status": status,
                            "answer": answer,
                        }
                        | ({"error": failed} if failed else {})
                    )
                    if advance is not None:
                        advance(1)
    bills = [m.bill for m in models]
    provenance = {
        "made_up": False, "models": [{"model": m.model, "url": m.url} for m in models], "temperature": temperature, "draws": draws,
        "calls": sum(b.calls for b in bills), "tokens_in": sum(b.tokens_in for b in bills), "tokens_out": sum(b.tokens_out for b in bills),
        "cost": sum(b.spent for b in bills),
    }  # fmt: skip
    return AnswerTable(archetypes, question, pd.DataFrame(rows), provenance)


def _reply(
    model: Endpoint, messages: list[dict[str, Any]], temperature: float, seed: int, cache: Path, answers_only: bool
) -> tuple[Reply | None, str]:
    asked = {
        "model": model.model,
        "url": model.url,
        "messages": messages,
        "temperature": temperature,
        "seed": seed,
        "max_tokens": model.max_tokens,
    }
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    file = cache / key[:2] / f"{key}.json"
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))["reply"]
        return Reply(**{**kept, "calls": ()}), ""
    if answers_only:
        raise BehaviourError(
            f"There is no kept answer of {model.model!r} in {cache} to the question {messages[-1]['content'][:60]!r}..., and no call is "
            "allowed; "
            "ask without answers_only, or bring the kept answers."
        )
    try:
        reply = model.chat(messages, temperature=temperature, seed=seed)
    except OverBudget:
        raise
    except EndpointError as error:
        return None, str(error)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"asked": asked, "reply": asdict(reply)}, ensure_ascii=False), encoding="utf-8")
    temporary.replace(file)
    return reply, ""
