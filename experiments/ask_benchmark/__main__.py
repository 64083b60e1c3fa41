"""`python -m experiments.ask_benchmark --from RUN`: sixty questions, by the grammar, by a scripted right and a scripted lying model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from rich.console import Console

from behaviour import Endpoint
from calib.storage import atomic_write_csv
from epi.analyst import Answer, Result, Source, Toolbox, ask, ask_plainly
from experiments._loopback import loopback
from experiments.ask_benchmark._models import lying, right
from experiments.ask_benchmark._questions import Question, judge, questions, right_result
from posterity.commands.errors import one_sentence
from posterity.commands.usage import run as run_module

console = Console(stderr=True)


def main(
    source: Annotated[Path, typer.Option("--from", metavar="RUN", help="A finished run of the made-up study.")],
    sets: Annotated[
        str, typer.Option(help="Files of questions for the grammar, comma-separated.")
    ] = "questions,second,held_out",
    draws: Annotated[int, typer.Option(help="Posterior draws of a simulation.")] = 32,
    here: Annotated[
        bool, typer.Option("--here", help="Simulate in this process: faster, without a limit of seconds.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of the tables.")] = Path("results/ask_benchmark"),
) -> None:
    """Ask all questions in every way, and print a table."""
    with one_sentence(console):
        torch.set_num_threads(1)
        box = Toolbox(Source(source, draws=draws, apart=not here))
        asked = questions()
        answers = {q.text: right_result(box, q) for q in asked}
        rows: list[dict[str, Any]] = []
        for name in sets.split(","):
            for q in questions(name):
                known = answers.get(q.text) or right_result(box, q)
                rows.append(row_of(f"plain, {name}", q, ask_plainly(box, q.text), known, []))
        by_text, lies = {q.text: q for q in asked}, dict[str, list[str]]()
        for who, script in (("right model", right(by_text)), ("lying model", lying(by_text, lies))):
            rows += with_model(box, who, script, asked, answers, lies)
        table = pd.DataFrame(rows)
        atomic_write_csv(output / "answers.csv", table)
        summary = summarise(table)
        atomic_write_csv(output / "summary.csv", summary)
        print(summary.to_string(index=False))


def with_model(
    box: Toolbox, who: str, script: Callable[[dict[str, Any]], dict[str, Any]], asked: list[Question],
    answers: dict[str, Result], lies: dict[str, list[str]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Ask all questions of a scripted model behind a server on this machine."""
    with loopback(script) as url:
        model = Endpoint("scripted", url, key_variable="")
        rows = [row_of(who, q, ask(box, q.text, model), answers[q.text], lies.get(q.text, [])) for q in asked]
    return rows


def row_of(who: str, question: Question, answer: Answer, right: Result, lies: list[str]) -> dict[str, Any]:
    """One answer, judged; `false_shown` counts numbers that a model made up and that stand in the answer it led to."""
    struck = list(answer.checked.struck)
    shown = [n for n, _ in answer.checked.found]
    # wherever it stands in what is shown, found by the check or overlooked by it
    false_shown = [x for x in lies if re.search(rf"(?<![\d.,]){re.escape(x)}(?![\d])", answer.text)]
    return {
        "by": who, "kind": question.kind, "question": question.text, "answerable": question.answerable, **judge(question, answer, right),
        "wrong": not answer.refused and not judge(question, answer, right)["right"],
        "numbers": len(shown), "struck": len(struck), "made_up": len(lies), "false_shown": len(false_shown),
        "simulated_new": any(not r.cached and r.tool in ("scenario", "reproduction") for r in answer.results), "seconds": answer.seconds,
    }  # fmt: skip


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row a way of asking."""
    rows = []
    for who, part in table.groupby("by", sort=False):
        yes, no = part[part["answerable"]], part[~part["answerable"]]
        rows.append(
            {
                "by": who, "questions": len(part), "right tool": int(part["tool"].sum()), "right arguments": int(part["arguments"].sum()),
                "right": int(part["right"].sum()), "of answerable": f"{int(yes['right'].sum())}/{len(yes)}",
                "unanswerable refused": f"{int(no['right'].sum())}/{len(no)}", "numbers shown": int(part["numbers"].sum()),
                "made up": int(part["made_up"].sum()), "made up and shown": int(part["false_shown"].sum()), "struck": int(part["struck"].sum()),
                "median seconds": round(float(part["seconds"].median()), 3),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    run_module(main)
