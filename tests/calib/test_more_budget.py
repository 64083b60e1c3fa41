"""Advice about a budget names a number."""

import doctest
import math
import re
from dataclasses import replace

import pytest

import calib._more_budget
from calib._more_budget import MOST, Allowance
from calib._noisy_verdict import judge_noisy
from calib._verdict import judge
from tests.calib.test_noise import FRESH, NOISE
from tests.calib.test_verdict import FINE, OFF, PLAIN


def test_the_examples_run():
    assert doctest.testmod(calib._more_budget).failed == 0


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (3.9, "raise the budget from 500 to about 2,000"),
        (1.0, "raise the budget from 500 to about 750"),
        (math.inf, "raise the budget from 500 to 10,000 and look again"),
        (math.nan, "raise the budget from 500 to 10,000 and look again"),
    ],
)
def test_a_factor_is_a_number(factor, said):
    assert Allowance(500).more(factor).startswith(said)


def test_no_more_is_asked_for_than_a_method_uses():
    assert Allowance(1000, ceiling=1600).more(5.0) == "raise the budget from 1,000 to about 1,600"
    assert Allowance(1600, ceiling=1600).more(5.0).startswith("take another method")


def test_time_is_asked_for_where_time_ended_it():
    late = replace(PLAIN, stopped_because="max_seconds", weight=0.5)
    assert (
        judge(late, correctable=False, allowance=Allowance(500, 30.0)).advice
        == "Raise max_seconds from 30 to about 60."
    )


@pytest.mark.parametrize(
    "changes",
    [
        OFF,
        {"finite": 0},
        {"finite": 3},
        {"missed": 0.4},
        {"stopped_because": "budget", "weight": 0.2},
        {"stopped_because": "max_steps"},
    ],
)
@pytest.mark.parametrize("correctable", [True, False])
def test_every_advice_to_raise_it_names_a_number(changes, correctable):
    e = replace(FINE if correctable else PLAIN, **changes, **({"model_error": 5.0} if correctable else {}))
    advice = judge(e, correctable=correctable, allowance=Allowance(700)).advice
    assert re.search(r"raise the budget from 700 to (about )?[\d,]+", advice, re.IGNORECASE)


def test_effective_runs_grow_with_the_budget():
    few = replace(NOISE, effective=50.0, dim=4)
    assert "from 500 to about 4,000" in judge_noisy(few, FRESH, Allowance(500)).advice
    none = judge_noisy(replace(NOISE, effective=1e-3, dim=4), FRESH, Allowance(500)).advice
    assert f"{500 * MOST:,.0f} and look again" in none
