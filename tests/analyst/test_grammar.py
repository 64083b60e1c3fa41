"""The grammar: what a question is understood as, and that it is refused where it is not."""

import pytest

from epi.analyst import parse
from epi.analyst.phrases import find_strength
from experiments.ask_benchmark._questions import judge, questions


def test_the_questions_of_the_benchmark_are_understood(box):
    """As far as nothing is simulated: tool and arguments."""
    for q in questions():
        found = parse(q.text, box.source)
        if q.tool in ("scenario", "reproduction"):
            assert found.tool == q.tool, q.text
            for name, value in q.arguments.items():
                default = {"place": "all", "statistic": "total"}.get(name, "")
                assert found.arguments.get(name, default) == (
                    pytest.approx(value, abs=1e-3) if isinstance(value, float) else value
                ), q.text
        else:
            from epi.analyst import ask_plainly
            from experiments.ask_benchmark._questions import right_result

            if not q.answerable and found.tool == "scenario":
                assert box.call(found.tool, found.arguments).refused
                continue
            assert judge(q, ask_plainly(box, q.text), right_result(box, q))["right"], q.text


@pytest.mark.parametrize("name", ["second", "held_out"])
def test_no_other_question_gets_a_wrong_answer(box, name):
    """Questions in other words may be refused, but what is understood is understood rightly."""
    for q in questions(name):
        found = parse(q.text, box.source)
        assert found.tool in (q.tool, "cannot"), q.text


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("cut by 30 %", 0.7), ("reduced by two thirds", 1 / 3), ("30 percent fewer", 0.7), ("20 % higher", 1.2), ("halved", 0.5),
        ("a fall by a quarter", 0.75), ("doubled", 2.0), ("closed", 0.0), ("without workplaces", 0.0), ("as it was", None),
    ],
)  # fmt: skip
def test_strengths(text, factor):
    assert find_strength(text) == (None if factor is None else pytest.approx(factor, abs=1e-3))


@pytest.mark.parametrize(
    "text",
    [
        "How many cases in Paris?", "How many cases among people aged 30-35?", "How many cases in North aged 60+?",
        "Cases on 31 February 2030?",
        "How many cases and admissions?", "What if schools had been closed?", "", "x" * 500, "Is it raining?", "How many cases in April?",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(box, text):
    found = parse(text, box.source)
    assert found.tool == "cannot"
    assert found.arguments["reason"]
