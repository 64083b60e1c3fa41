"""Parties that hold their own households come to the central run, and see nothing but shares and sums."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

import sim
from protocols import epidemic, even, in_process
from protocols._ledger import Ledger
from protocols._sums import agree, total, total_real
from tests.sim.worlds import small_population, some_rates


@pytest.fixture(scope="module")
def world():
    population = small_population(households=500, regions=2, seed=5)
    return population, some_rates(population, particles=2, days=30, level=1.6)


@pytest.mark.parametrize("parties", [2, 4, 8])
def test_the_incidence_is_that_of_the_central_run(world, parties):
    population, rates = world
    found = epidemic(population, rates, 11, parties=parties)
    wanted = sim.epidemic(population, rates, 11, backend="compiled")
    assert torch.equal(found.incidence, wanted)
    assert wanted.sum() > 500


def test_the_gradient_is_that_of_the_central_run(world):
    population, rates = world
    leaves = rates.map(lambda x: x.double().requires_grad_())
    wanted = sim.epidemic(population, leaves, 11, backend="compiled", estimator="local-score")
    cotangent = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = torch.autograd.grad((wanted * cotangent).sum(), leaves.tensors(), allow_unused=True)
    found = epidemic(population, rates.map(torch.Tensor.double), 11, parties=3, cotangent=cotangent)
    for x, y in zip(found.gradient.tensors(), slopes, strict=True):
        assert torch.allclose(x, torch.zeros_like(x) if y is None else y, rtol=1e-6, atol=1e-5)


def test_the_ledger_says_what_each_party_saw(world):
    population, rates = world
    found = epidemic(population, rates, 11, parties=2)
    days, groups = rates.days, population.groups
    for ledger in found.ledgers:
        assert ledger.rounds == 1 + 4 * days
        assert ledger.opened["infections of groups"] == rates.particles * days * groups
        assert ledger.sent > 0
    first, second = found.ledgers
    assert first.sent == second.received
    assert second.sent == first.received
    # of venues that only one of two parties visits nothing is sent
    visited = [
        set(np.unique(np.concatenate([v[v >= 0] + 10**6 * i for i, v in enumerate(p)]))) for p in halves(population)
    ]
    both = len(visited[0] & visited[1])
    assert first.opened["infectiousness of venues and groups"] == rates.particles * days * (both + groups)


def halves(population):
    middle = population.household_start[even(population.households, 2)[0].stop]
    return population.venues[:, :middle], population.venues[:, middle:]


def summing(rank, size, values, venues, received=None):
    """A party that adds vectors, and notes what came."""
    ledger = Ledger()

    def protocol():
        sharing = yield from agree(rank, size, venues, ledger)
        return (yield from total(values, sharing, "sum", ledger))

    inner = protocol()
    mail = next(inner)
    while True:
        came = yield mail
        if received is not None:
            received.append(came)
        try:
            mail = inner.send(came)
        except StopIteration as end:
            return end.value


def test_sums_are_exact_also_of_negative_numbers():
    g = np.random.default_rng(0)
    venues = [np.array([0, 2, 5]), np.array([2, 3]), np.array([0, 2, 3])]
    values = [g.integers(-(2**50), 2**50, (4, len(v) + 6)) for v in venues]
    found = in_process([summing(i, 3, x, v) for i, (x, v) in enumerate(zip(values, venues, strict=True))])
    dense = np.zeros((4, 6), dtype=np.int64)
    for x, v in zip(values, venues, strict=True):
        dense[:, v] += x[:, : len(v)]
    rest = sum(x[:, len(v) :] for x, v in zip(values, venues, strict=True))
    for x, v in zip(found, venues, strict=True):
        assert np.array_equal(x, np.concatenate([dense[:, v], rest], 1))


@pytest.mark.parametrize("size", [3, 5])
def test_shares_that_any_minority_sees_are_uniform(size):
    """Of one party's secret: all shares that fewer than half of the parties hold, alone and together, whatever the secret is."""
    few, repeats = (size - 1) // 2, 4096
    none = np.zeros(0, dtype=np.int64)
    for secret in (0, -1, 2**40):
        received = [[] for _ in range(size)]
        values = [np.full((1, repeats), secret if i == 0 else 0, dtype=np.int64) for i in range(size)]
        in_process([summing(i, size, x, none, received[i]) for i, x in enumerate(values)])
        shares = [received[j][1][0].ravel() for j in range(1, 1 + few)]  # what party 0 sent to each of the minority
        for share in shares:
            assert kstest(share / 2.0**64, "uniform").pvalue > 1e-5
            assert chisquare(np.bincount((share & np.uint64(255)).astype(int), minlength=256)).pvalue > 1e-5
        together = sum((s >> np.uint64(62)).astype(int) * 4**i for i, s in enumerate(shares))
        assert chisquare(np.bincount(together, minlength=4**few)).pvalue > 1e-5


def test_all_shares_together_are_the_secret():
    """The case that must fail: who holds all shares of a party knows its term."""
    received = [[] for _ in range(3)]
    none = np.zeros(0, dtype=np.int64)
    values = [np.full((1, 50), 7 * (i == 0), dtype=np.int64) for i in range(3)]
    in_process([summing(i, 3, x, none, received[i]) for i, x in enumerate(values)])
    sent = sum(received[j][1][0].astype(np.uint64) for j in (1, 2))
    own = np.uint64(7) - sent
    assert np.array_equal((own + sent).view(np.int64), values[0])


def test_a_number_beyond_the_fixed_point_is_refused():
    ledger = Ledger()

    def protocol():
        sharing = yield from agree(0, 1, np.zeros(0, dtype=np.int64), ledger)
        return (yield from total_real(np.array([[1e300]]), sharing, "gradient", ledger))

    with pytest.raises(ValueError, match="scale the cotangent down"):
        in_process([protocol()])


def test_more_parties_than_households_are_refused():
    with pytest.raises(ValueError, match="expected 1 to 3"):
        even(3, 4)
