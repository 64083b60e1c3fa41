"""All removals: a run is a function of its attempts, kernels are the reference, and the mean is the derivative, whatever the group."""

from dataclasses import replace
from itertools import product
from math import comb

import numba
import numpy as np
import pytest
import torch

import sim
from sim import Population, Rates, _compiled, _reference, _removals, _removals_reference
from sim._columns import columns
from tests.sim.worlds import random_tangents, small_population, some_rates

CPU = torch.device("cpu")
DAYS = 5


def three_agents() -> Population:
    """Two households, one with members in two regions, two venue layers; the second region stands for more people an agent."""
    return Population(
        household_start=np.array([0, 2, 3]),
        group=np.array([0, 1, 0], dtype=np.int16),
        archetype=np.array([0, 1, 0], dtype=np.int16),
        venues=np.array([[0, -1, 0], [0, 0, 0]], dtype=np.int32),
        venue_weight=(np.array([0.6]), np.array([0.5])),
        household_weight=np.array([1.0, 0.7]),
        region_of_group=np.array([0, 1], dtype=np.int16),
        people_per_agent=np.array([1.0, 3.0]),
    )


def everything(particles: int, reinfection: bool) -> Rates:
    """Rates that change by the day, a closed venue, behaviour, and reinfection where asked for."""
    g = torch.Generator().manual_seed(1)

    def around(*shape):
        return 0.5 + torch.rand(*shape, generator=g)

    transmission = around(4, DAYS) * torch.tensor([0.6, 0.48, 0.54, 0.42])[:, None]
    transmission[2, 2] = 0.0
    transmission[1, 3] *= 3.0
    rates = Rates(
        around(2, 2), around(2), transmission, around(2, 2), 0.1 * around(DAYS, 2), torch.tensor(0.02), torch.tensor(0.6),
        torch.tensor([[0, 0, 0.5, 0.9], [0, 0, 0.3, 0.6]]) if reinfection else torch.zeros(2, 0), torch.zeros(2, 0),
    )  # fmt: skip
    return rates.map(lambda x: x.expand(particles, *x.shape).contiguous())


def enumerated(population: Population, rates: Rates, weights: torch.Tensor, start=None) -> list[torch.Tensor]:
    """Gradient of the expected weighted incidence, by every sequence of who is infected on which day, after `sim.InfectedBefore`."""
    c, subsets = columns(population, CPU), list(product([False, True], repeat=population.agents))
    paths = torch.tensor(list(product(range(len(subsets)), repeat=DAYS)))
    infected = torch.tensor(subsets)[paths]
    leaves = rates.map(lambda x: x.clone().requires_grad_())
    each = leaves.map(lambda x: x.expand(len(paths), *x.shape[1:]))
    on = torch.full((len(paths), population.agents), _reference.NEVER, dtype=torch.int16)
    memory, log_p = torch.zeros(len(paths), population.regions), torch.zeros(len(paths))
    if start is not None:
        begun = start.start(population, rates)
        on, before = begun.on.expand(len(paths), -1), begun.before.expand(len(paths), -1, -1)
        memory = _reference.remembered(c, each, before)[0][:, -1]
    value, possible = torch.zeros(len(paths)), torch.ones(len(paths), dtype=torch.bool)
    for t in range(DAYS):
        hazard, today = _reference._pressures(c, each, t, on, memory).hazard, infected[:, t]
        safe = torch.where(hazard > 0, hazard, 1.0)
        log_p = log_p + torch.where(today, torch.log(-torch.expm1(-safe)), -hazard).sum(1)
        possible &= ~(today & (hazard <= 0)).any(1)
        on = torch.where(today, torch.tensor(t, dtype=torch.int16), on)
        x = _reference._sum(today.double(), c.group, population.groups)
        value = value + (x * weights[t]).sum(1)
        memory = memory + each.forgetting[:, None] * (_reference._percent(c, x) - memory)
    expected = (torch.exp(log_p) * value)[possible].sum()
    bar = torch.autograd.grad(expected, leaves.tensors(), allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(rates.tensors(), bar, strict=True)]


@pytest.mark.parametrize("reinfection", [pytest.param(False, marks=pytest.mark.slow), True])
def test_three_agents_with_everything_against_enumeration(reinfection):
    torch.set_default_dtype(torch.float64)
    population, runs = three_agents(), 6_000
    weights = torch.tensor(np.random.default_rng(0).normal(size=(DAYS, 2)))
    truth = torch.cat([x.flatten() for x in enumerated(population, everything(1, reinfection), weights)])
    rates, c = everything(runs, reinfection), columns(population, CPU)
    past = _compiled.run(c, rates, 7, torch.arange(runs))
    bar = _removals.vjp(c, rates, past, weights.expand(runs, DAYS, 2))
    found = torch.cat([x.reshape(runs, -1) for x in bar.tensors()], 1)
    error = found.std(0) / runs**0.5
    z = ((found.mean(0) - truth) / error)[error > 0]
    assert 0.5 < float(z.square().mean().sqrt()) < 1.4
    assert float(z.abs().max()) < 4.5
    # a bias of a tenth of the derivative would be seen
    assert float((0.1 * truth / error)[error > 0].abs().max()) > 3


