"""Questions to a server on this machine: answers of a known logistic model, and everything that goes wrong with servers."""

import math

import numpy as np
import pytest

pytest.importorskip("openai")

from behaviour import (
    AnswerTable,
    Archetypes,
    BehaviourError,
    Bill,
    Endpoint,
    EndpointError,
    OverBudget,
    Question,
    Reply,
    elicit,
    read,
)
from experiments._loopback import Raw, completion, loopback

KINDS = Archetypes({"age": ("20-59", "60+")})
QUESTION = Question("test", "You are {age}. {cases} fell ill. Test?", "cases", (0.0, 100.0))


def logistic(age, cases):
    return 1 / (1 + math.exp(-(-1.0 + 0.5 * (age == "60+") + 0.01 * cases)))


def answering(body):
    asked_text = body["messages"][1]["content"]
    age, cases = asked_text.split(". ")[0].removeprefix("You are "), float(asked_text.split(". ")[1].split()[0])
    return completion(f"{100 * logistic(age, cases):.1f} %")


def model(url, **options):
    return Endpoint("loop", url, key_variable="", seconds=5.0, **{"retries": 0, **options})


def test_answers_of_a_known_model_come_back_and_are_never_asked_again(tmp_path):
    asked = []

    def counted(body):
        asked.append(body["seed"])
        return answering(body)

    with loopback(counted) as url:
        table = elicit(KINDS, QUESTION, [model(url)], draws=2, cache=tmp_path)
        assert asked == [0, 1] * 4
        repeated = elicit(KINDS, QUESTION, [model(url)], draws=2, cache=tmp_path, answers_only=True)
        assert len(asked) == 8
    expected = [[logistic(a, c) for c in QUESTION.grid] for a in ("20-59", "60+")]
    assert np.allclose(table.probability, expected, atol=6e-4)
    assert repeated.rows.equals(table.rows)
    assert table.counts == {"ok": 8}
    assert table.provenance["calls"] == 8
    assert not table.provenance["made_up"]
    with pytest.raises(BehaviourError, match="no call is allowed"):
        elicit(KINDS, QUESTION, [model(url)], draws=3, cache=tmp_path, answers_only=True)


def test_refusals_truncated_unreadable_and_failed_answers_are_counted_and_none_becomes_zero(tmp_path):
    answers = iter(
        [
            completion("I'm sorry, I cannot help with that."),
            completion("Between 20 and 40"),
            completion("5", finish="length"),
            Raw(500, "broken"),
        ]
    )

    def wrong(body):
        one = next(answers)
        if isinstance(one, Raw):
            raise one
        return one

    with loopback(wrong) as url:
        table = elicit(KINDS, QUESTION, [model(url)], cache=tmp_path)
    assert table.counts == {"failed": 1, "refused": 1, "truncated": 1, "unparsable": 1}
    assert table.rows["answer"].isna().all()
    with pytest.raises(BehaviourError, match="could be read"):
        _ = table.probability


def test_a_full_server_is_asked_again(tmp_path):
    tries = []

    def busy(body):
        tries.append(1)
        if len(tries) < 3:
            raise Raw(429, "busy", {"retry-after-ms": "1"})
        return completion("40")

    with loopback(busy) as url:
        reply = model(url, retries=3).chat(QUESTION.messages({"age": "60+"}, 0.0))
    assert (reply.text, len(tries)) == ("40", 3)


@pytest.mark.parametrize("body", ["no json {", "{}", '{"choices": []}', "[1]"])
def test_what_is_no_answer_is_one_sentence(body):
    def wrong(_):
        raise Raw(200, body, {"Content-Type": "application/json"})

    with loopback(wrong) as url, pytest.raises(EndpointError):
        model(url).chat(QUESTION.messages({"age": "60+"}, 0.0))


def test_the_bill_refuses_before_it_is_exceeded(tmp_path):
    asked = []

    def counted(body):
        asked.append(1)
        return completion("40")

    bill = Bill(
        limit=0.004, price_in=1.0, price_out=1.0
    )  # a call: 100 + 10 tokens; at worst its characters and 1,024 more
    with loopback(counted) as url, pytest.raises(OverBudget, match="raise the limit"):
        elicit(KINDS, QUESTION, [model(url, bill=bill)], draws=100, cache=tmp_path)
    assert 0 < len(asked) < 40
    assert bill.spent <= bill.limit


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("70"), ("ok", 0.7)),
        (Reply("I would say 70 %, so 70."), ("ok", 0.7)),
        (Reply("0"), ("ok", 0.0)),
        (Reply("12.5 per cent"), ("ok", 0.125)),
        (Reply("", refusal="no"), ("refused", None)),
        (Reply("As an AI I have no 50 % habits"), ("refused", None)),
        (Reply("70", finish="content_filter"), ("refused", None)),
        (Reply("140"), ("unparsable", None)),
        (Reply("-5"), ("unparsable", None)),
        (Reply("1,000"), ("unparsable", None)),
        (Reply("likely"), ("unparsable", None)),
        (Reply("70", finish="length"), ("truncated", None)),
    ],
)
def test_reading_an_answer(reply, expected):
    status, value = read(reply)
    assert status == expected[0]
    assert math.isnan(value) if expected[1] is None else value == expected[1]


def test_questions_that_nobody_can_fill_are_refused(tmp_path):
    with pytest.raises(BehaviourError, match="has the field 'income'"):
        Question("q", "You earn {income}", "cases", (0.0,)).check(KINDS)
    with pytest.raises(BehaviourError, match="plain names"):
        Question("q", "{age.__class__}", "cases", (0.0,))
    with pytest.raises(BehaviourError, match="rise"):
        Question("q", "", "cases", (1.0, 0.0))


def test_a_saved_table_comes_back_and_a_changed_one_is_refused(tmp_path):
    with loopback(answering) as url:
        table = elicit(KINDS, QUESTION, [model(url)], cache=tmp_path / "cache")
    table.save(tmp_path / "table")
    back = AnswerTable.load(tmp_path / "table")
    assert np.array_equal(back.logit, table.logit)
    assert back.question == table.question
    file = tmp_path / "table" / "answers.csv"
    file.write_text(file.read_text().replace("ok", "OK"))
    with pytest.raises(BehaviourError, match="another checksum"):
        AnswerTable.load(tmp_path / "table")
    with pytest.raises(BehaviourError, match="There is no"):
        AnswerTable.load(tmp_path / "nowhere")
