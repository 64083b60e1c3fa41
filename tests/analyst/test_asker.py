"""A model behind a server on this machine calls the tools; its numbers are checked, whatever it says."""

import json

import pytest

pytest.importorskip("openai")

from behaviour import Endpoint
from epi.analyst import ask, ask_plainly
from epi.analyst.asker import tool_schemas
from epi.analyst.verifier import STRUCK
from experiments._loopback import completion, loopback

QUESTION = "How many cases are expected in North in the week ending 4 May 2030?"
CALL = ("forecast", json.dumps({"stream": "cases", "place": "North", "week": "2030-05-04"}))


def answers(box, script, question=QUESTION, **options):
    with loopback(script) as url:
        return ask(box, question, Endpoint("scripted", url, key_variable="", retries=0, seconds=10.0), **options)


def results(body):
    return [json.loads(m["content"]) for m in body["messages"] if m["role"] == "tool"]


def test_a_model_that_copies_what_the_tool_found_is_shown_in_full(box):
    def right(body):
        assert {t["function"]["name"] for t in body["tools"]} >= {"forecast", "scenario", "cannot"}
        found = results(body)
        return completion("It will be this: " + found[0]["values"][0]["text"]) if found else completion("", [CALL])

    answer = answers(box, right)
    assert answer.checked.struck == ()
    assert not answer.refused
    assert len(answer.checked.found) >= 5
    assert answer.results[0].values == box.call("forecast", json.loads(CALL[1])).values


def test_a_model_that_lies_loses_its_numbers_and_the_tools_sentences_stay(box):
    def lying(body):
        return (
            completion("There will be 987,654 cases and forty-two deaths.") if results(body) else completion("", [CALL])
        )

    answer = answers(box, lying)
    assert answer.text == f"There will be {STRUCK} cases and {STRUCK} deaths."
    shown = "\n".join(answer.lines())
    assert "Struck out" in shown
    assert box.call("forecast", json.loads(CALL[1])).values[0].sentence() in shown


def test_numbers_without_a_tool_and_numbers_smuggled_through_arguments_are_struck_out(box):
    assert answers(box, lambda body: completion("45 cases")).checked.struck == ("45",)

    def smuggling(body):
        if not results(body):
            return completion(
                "", [("glossary", json.dumps({"term": "45 deaths"})), ("cannot", json.dumps({"reason": "45 deaths"}))]
            )
        return completion("There were 45 deaths.")

    answer = answers(box, smuggling)
    assert answer.checked.struck == ("45",)
    assert answer.refused


@pytest.mark.parametrize(
    "arguments", ["no json", "[1, 2]", '"text"', '{"stream": {"a": 1}}', '{"stream": "cases", "extra": 1}']
)
def test_arguments_that_are_none_are_refused_and_the_model_may_go_on(box, arguments):
    def wrong(body):
        found = results(body)
        if not found:
            return completion("", [("forecast", arguments)])
        assert found[0]["refused"]
        return completion("I cannot say.")

    assert answers(box, wrong).refused


def test_a_model_that_never_ends_is_ended(box):
    answer = answers(box, lambda body: completion("", [CALL]), rounds=3)
    assert len(answer.results) == 3
    assert answer.checked.struck == ()
    assert answer.text  # the tools' own sentences


def test_a_model_that_refuses_or_says_nothing(box):
    assert answers(box, lambda body: completion("")).text == "The model gave no answer."


def test_hostile_text_of_a_model_is_data(box):
    def hostile(body):
        if not results(body):
            return completion("", [("figure", json.dumps({"name": "../../etc/passwd"})), ("os.system", "{}")])
        return completion("\x1b[31mdone\x1b[0m \u202etxt")

    answer = answers(box, hostile)
    assert all(r.refused for r in answer.results)
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text


def test_schemas_are_of_the_protocol():
    for schema in tool_schemas():
        assert schema["type"] == "function"
        assert schema["function"]["parameters"]["type"] == "object"
    json.dumps(tool_schemas())


def test_plain_answers_need_no_model_and_pass_the_same_check(box):
    answer = ask_plainly(box, QUESTION)
    assert answer.checked.struck == ()
    assert answer.results[0].values == box.call("forecast", json.loads(CALL[1])).values
