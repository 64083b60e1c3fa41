"""Margins hold, real sizes stay real, and impossible margins are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epi.population.sampling import (
    apportion,
    assign_states,
    choose_households,
    controlled_counts,
    group_sizes,
    rake,
    sample_sizes,
    shuffled_order,
)

# Every household of one to three members over three classes, with at least one of the last two classes.
TYPES = np.array(
    [(a, b, c) for a in range(4) for b in range(4) for c in range(4) if 1 <= a + b + c <= 4 and b + c >= 1],
    dtype=np.int64,
)


def generator(seed=0):
    return np.random.default_rng(seed)


@given(st.integers(0, 5000), st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_apportion_sums_and_stays_within_one(total, shares):
    part = apportion(total, np.array(shares))
    assert part.sum() == total
    assert np.abs(part - total * np.array(shares) / sum(shares)).max() < 1 + 1e-9


def test_apportion_minimum():
    part = apportion(10, np.array([1000.0, 1.0, 1.0]), minimum=2)
    assert part.tolist() == [6, 2, 2]


@given(st.lists(st.integers(50, 500_000), min_size=2, max_size=20), st.floats(0.01, 1.0), st.floats(0.0, 1.0))
def test_sample_sizes_hold_the_total_and_the_bounds(people, scale, balance):
    people = np.array(people)
    agents = sample_sizes(people, scale, balance, minimum=40)
    assert np.all(agents >= np.minimum(40, people))
    assert np.all(agents <= people)
    assert agents.sum() == max(round(scale * people.sum()), np.minimum(40, people).sum())


def test_sample_sizes_proportional_and_equal():
    people = np.array([1000, 3000, 6000])
    assert sample_sizes(people, 0.1, 0.0, 1).tolist() == [100, 300, 600]
    assert sample_sizes(people, 0.1, 1.0, 1).tolist() in ([333, 333, 334], [334, 333, 333], [333, 334, 333])
    root = sample_sizes(people, 0.1, 0.5, 1)
    assert np.allclose(root / root.sum(), np.sqrt(people) / np.sqrt(people).sum(), atol=2e-3)


def test_rake_meets_margins_and_keeps_the_exponential_form():
    prior = generator().random(len(TYPES)) + 0.1
    margins = np.array([300.0, 500.0, 200.0])
    weights = rake(TYPES, prior, margins)
    assert np.allclose(weights @ TYPES, margins, rtol=1e-8)
    # log(weight / prior) is linear in the members: its residual on them (and a constant) is zero.
    design = np.column_stack([TYPES, np.ones(len(TYPES))])
    log_ratio = np.log(weights / prior)
    fitted = design @ np.linalg.lstsq(design, log_ratio, rcond=None)[0]
    assert np.allclose(log_ratio, fitted, atol=1e-9)


def test_rake_leaves_weights_that_already_fit():
    prior = generator().random(len(TYPES))
    assert np.allclose(rake(TYPES, prior, prior @ TYPES), prior, rtol=1e-8)


def test_rake_refuses_impossible_margins():
    # Nobody of class 0 lives alone: at most three of class 0 to one other.
    with pytest.raises(ValueError, match=r"no mixture of the .* household types meets the margins"):
        rake(TYPES, np.ones(len(TYPES)), np.array([1000.0, 10.0, 10.0]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(3, 60), st.integers(4, 60), st.integers(4, 60))
def test_chosen_households_have_exactly_the_target(seed, a, b, c):
    a = min(a, 3 * (b + c) // 4)  # on the edge of what the types can hold, repair may end one off
    target = np.array([a, b, c])
    weights = rake(TYPES, np.ones(len(TYPES)), target.astype(float))
    counts = choose_households(TYPES, weights, target, generator(seed))
    assert np.all(counts >= 0)
    assert (counts @ TYPES).tolist() == target.tolist()


def test_chosen_households_follow_the_weights():
    weights = rake(TYPES, np.ones(len(TYPES)), np.array([30_000.0, 50_000.0, 20_000.0]))
    counts = choose_households(TYPES, weights, np.array([30_000, 50_000, 20_000]), generator())
    assert np.abs(counts - weights).max() < 6


def test_households_that_cannot_reach_the_target_come_close():
    counts = choose_households(np.array([[2, 0], [0, 2]]), np.array([5.0, 5.0]), np.array([11, 9]), generator())
    assert np.abs(counts @ np.array([[2, 0], [0, 2]]) - [11, 9]).max() <= 1


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(2, 5))
def test_controlled_counts_are_within_one(seed, cells, states):
    rng = generator(seed)
    fractions = rng.dirichlet(np.ones(states), cells)
    sizes = rng.integers(0, 50, cells)
    counts = controlled_counts(fractions, sizes, rng)
    assert np.all(counts >= 0)
    assert counts.sum(1).tolist() == sizes.tolist()
    assert np.abs(counts - fractions * sizes[:, None]).max() < 1 + 1e-9


def test_small_fractions_survive_small_cells():
    fractions = np.tile([0.98, 0.02], (500, 1))
    counts = controlled_counts(fractions, np.full(500, 10), generator())
    assert abs(counts[:, 1].sum() - 100) <= 3  # rounding each cell alone would leave none


def test_assigned_states_hold_in_every_cell():
    rng = generator()
    cell = rng.integers(0, 4, 1000)
    fractions = rng.dirichlet(np.ones(3), 4)
    state = assign_states(cell, fractions, rng)
    for c in range(4):
        share = np.bincount(state[cell == c], minlength=3)
        assert np.abs(share - fractions[c] * (cell == c).sum()).max() < 1


def test_shuffled_order_sorts_and_shuffles():
    key = np.repeat(np.arange(5, dtype=np.int16), 200)
    order = shuffled_order(key, generator())
    assert np.array_equal(key[order], key)
    assert sorted(order) == list(range(1000))
    assert not np.array_equal(order, np.arange(1000))


@given(st.integers(0, 3000), st.integers(0, 100))
def test_groups_hold_all_members(members, seed):
    size = group_sizes(members, np.array([1, 2, 5, 40, 90]), generator(seed))
    assert size.sum() == members
    assert np.all(size >= 1)


def test_group_sizes_stay_real_in_a_sample():
    sizes = np.full(200, 60)
    assert np.all(np.abs(group_sizes(1000, sizes, generator()) - 60) <= 4)
    assert len(group_sizes(12_000, sizes, generator())) == 200


def test_group_sizes_repeat_with_the_seed():
    sizes = np.arange(1, 50)
    assert np.array_equal(group_sizes(700, sizes, generator(3)), group_sizes(700, sizes, generator(3)))
