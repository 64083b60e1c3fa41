"""The tools by name, with checked arguments: what a grammar, a model or a server may call, and nothing else."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from epi.analyst import glossary as terms
from epi.analyst import read_epidemic, read_run, simulated
from epi.analyst.source import Source, nearest
from epi.analyst.values import Result, clean

__all__ = ["TOOLS", "Tool", "Toolbox"]

LONGEST_ANSWER = 60
"""Values of one result that are given back."""


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: of the tool.
        run: from a source and arguments to a result.
        simulates: whether it may take long.
    """

    name: str
    run: Callable[..., Result]
    simulates: bool = False

    @property
    def description(self) -> str:
        """What it does, for a model."""
        return inspect.getdoc(self.run) or ""

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """Its arguments as a model that forbids others."""
        fields: dict[str, Any] = {}
        for p in list(inspect.signature(self.run, eval_str=True).parameters.values())[1:]:
            fields[p.name] = (p.annotation, ... if p.default is inspect.Parameter.empty else p.default)
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        return self.arguments.model_json_schema()


TOOLS: dict[str, Tool] = {
    t.name: t
    for t in (
        Tool("summary", read_run.summary),
        Tool("verdicts", read_run.verdicts),
        Tool("posterior", read_run.posterior),
        Tool("observed", read_epidemic.observed),
        Tool("forecast", read_epidemic.forecast),
        Tool("derived", read_epidemic.derived),
        Tool("scores", read_run.scores),
        Tool("sensitivity", read_run.sensitivity),
        Tool("streams", read_run.streams),
        Tool("reproduction", simulated.reproduction, simulates=True),
        Tool("scenario", simulated.scenario, simulates=True),
        Tool("allocate", simulated.allocate, simulates=True),
        Tool("figure", read_run.figure),
        Tool("glossary", terms.glossary),
        Tool("cannot", terms.cannot),
    )
}


@dataclass(frozen=True, eq=False)
class Toolbox:
    """The tools over one run.

    Attributes:
        source: the run.
    """

    source: Source

    def call(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Call a tool. Whatever it is given, it ends in a result: a refusal where there is no answer or the arguments are wrong.

        Args:
            name: of the tool.
            arguments: by name.
        """
        begun = time.monotonic()
        tool = TOOLS.get(name)
        if tool is None:
            return _refusal(
                clean(str(name), 40),
                f"There is no tool {clean(str(name), 40)!r}{nearest(str(name), TOOLS)}; there are {', '.join(TOOLS)}.",
            )
        try:
            given = tool.arguments.model_validate(dict(arguments))
            result = tool.run(self.source, **{k: getattr(given, k) for k in tool.arguments.model_fields})
        except ValidationError as error:
            first = error.errors()[0]
            where = clean(".".join(map(str, first["loc"])), 60)
            return _refusal(name, f"The argument {where!r} of {name} cannot be used: {clean(str(first['msg']), 160)}.")
        except (
            ValueError,
            FileNotFoundError,
        ) as error:  # StudyError, RunFolderError and those of diagnostics are of these kinds
            return _refusal(name, clean(str(error), 800))
        if len(result.values) > LONGEST_ANSWER:
            note = (
                f"Only the first {LONGEST_ANSWER} of {len(result.values)} numbers are given; ask for a place or a week."
            )
            result = replace(result, values=result.values[:LONGEST_ANSWER], notes=(*result.notes, note))
        return replace(result, seconds=time.monotonic() - begun)


def _refusal(tool: str, text: str) -> Result:
    return Result(tool, {}, (), text, refused=True)