@pytest.mark.parametrize("reinfection", [False, True])
def test_a_run_is_a_function_of_its_attempts(reinfection):
    population = three_agents()
    rates, c = everything(30, reinfection), columns(population, CPU)
    past = _reference.run(c, rates, 3, torch.arange(30))
    for p in range(30):
        w = _removals_reference.world(c, rates, past, p)
        found = _removals_reference.attempts(w)
        assert np.array_equal(_removals_reference.replay(w, found), past.incidence[p].numpy())


def worlds():
    population = small_population(households=30)
    rates = some_rates(population, days=20)
    after = torch.tensor([0.0] * 6 + [0.3, 0.8]).expand(2, 4, 8).contiguous()
    waning = torch.tensor([0.8, 1.0]).expand(2, 4, 2).contiguous()
    steady = rates.transmission.mean(2, keepdim=True).expand(2, 4, 20).contiguous()
    mixed = replace(population, group=np.random.default_rng(0).permutation(population.group))
    return {
        "changing rates, behaviour": (population, rates),
        "steady": (population, replace(rates, transmission=steady, aversion=0 * rates.aversion)),
        "reinfection": (population, replace(rates, reinfection=after)),
        "waning": (population, replace(rates, waning=waning)),
        "both": (population, replace(rates, reinfection=after, waning=waning, aversion=5 * rates.aversion)),
        "household in two regions": (mixed, rates),
    }


@pytest.mark.parametrize("name", worlds())
def test_kernels_are_the_reference_and_modes_are_transposes(name):
    torch.set_default_dtype(torch.float64)
    population, rates = worlds()[name]
    rates, c = rates.map(lambda x: x.double()), columns(population, CPU)
    past = _compiled.run(c, rates, 5, torch.arange(2))
    tangents, cotangent = random_tangents(rates, 3), torch.randn(past.incidence.shape)
    bar, slow = _removals.vjp(c, rates, past, cotangent), _removals_reference.vjp(c, rates, past, cotangent)
    for x, y in zip(bar.tensors(), slow.tensors(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)
    forward = _removals.jvp(c, rates, tangents, past)
    torch.testing.assert_close(forward, _removals_reference.jvp(c, rates, tangents, past), rtol=1e-9, atol=1e-9)
    pairs = zip(bar.tensors(), tangents.tensors(), strict=True)
    reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
    torch.testing.assert_close(torch.einsum("ptg,ptgq->q", cotangent, forward), reverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", [_reference, _compiled])
def test_the_local_score_of_households_in_two_regions_is_transposed(backend):
    torch.set_default_dtype(torch.float64)
    population, rates = worlds()["household in two regions"]
    rates, c = rates.map(lambda x: x.double()), columns(population, CPU)
    past = backend.run(c, rates, 5, torch.arange(2))
    tangents, cotangent = random_tangents(rates, 3), torch.randn(past.incidence.shape)
    bar, forward = backend.vjp(c, rates, past, cotangent), backend.jvp(c, rates, tangents, past)
    pairs = zip(bar.tensors(), tangents.tensors(), strict=True)
    reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
    torch.testing.assert_close(torch.einsum("ptg,ptgq->q", cotangent, forward), reverse, rtol=1e-9, atol=1e-8)


def test_threads_do_not_show():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread is all there is")
    population = small_population(households=150)
    rates = some_rates(population, particles=1).map(lambda x: x.double())
    c, tangents = columns(population, CPU), random_tangents(rates, 2)
    past, before, found = _compiled.run(c, rates, 3, torch.arange(1)), numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            bar = _removals.vjp(c, rates, past, torch.ones_like(past.incidence))
            found.append((*bar.tensors(), _removals.jvp(c, rates, tangents, past)))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))


