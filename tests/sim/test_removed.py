"""A random part of the removals: the same mean as all of them, in every mode; and all of them where a run has few infections."""

from dataclasses import replace

import pytest
import torch

from sim import _compiled, _removals, _removals_reference, _removed
from sim._columns import columns
from tests.sim.worlds import random_tangents, small_population, some_rates

CPU = torch.device("cpu")


def chosen(number: int, key: int = 7) -> torch.Tensor:
    nothing = torch.zeros(number, dtype=torch.int64)
    given = nothing.bool()
    given[:10] = True
    return _removed.weights(torch.tensor([key]), nothing, torch.arange(number), nothing, number, given)


def test_weights_count_for_those_left_out(monkeypatch):
    few = chosen(1_000)
    assert (few[:10] == 0).all()
    assert (few[10:] == 1).all()
    monkeypatch.setattr(_removed, "MOST", 2_000)
    many, other = chosen(50_010), chosen(50_010, key=8)
    assert (many[:10] == 0).all()
    assert set(many.tolist()) == {0.0, 25.0}
    assert abs(float(many.sum()) - 50_000) < 5 * 25 * 2_000**0.5  # five standard deviations
    assert not torch.equal(many, other)


@pytest.fixture
def world():
    population = small_population(150, regions=2, ages=2, archetypes=2, school=40)
    rates = some_rates(population, particles=2, days=12).map(lambda x: x.double())
    return columns(population, CPU), replace(rates, aversion=5 * rates.aversion)


def test_modes_and_the_reference_remove_the_same(world, monkeypatch):
    c, rates = world
    monkeypatch.setattr(_removed, "MOST", 6)
    past = _compiled.run(c, rates, 3, torch.arange(2))
    assert (past.incidence.sum((1, 2)) > 15).all()
    cotangent = torch.randn(past.incidence.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bar = _removals.vjp(c, rates, past, cotangent)
    for x, y in zip(bar.tensors(), _removals_reference.vjp(c, rates, past, cotangent).tensors(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)
    tangents = random_tangents(rates, 3)
    along = _removals.jvp(c, rates, tangents, past)
    torch.testing.assert_close(along, _removals_reference.jvp(c, rates, tangents, past).to(along), rtol=1e-9, atol=1e-9)
    pairs = zip(bar.tensors(), tangents.tensors(), strict=True)
    reverse = sum((x[..., None] * dx).flatten(0, -2).sum(0) for x, dx in pairs)
    torch.testing.assert_close(torch.einsum("ptg,ptgq->q", cotangent, along), reverse, rtol=1e-9, atol=1e-9)


def test_a_part_has_the_mean_of_all(monkeypatch):
    population = small_population(300, regions=2, ages=2, archetypes=2, school=40)
    c, runs = columns(population, CPU), 600
    rates = some_rates(population, particles=1, days=12).map(
        lambda x: x.double().expand(runs, *x.shape[1:]).contiguous()
    )
    past = _compiled.run(c, rates, 3, torch.arange(runs))
    weight = torch.ones_like(past.incidence)

    def slopes() -> torch.Tensor:
        bar = _removals.vjp(c, rates, past, weight)
        return torch.stack(
            [(bar.transmission * rates.transmission).sum((1, 2)), (bar.importation * rates.importation).sum((1, 2))], 1
        )

    whole = slopes()
    monkeypatch.setattr(_removed, "MOST", 20)
    assert float(past.incidence.sum()) / runs > 60
    apart = slopes() - whole
    assert (apart.mean(0).abs() < 3.5 * apart.std(0) / runs**0.5).all()
    assert (apart.std(0) > 0.1 * whole.std(0)).all()  # that it is a part
