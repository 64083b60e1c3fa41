"""The check of numbers: what is found, and what must be struck out."""

import pytest

from epi.analyst import Origin, Result, Value, check
from epi.analyst.verifier import STRUCK

AT = Origin("posterior.nc", "posterior_predictive/cases[week=2030-05-18]", "0" * 64)
RESULT = Result(
    "scenario",
    {"factor": 0.7, "first": "2030-04-01", "r0": 4.5},
    (
        Value("cases, week to 2030-05-18", 1234.4, "cases", AT, 903.6, 1500.6, draws=64),
        Value("relative change", -12.34, "%", AT, -20.1, -3.2, draws=64),
        Value("share reported", 0.331, "share", AT),
        Value("tiny", 1.2e-5, "per day", AT),
    ),
    "Weeks 1-4 of the forecast.",
)
LABELS = ("0-19", "60+", "R0")


@pytest.mark.parametrize(
    "text",
    [
        "1,234 cases (95 % interval 904 to 1,501)",
        "1234.4 cases",
        "1.2 thousand cases",
        "cases fell by 12 %",
        "cases fell by 12.3 per cent",
        "a change of -12.34 %",
        "a change of −12 %",
        "33 % are reported",
        "a share of 0.33",
        "contacts cut by 30 % from 1 April 2030",
        "contacts cut by 30 % from 2030-04-01",
        "in the week to May 18, 2030",
        "with an R0 of 4.5",
        "from 64 posterior draws",
        "people of ages 60+ and ages 0-19",
        "1.2e-05 per day",
        "one of the counties, and no one else",
        "weeks 1-4",
        "no numbers at all",
    ],
)
def test_what_a_tool_found_stays(text):
    found = check(text, [RESULT], LABELS)
    assert found.struck == ()
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "struck"),
    [
        ("1,235 cases", ["1,235"]),
        ("1,200 cases", ["1,200"]),  # to its printed digits
        ("1.3 thousand", ["1.3 thousand"]),
        ("1234.5 cases", ["1234.5"]),
        ("1,234 %", ["1,234 %"]),
        ("1,234 million", ["1,234 million"]),
        ("rose by +12 %", ["+12 %"]),
        ("64 deaths", ["64"]),  # a number of draws is one only before that word
        ("95 cases", ["95"]),
        ("95 % of people", ["95 %"]),
        ("forty-five deaths", ["forty-five"]),
        ("two hundred and six", ["two hundred and six"]),
        ("doubled", ["doubled"]),
        ("half of all", ["half"]),
        ("seven deaths", ["seven"]),
        ("４５ deaths", ["45"]),  # digits of another width
        ("٤٥ deaths", ["45"]),  # and of another script
        ("4\u200b5 deaths", ["45"]),  # with a character that nobody sees
        ("on 2 April 2030", ["2 April 2030"]),
        ("on 2031-04-01", ["2031-04-01"]),
        ("in April 2031", ["April 2031"]),
        ("60 deaths", ["60"]),
        (
            "between 0-19 deaths",
            ["19"],
        ),  # an age band only after a word that says so; 0 is a rounded number of the result
        ("½ of them", ["2"]),
        ("x45y", ["45"]),
        ("1.2e-04 per day", ["1.2e-04"]),
        ("R0.59 of it", ["0.59"]),  # no number hides behind a name
        ("ages 0-19.77", ["19.77"]),
        ("ages 60+7", ["60", "7"]),
        ("2030-04-01.77", [".77"]),
        ("a 2nd and 8th", ["2", "8"]),
    ],
)
def test_what_no_tool_found_is_struck_out_and_named(text, struck):
    found = check(text, [RESULT], LABELS)
    assert list(found.struck) == struck
    assert found.text.count(STRUCK) == len(struck)


def test_without_results_every_number_goes():
    found = check("There were 12 cases and 3,400 deaths on 1 May.", [])
    assert found.struck == ("12", "3,400", "1 May")
    assert not any(c.isdigit() for c in found.text)


def test_numbers_of_a_refusal_count_only_where_no_model_wrote_them():
    refused = Result("forecast", {}, (), "The run has no cases at '45 deaths'.", refused=True)
    assert check("45 deaths", [refused]).struck == ("45",)
    assert check("45 deaths", [refused], refusals=True).struck == ()


def test_each_number_says_where_it_stands():
    found = check("1,234 cases", [RESULT], LABELS)
    assert found.found == (
        ("1,234", "cases, week to 2030-05-18 (posterior.nc: posterior_predictive/cases[week=2030-05-18])"),
    )
