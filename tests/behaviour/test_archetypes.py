"""Archetypes: the rule by which agents get theirs."""

import numpy as np
import pytest

from behaviour import Archetypes, BehaviourError

KINDS = Archetypes({"county": ("North", "South"), "age": ("0-19", "20-59", "60+"), "work": ("yes", "no")})


def test_every_combination_has_its_number_and_the_last_attribute_runs_fastest():
    assert len(KINDS) == 12
    for number, levels in enumerate(KINDS.each):
        codes = {name: [KINDS.attributes[name].index(level)] for name, level in levels.items()}
        assert KINDS.assign(codes).tolist() == [number]
    assert KINDS.labels[1] == "North, 0-19, no"


def test_many_agents_agree_with_numpy():
    rng = np.random.default_rng(0)
    codes = {name: rng.integers(0, len(levels), 1000, dtype=np.int16) for name, levels in KINDS.attributes.items()}
    expected = np.ravel_multi_index(tuple(codes.values()), (2, 3, 2))
    assert np.array_equal(KINDS.assign(codes), expected)
    assert KINDS.assign(codes).dtype == np.int32


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"county": [0], "age": [0]}, "no attribute 'work'"),
        ({"county": [0], "age": [3], "work": [0]}, "codes from 3 to 3"),
        ({"county": [0], "age": [0, 1], "work": [0]}, "has shape"),
        ({"county": [-1], "age": [0], "work": [0]}, "codes from -1"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, said):
    with pytest.raises(BehaviourError, match=said):
        KINDS.assign(codes)


def test_attributes_that_cannot_be_are_refused():
    with pytest.raises(BehaviourError, match="no attribute"):
        Archetypes({})
    with pytest.raises(BehaviourError, match="each once"):
        Archetypes({"age": ("a", "a")})
