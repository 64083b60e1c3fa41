"""The benchmark of questions counts what it should: right and lying models, and an unanswerable question."""

import pytest

from epi.analyst import Origin, Result, Value, check
from epi.analyst.answer import Answer
from experiments.ask_benchmark.__main__ import row_of, summarise
from experiments.ask_benchmark._questions import Question, judge, questions

AT = Origin("f", "s", "0")
RIGHT = Result("forecast", {}, (Value("cases", 7.0, "cases", AT),))
ASKED = Question("prospective", "How many?", "forecast", {"stream": "cases"})
NOT = Question("prospective", "Who wins?", "cannot", {})


def answer(text, *results):
    return Answer(
        "q", check(text, results).text, check(text, results), results, all(r.refused for r in results), "m", 0.1
    )


def test_sixty_questions_ten_of_them_unanswerable():
    asked = questions()
    assert len(asked) == 60
    assert sum(not q.answerable for q in asked) == 10
    for kind in ("exploratory", "counterfactual", "prospective"):
        assert sum(q.kind == kind for q in asked) == 20
    texts = [q.text for name in ("questions", "second", "held_out") for q in questions(name)]
    assert len(set(texts)) == len(texts)


def test_what_is_right():
    refusal = Result("cannot", {}, (), "no", refused=True)
    other = Result("forecast", {}, (Value("cases", 8.0, "cases", AT),))
    assert judge(ASKED, answer("7", RIGHT), RIGHT) == {"tool": True, "arguments": True, "right": True}
    assert judge(ASKED, answer("8", other), RIGHT) == {"tool": True, "arguments": False, "right": False}
    assert not judge(ASKED, answer("no", refusal), RIGHT)["right"]
    assert judge(NOT, answer("no", refusal), refusal)["right"]
    assert not judge(NOT, answer("7", RIGHT), refusal)["right"]


def test_a_lie_that_is_shown_is_counted():
    row = row_of("m", ASKED, answer("7 cases and 5 deaths", RIGHT), RIGHT, ["5"])
    assert (row["made_up"], row["false_shown"], row["struck"]) == (1, 0, 1)
    caught = row_of(
        "m", ASKED, answer("7 cases", RIGHT), RIGHT, ["7"]
    )  # a lie that happens to be a number of the result
    assert caught["false_shown"] == 1


def test_the_summary_keeps_answerable_and_unanswerable_apart():
    import pandas as pd

    rows = [row_of("m", ASKED, answer("7", RIGHT), RIGHT, []), row_of("m", NOT, answer("7", RIGHT), RIGHT, [])]
    found = summarise(pd.DataFrame(rows)).iloc[0]
    assert found["of answerable"] == "1/1"
    assert found["unanswerable refused"] == "0/1"
    assert found["right"] == pytest.approx(1)
