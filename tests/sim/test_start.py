"""Epidemics that start with given infections: a cut run goes on as it was, kernels are the reference, and gradients are right."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sim
from sim import InfectedBefore, Rates, _before, _compiled, _derivatives, _reference, _removals_reference
from sim._columns import columns
from tests.sim.test_removals import DAYS, enumerated, everything, three_agents
from tests.sim.worlds import random_tangents, small_population, some_rates

CPU = torch.device("cpu")
NEVER = InfectedBefore.never


def world(reinfection=False, days=20, households=60):
    torch.set_default_dtype(torch.float64)
    population = small_population(households=households)
    rates = some_rates(population, days=days).map(lambda x: x.double())
    periods = -(-days // sim.PERIOD)
    waning = (0.7 + 0.1 * torch.arange(periods)).expand(2, 4, periods).contiguous()
    after = torch.tensor([0.0] * 6 + [0.3, 0.8]).expand(2, 4, 8).contiguous()
    return population, replace(rates, waning=waning, reinfection=after) if reinfection else rates


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("reinfection", [False, True])
def test_a_cut_run_goes_on_as_it_was(backend, reinfection):
    population, rates = world(reinfection, days=40)
    rates = replace(rates, aversion=5 * rates.aversion)
    whole = sim.epidemic(population, rates, 3, backend=backend)
    state, at = None, 0
    for cut in (14, 28):
        state = sim.state_after(population, rates.between(at, cut), 3, start=state, backend=backend)
        at = cut
    assert state.first_day == state.days == 28
    assert torch.equal(state.incidence, whole[:, :28])
    rest = sim.epidemic(population, rates.between(28, 40), 3, start=state, backend=backend)
    assert torch.equal(rest, whole[:, 28:])
    assert rest.sum() > 10
    # who was infected counts: without the state the epidemic is another
    assert not torch.equal(sim.epidemic(population, rates.between(28, 40), 3, backend=backend), rest)


def test_the_memory_of_a_cut_run_is_that_of_the_whole():
    population, rates = world(days=20)
    c, streams = columns(population, CPU), torch.arange(2)
    whole = _compiled.run(c, rates, 3, streams)
    start = sim.state_after(population, rates.between(0, 9), 3).start(population, rates.between(9, 20))
    rest = _compiled.run(c, rates.between(9, 20), 3, streams, start)
    assert torch.allclose(rest.memory, whole.memory[:, 9:], atol=1e-12)


def spikes(population, rates, front):
    """The same rates after days on which whole groups are infected for certain, and the start that this is."""
    certain = torch.zeros(2, front, population.groups)
    certain[:, front - 3, 1] = certain[:, front - 1, 3] = 1e6
    longer = _before.with_days(rates, front)
    importation = torch.cat([certain, rates.importation], 1)
    waning = longer.waning.clone()
    waning[:, :, : front // sim.PERIOD] = rates.waning[:, :, :1]
    on = np.full((2, population.agents), NEVER, dtype=np.int16)
    on[:, population.group == 1], on[:, population.group == 3] = -3, -1
    start = InfectedBefore(torch.from_numpy(on), first_day=front)
    return replace(longer, importation=importation, waning=waning), start


# all removals in plain Python are slow; they are compared with the kernels below
@pytest.mark.parametrize(
    ("estimator", "backend"), [("local-score", "reference"), ("local-score", "compiled"), ("removals", "compiled")]
)
@pytest.mark.parametrize("reinfection", [False, True])
def test_derivatives_are_those_of_a_run_in_which_the_same_people_were_infected_for_certain(
    estimator, backend, reinfection
):
    population, rates = world(reinfection, days=15)
    longer, start = spikes(population, rates, 14)
    cotangent = torch.randn(2, 15, population.groups, generator=torch.Generator().manual_seed(0))

    def bar(rates, cotangent, start=None):
        leaves = rates.map(lambda x: x.clone().requires_grad_())
        x = sim.epidemic(population, leaves, 3, start=start, backend=backend, estimator=estimator)
        found = torch.autograd.grad((x * cotangent).sum(), leaves.tensors(), allow_unused=True)
        return x.detach(), Rates(
            *(torch.zeros_like(x) if g is None else g for x, g in zip(leaves.tensors(), found, strict=True))
        )

    long, long_bar = bar(longer, _before.in_front(cotangent, 14, 1))
    short, short_bar = bar(rates, cotangent, start)
    assert torch.equal(short, long[:, 14:])
    assert short.sum() > 20
    for name, x, y in zip(
        Rates.__annotations__, short_bar.tensors(), _before.without_days(long_bar, 14).tensors(), strict=True
    ):
        assert torch.allclose(x, y, atol=1e-9, rtol=1e-9), name
    assert short_bar.forgetting.abs().min() > 0

    tangents = random_tangents(rates, 3).map(lambda x: x.double())
    args = {"backend": backend, "estimator": estimator}
    _, along = sim.jacobian(population, rates, tangents, 3, start=start, **args)
    _, long_along = sim.jacobian(population, longer, _before.with_days(tangents, 14), 3, **args)
    assert torch.allclose(along, long_along[:, 14:], atol=1e-8)
    pulled = sum(
        (x[..., None] * dx).sum(tuple(range(x.dim())))
        for x, dx in zip(short_bar.tensors(), tangents.tensors(), strict=True)
    )
    pushed = (along * cotangent[..., None]).sum((0, 1, 2))
    assert torch.allclose(pulled, pushed, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reinfection", [False, True])
def test_kernels_are_the_reference(reinfection):
    population, rates = world(reinfection, days=8, households=12)
    counts = torch.zeros(2, 4, population.groups)
    counts[:, 1, 0] = counts[:, 3, 4] = 2.0
    start = InfectedBefore.at_random(population, counts, 5).start(population, rates)
    c, streams = columns(population, CPU), torch.arange(2)
    past, slow = (k.run(c, rates, 5, streams, start) for k in (_compiled, _reference))
    assert torch.equal(past.incidence, slow.incidence)
    assert torch.equal(past.infected_on, slow.infected_on)
    assert torch.allclose(past.memory, slow.memory)
    tangents, cotangent = random_tangents(rates, 2).map(lambda x: x.double()), torch.randn(past.incidence.shape)
    pairs = [(_compiled, _reference), (_derivatives.Removals(_compiled), _derivatives.Removals(_reference))]
    for ours, plain in pairs:
        bars = [k.vjp(c, rates, past, cotangent) for k in (ours, plain)]
        for x, y in zip(*(b.tensors() for b in bars), strict=True):
            assert torch.allclose(x, y, atol=1e-9)
        a, b = (k.jvp(c, rates, tangents, past) for k in (ours, plain))
        assert torch.allclose(a, b, atol=1e-9)
        assert a.abs().max() > 0


@pytest.mark.parametrize("reinfection", [pytest.param(False, marks=pytest.mark.slow), True])
def test_all_removals_after_given_infections_against_enumeration(reinfection):
    torch.set_default_dtype(torch.float64)
    population, runs = three_agents(), 6_000
    start = InfectedBefore(torch.tensor([[NEVER, -1, NEVER]], dtype=torch.int16))
    weights = torch.tensor(np.random.default_rng(0).normal(size=(DAYS, 2)))
    truth = torch.cat([x.flatten() for x in enumerated(population, everything(1, reinfection), weights, start)])
    leaves = everything(runs, reinfection).map(lambda x: x.requires_grad_())
    x = sim.epidemic(population, leaves, 7, start=start)
    bar = torch.autograd.grad((x * weights).sum(), leaves.tensors())
    found = torch.cat([x.reshape(runs, -1) for x in bar], 1)
    error = found.std(0) / runs**0.5
    z = ((found.mean(0) - truth) / error)[error > 0]
    assert 0.5 < float(z.square().mean().sqrt()) < 1.4
    assert float(z.abs().max()) < 4.5
    # had the infection before been left out, it would be seen
    other = torch.cat([x.flatten() for x in enumerated(population, everything(1, reinfection), weights)])
    assert float(((other - truth) / error)[error > 0].abs().max()) > 10


def test_who_was_infected_is_drawn_within_day_group_and_archetype():
    population, rates = world()
    counts = torch.zeros(2, 5, population.groups, population.archetypes)
    room = torch.from_numpy(
        np.bincount(population.group * 4 + population.archetype, minlength=counts[0, 0].numel()).reshape(-1, 4)
    )
    counts[:, 0], counts[:, 3] = room // 3, room // 4
    start = InfectedBefore.at_random(population, counts, 1)
    assert torch.equal(start.counts(population).double(), counts)
    assert torch.equal(start.incidence, counts.sum(-1))
    same = InfectedBefore.at_random(population, counts, 1)
    assert torch.equal(start.infected_on, same.infected_on)
    assert not torch.equal(start.infected_on[0], start.infected_on[1])
    # every member of a cell is as likely as another
    many = InfectedBefore.at_random(population, counts[:1].expand(4000, -1, -1, -1), 2)
    share = (many.infected_on != NEVER).double().mean(0)
    cell = torch.from_numpy(population.group * 4 + population.archetype).long()
    p = ((room // 3 + room // 4) / room).flatten()[cell]
    assert float(((share - p) / (p * (1 - p) / 4000).sqrt().clamp_min(1e-9)).abs().max()) < 5
    by_group = InfectedBefore.at_random(population, counts.sum(-1), 1)
    assert torch.equal(by_group.counts(population).sum(-1).double(), counts.sum(-1))
    assert sim.epidemic(population, rates, 3, start=by_group).shape == (2, 20, population.groups)


def test_bad_starts_are_refused():
    population, rates = world()
    with pytest.raises(ValueError, match="each is infected once"):
        InfectedBefore.at_random(population, torch.full((1, 3, population.groups), 500.0), 0)
    with pytest.raises(ValueError, match="whole"):
        InfectedBefore.at_random(population, torch.full((1, 3, population.groups), 0.5), 0)
    with pytest.raises(ValueError, match="days before the epidemic are negative"):
        InfectedBefore(torch.zeros(1, population.agents, dtype=torch.int16))
    start = InfectedBefore(torch.full((3, population.agents), -1, dtype=torch.int16))
    with pytest.raises(ValueError, match="give 2 particles"):
        sim.epidemic(population, rates, 0, start=start)
    start = InfectedBefore(start.infected_on[:1])
    with pytest.raises(ValueError, match="does not take"):
        sim.epidemic(population, rates, 0, start=start, estimator="straight-through")
    with pytest.raises(ValueError, match="name some of them"):
        rates.between(5, 90)


def test_infections_before_make_no_attempt_of_their_own():
    population, rates = world(days=8, households=12)
    counts = torch.zeros(2, 2, population.groups)
    counts[:, 1, 0] = 2.0
    start = InfectedBefore.at_random(population, counts, 5).start(population, rates)
    c = columns(population, CPU)
    past = _before.with_days_before(c, rates, _reference.run(c, rates, 5, torch.arange(2), start))
    w = _removals_reference.world(c, _before.with_days(rates, 14), past, 0)
    found = _removals_reference.attempts(w)
    given = set(np.flatnonzero(w.day < 14).tolist())
    assert len(given) == 2
    assert all(x.target not in w.agent[list(given)] or x.age >= 14 or x.source >= 0 for x in found)
    assert np.array_equal(_removals_reference.replay(w, found)[14:], past.incidence[0, 14:].numpy())
