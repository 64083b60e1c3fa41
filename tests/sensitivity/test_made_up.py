"""Rankings of a small region: enough agents, a disease of given delays, outputs that do not exist in some draws."""

import warnings

import numpy as np
import pytest

from epi.inference.settings import SMOKE, least_scale, make_config, smoke_sizes
from epi.sensitivity.check import bias_sentence
from epi.sensitivity.outputs import Output
from epi.sensitivity.screen import extra_inputs
from epi.sensitivity.settings import enough_agents
from epi.sensitivity.settings import make_config as make_ranking
from tests.epi.conftest import build
from tests.made_up.study import study


def test_a_smoke_run_has_two_thousand_agents_and_never_more_than_there_are_people():
    assert smoke_sizes(5_000_000) == SMOKE
    for people in (18_000, 2_001, 1_999, 40):
        agents = people * smoke_sizes(people)["scale"]
        assert min(people, 2000) <= agents <= people
    assert make_config("tests.made_up.study", smoke=True, device="cpu").scale == least_scale(18_000) == 0.112
    assert make_config("tests.made_up.study", smoke=True, device="cpu", scale=0.01).scale == 0.01


def test_a_ranking_has_as_many():
    config = make_ranking(smoke=True, thorough=False, check=False, source="x")
    assert enough_agents(config, 18_000).scale == 0.112
    assert enough_agents(config, 5_000_000).scale == config.scale


def test_rates_of_a_disease_of_given_delays_have_factors_too():
    assert study.disease.days is None
    simulator = build(study, scale=0.02)
    extra = extra_inputs(simulator)
    assert len(extra.layout["infectiousness"]) == len({n for n in extra.names if n.startswith("infectiousness by day")})
    assert len(extra.names) == len(extra.groups) > 300


def test_the_mean_week_of_no_infection_is_no_number_and_no_warning():
    output = Output("mean week", "weeks", np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat = np.array([[0.0, 0.0], [3.0, 1.0]])
        value, slope = output.value(flat), output.slope(flat)
    assert np.isnan(value[0])
    assert value[1] == pytest.approx(0.25)
    assert np.isnan(slope[0]).all()
    np.testing.assert_allclose(slope[1], [-0.0625, 0.1875])


def test_a_parameter_that_moves_nothing_is_too_small_to_be_compared():
    assert bias_sentence(0.0, 0.0, 0.0).startswith("too small")
