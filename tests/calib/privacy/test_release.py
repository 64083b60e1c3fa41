"""Noise, accountant and allocation against closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from calib.privacy import StreamInformation, allocate, epsilon_bound, epsilon_of, release
from calib.privacy._accountant import gaussian_delta, rho_within
from calib.privacy._discrete_gaussian import log_probability, sample


def needs_accountant():
    pytest.importorskip("dp_accounting")


@pytest.mark.parametrize("sd", [Fraction(3, 4), Fraction(5, 2), Fraction(107, 10)])
def test_draws_have_the_discrete_gaussian_distribution(sd):
    drawn = np.array(sample(sd**2, 6000, seed=1))
    reach = math.ceil(2.5 * sd)
    inside = np.arange(-reach, reach + 1)
    p = log_probability(torch.tensor(inside, dtype=torch.float64), float(sd)).exp().numpy()
    received = np.array([(drawn == x).sum() for x in inside])
    observed, expected = np.append(received, 6000 - received.sum()), 6000 * np.append(p, 1 - p.sum())
    assert chisquare(observed, expected).pvalue > 1e-4
    # a test that can fail: the continuous sd of another noise
    wrong = log_probability(torch.tensor(inside, dtype=torch.float64), 1.2 * float(sd)).exp().numpy()
    assert chisquare(observed, 6000 * np.append(wrong, 1 - wrong.sum())).pvalue < 1e-4


def test_probabilities_sum_to_one():
    x = torch.arange(-200, 201, dtype=torch.float64)
    assert abs(float(log_probability(x, 3.3).exp().sum()) - 1) < 1e-12
    assert abs(float((log_probability(x, 3.3).exp() * x**2).sum()) - 3.3**2) < 1e-9


def test_the_bound_by_concentrated_privacy_is_the_closed_form():
    """Noise of sd 10.7 for four entries a person: epsilon 1 at delta 1e-6."""
    assert epsilon_bound(4 / (2 * 10.7**2), 1e-6) == pytest.approx(1.0, abs=2e-4)
    assert epsilon_bound(rho_within(0.7, 1e-5), 1e-5) == pytest.approx(0.7, rel=1e-12)


@pytest.mark.parametrize(("sd", "entries"), [(10.7, 4), (6.0, 1), (25.0, 9)])
def test_the_accountant_is_the_analytic_gaussian_mechanism(sd, entries):
    """At such noise the discrete Gaussian is the continuous one, whose delta at any epsilon is known exactly."""
    needs_accountant()
    found = epsilon_of({"cases": sd}, {"cases": entries}, 1e-6)
    assert gaussian_delta(found, sd, math.sqrt(entries)) == pytest.approx(1e-6, rel=0.02)
    assert found < epsilon_bound(entries / (2 * sd**2), 1e-6)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_a_release_keeps_its_promise_and_spends_most_of_it(epsilon):
    needs_accountant()
    counts = {"cases": torch.tensor([[30.0, 4.0], [torch.nan, 9.0]]), "deaths": torch.tensor([[1.0, 0.0]])}
    shown = release(counts, per_person={"cases": 2, "deaths": 1}, epsilon=epsilon, delta=1e-6, seed=3)
    assert 0.97 * epsilon < shown.epsilon <= epsilon
    assert shown.epsilon == epsilon_of(shown.sd, shown.entries, 1e-6)
    assert torch.isnan(shown.counts["cases"]).sum() == 1
    assert torch.equal(shown.counts["deaths"], shown.counts["deaths"].round())
    assert "differential privacy for adding or removing one person" in shown.statement
    assert "for a simulation" in shown.statement
    repeated = release(counts, per_person={"cases": 2, "deaths": 1}, epsilon=epsilon, delta=1e-6, seed=3)
    assert torch.equal(repeated.counts["deaths"], shown.counts["deaths"])
    free = release(counts, per_person={"cases": 2, "deaths": 1}, epsilon=epsilon, delta=1e-6)
    assert "for a simulation" not in free.statement


def test_the_allocation_meets_the_optimality_condition():
    """One parameter, streams of n entries with variance v: (n / k) (tau / (v + tau))^2 is the same for all, tau = k / (2 rho share)."""
    rho, entries = 0.02, {"a": 2, "b": 1, "c": 4}
    size, variance = {"a": 40, "b": 10, "c": 25}, {"a": 200.0, "b": 40.0, "c": 900.0}
    told = {
        s: StreamInformation(torch.ones(n, 1, dtype=torch.float64), torch.full((n,), variance[s], dtype=torch.float64))
        for s, n in size.items()
    }
    share = allocate(entries, told, rho)
    assert sum(share.values()) == pytest.approx(1.0)
    tau = {s: entries[s] / (2 * rho * share[s]) for s in share}
    slope = [size[s] / entries[s] * (tau[s] / (variance[s] + tau[s])) ** 2 for s in share]
    assert max(slope) / min(slope) == pytest.approx(1.0, rel=1e-3)


def test_equal_streams_get_equal_noise_and_a_useless_one_little():
    told = {
        s: StreamInformation(torch.eye(2, dtype=torch.float64), torch.full((2,), 9.0, dtype=torch.float64))
        for s in "ab"
    }
    assert allocate({"a": 1, "b": 1}, told, 0.1)["a"] == pytest.approx(0.5, abs=1e-3)
    told["b"] = StreamInformation(torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    assert allocate({"a": 1, "b": 1}, told, 0.1)["b"] < 0.02
    assert allocate({"a": 3, "b": 1}, None, 0.1) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": 0.0}, "expected epsilon above 0"),
        ({"per_person": 0}, "expected at least 1"),
        ({"counts": 1.5}, "whole numbers"),
    ],
)
def test_what_cannot_be_promised_is_refused(change, said):
    counts = {"cases": torch.tensor([[change.get("counts", 2.0)]])}
    with pytest.raises(ValueError, match=said):
        release(counts, per_person=change.get("per_person", 1), epsilon=change.get("epsilon", 1.0), delta=1e-6)