def reed_frost(n: int, reach: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
    """Expected infections in a group of n, each seeded with a hazard, each infection reaching each other with `reach / (n - 1)`."""
    p = -torch.expm1(-seed)
    total, state = torch.tensor(0.0), {}
    for k in range(n + 1):  # seeded on day 0
        state[(n - k, k)] = comb(n, k) * p**k * (1 - p) ** (n - k)
    while state:
        following: dict = {}
        for (s, i), weight in state.items():
            total = total + weight * i
            if i and s:
                q = -torch.expm1(-reach / (n - 1) * i)
                for k in range(s + 1):
                    step = weight * comb(s, k) * q**k * (1 - q) ** (s - k)
                    following[(s - k, k)] = following.get((s - k, k), 0.0) + step
        state = following
    return total


@pytest.mark.parametrize(("n", "reach"), [(3, 1.5), (6, 4.0), (12, 1.5)])
def test_groups_in_which_one_case_decides(n, reach):
    torch.set_default_dtype(torch.float64)
    logs = torch.zeros(2, requires_grad=True)
    (truth,) = torch.autograd.grad(reed_frost(n, reach * torch.exp(logs[0]), 0.01 * torch.exp(logs[1])), logs)
    groups, runs, days = 20, 400, n + 1
    agents = groups * n
    population = Population(
        household_start=np.arange(agents + 1),
        group=np.zeros(agents, dtype=np.int16),
        archetype=np.zeros(agents, dtype=np.int16),
        venues=np.repeat(np.arange(groups), n)[None].astype(np.int32),
        venue_weight=(np.full(groups, 1 / (n - 1)),),
        household_weight=np.zeros(agents),
        region_of_group=np.zeros(1, dtype=np.int16),
        people_per_agent=np.ones(1),
    )
    log = torch.zeros(runs, 2, requires_grad=True)
    transmission = torch.zeros(runs, 3, days).index_add(
        1, torch.tensor([2]), (reach * torch.exp(log[:, :1, None])).expand(runs, 1, days)
    )
    importation = 0.01 * torch.exp(log[:, 1])[:, None, None] * (torch.arange(days) == 0)[None, :, None]
    rates = Rates(
        torch.ones(runs, 1, 1), torch.ones(runs, 1), transmission, torch.zeros(runs, 1, 1), importation,
        torch.zeros(runs), torch.zeros(runs),
    )  # fmt: skip
    for estimator in ("removals", "local-score"):
        x = sim.epidemic(population, rates, 5, estimator=estimator).sum((1, 2))
        (gradient,) = torch.autograd.grad(x.sum(), log, retain_graph=True)
        z = (gradient.mean(0) / groups - truth) / (gradient.std(0) / groups / runs**0.5)
        if estimator == "removals":
            assert (z.abs() < 4).all(), (z, truth)
        else:  # the test sees what it is for
            assert float(z[1]) < -5


def gradient_of(population, rates, **more):
    leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
    x = sim.epidemic(population, leaves, 3, **more)
    (x * more.pop("weight", 1.0)).sum().backward()
    return x.detach(), leaves.map(lambda x: torch.zeros_like(x) if x.grad is None else x.grad)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
@pytest.mark.parametrize("estimator", ["removals", "local-score"])
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_extreme_rates_are_right_or_refused(backend, estimator, precision):
    torch.set_default_dtype(torch.float64)
    population, how = three_agents(), {"backend": backend, "estimator": estimator}
    rates = everything(2, False).map(lambda x: x.to(precision))
    nobody = replace(rates, importation=0 * rates.importation)
    x, bar = gradient_of(population, nobody, **how)
    assert x.sum() == 0
    assert all(float(g.abs().sum()) == 0 for g in bar.tensors())
    for sure in (800.0, 1e7):  # a probability of one has no slope, and expm1 overflows
        x, bar = gradient_of(population, replace(rates, importation=rates.importation * 0 + sure), **how)
        assert x[:, 0].sum() == 6
        assert all(float(g.abs().max()) < 1e-200 for g in bar.tensors() if g.numel())
    loud = replace(rates, transmission=rates.transmission * 1e6)
    _, bar = gradient_of(population, loud, **how)
    assert all(torch.isfinite(g).all() for g in bar.tensors())
    alone = replace(population, venues=np.full((2, 3), -1, dtype=np.int32), household_start=np.arange(4),
                    household_weight=np.ones(3), group=np.array([0, 1, 1], dtype=np.int16))  # fmt: skip
    _, bar = gradient_of(alone, rates, **how)
    assert all(torch.isfinite(g).all() for g in bar.tensors())


@pytest.mark.parametrize("estimator", ["removals", "local-score"])
def test_a_cotangent_that_is_not_finite_spoils_its_particle_alone(estimator):
    population, rates = three_agents(), everything(2, False).map(lambda x: x.double())
    leaf = rates.importation.clone().requires_grad_()
    x = sim.epidemic(population, replace(rates, importation=leaf), 3, estimator=estimator)
    weight = torch.ones_like(x)
    weight[1, 2, 0] = torch.nan
    (x * weight).sum().backward()
    assert torch.isfinite(leaf.grad[0]).all()
    assert torch.isnan(leaf.grad[1]).all()


def test_what_removals_cannot_do_is_refused_in_a_sentence(monkeypatch):
    population, rates = three_agents(), everything(2, True).map(lambda x: x.double())
    raised = replace(rates, reinfection=rates.reinfection * 2)
    with pytest.raises(ValueError, match=r"reaches 1.8.*choose estimator='local-score'"):
        gradient_of(population, raised)
    gradient_of(population, raised, estimator="local-score")
    monkeypatch.setattr(_removals, "MOST_ATTEMPTS", 0)
    monkeypatch.setattr(_removals, "MOST_ATTEMPTS_EACH", 0)
    with pytest.raises(ValueError, match="more than 0 contacts"):
        gradient_of(population, rates)


def test_auto_says_which(caplog):
    population = small_population(households=40)
    rates = some_rates(population, days=10).map(lambda x: x.double())
    with caplog.at_level("INFO", logger="sim"):
        _, chosen = gradient_of(population, rates, estimator="auto")
    name = "removals" if "auto: removals" in caplog.text else "local-score"
    _, bar = gradient_of(population, rates, estimator=name)
    assert all(torch.equal(x, y) for x, y in zip(chosen.tensors(), bar.tensors(), strict=True))
