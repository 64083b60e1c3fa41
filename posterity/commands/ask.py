"""`posterity ask --from RUN "..."`: a question in words, answered by the run's files and simulations alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from behaviour import Bill, Endpoint, EndpointError
from epi import StudyError
from epi.analyst import Answer, Source, Toolbox, ask, ask_plainly
from posterity.commands.errors import one_sentence

REFUSED = 1


def main(
    question: Annotated[str, typer.Argument(help="A question about the run, in one sentence.")],
    source: Annotated[Path, typer.Option("--from", metavar="RUN", help="Folder of a finished calibration.")],
    plain: Annotated[
        bool, typer.Option("--plain", help="By a grammar of outputs, places, ages, interventions and dates; no model.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Name of a model at an OpenAI-compatible address.")] = None,
    url: Annotated[str | None, typer.Option(help="Its address, such as http://127.0.0.1:8080/v1.")] = None,
    key: Annotated[str, typer.Option(help="Environment variable that holds its key.")] = "OPENAI_API_KEY",
    limit: Annotated[float, typer.Option(help="Largest cost of the question, in the currency of the prices.")] = 1.0,
    prices: Annotated[
        str, typer.Option(help="Price of a million tokens in and out, as 0.5,1.5; 0,0 for a local model.")
    ] = "0,0",
    draws: Annotated[int, typer.Option(help="Posterior draws of a simulation.")] = 32,
    scale: Annotated[
        float | None, typer.Option(help="Agents per person of simulations; default the run's own.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of one simulation.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer with its results as JSON.")] = False,
) -> None:
    """Ask a run a question. Every number of the answer stands in a tool's result, or is struck out.

    Exit codes: 0 answered, 1 refused, 2 wrong use.
    """
    console = Console(stderr=True)
    with one_sentence(console):
        if plain == (model is not None):
            raise StudyError("Give either --plain or --model with the name of a model.")
        torch.set_num_threads(1)
        box = Toolbox(Source(source, seconds, draws, scale, _progress(console)))
        box.source.files.finished()  # a run that cannot answer is refused before anything is asked
        if model is None:
            answer = ask_plainly(box, question)
        else:
            bill = Bill(limit, *_prices(prices))
            try:
                answer = ask(box, question, Endpoint(model, url, key, bill=bill))
            except EndpointError as error:
                raise StudyError(str(error)) from error
    _show(answer, as_json)
    if answer.refused:
        raise typer.Exit(REFUSED)


def _show(answer: Answer, as_json: bool) -> None:
    print(json.dumps(answer.to_dict(), indent=1) if as_json else "\n".join(answer.lines()))


def _prices(text: str) -> tuple[float, float]:
    try:
        first, second = (float(x) for x in text.split(","))
    except ValueError as error:
        raise StudyError(f"The prices are {text!r}, expected two numbers such as 0.5,1.5; correct them.") from error
    return first, second


def _progress(console: Console) -> Callable[[int, int], None]:
    def say(done: int, total: int) -> None:
        if console.is_terminal:
            console.print(f"{done} of {total} simulations", end="\r", highlight=False)

    return say
