"""The likelihood without a run of the model is the model's likelihood."""

import dataclasses

import pytest
import torch
from epi.model.model import figures_law
from epi.study.streams import DEFAULT, OPTIONS

from calib._bend_fit import learn_bend
from calib._local_mean import LocalMean
from epi.data.observations import Data, observed
from epi.inference.features import make_chart
from epi.inference.likelihood import Inference
from epi.model.observation import PLACES, Expected
from tests.experiments.conftest import double_precision

RUNS = 30


@pytest.fixture(scope="module")
def chart(tiny):
    return make_chart(tiny.short)


@pytest.fixture(scope="module")
def straight_and_bent(tiny, chart):
    """Local means with figures of every size, some below the smallest that is told from zero."""
    with double_precision():
        return [around(tiny, chart, bent) for bent in (False, True)]


def around(tiny, chart, bent):
    g = torch.Generator().manual_seed(5)
    M, E = (
        tiny.short.weeks * sum(len(places) for places in PLACES.values()),
        chart(torch.zeros(1, tiny.space.dim)).shape[1],
    )
    log_mean, slope = torch.linspace(-5, 9, M), 0.1 * torch.randn(M, E, generator=g)
    stray = 0.2 * torch.randn(RUNS, M, generator=g)
    centre = chart(torch.zeros(1, tiny.space.dim))[0]
    bend = None
    if bent:
        x = torch.randn(RUNS, E, generator=g)
        bend = learn_bend(x, 0.02 * (x[:, :1] ** 2 + x[:, 1:2]) + stray, slope)
    return LocalMean(centre, log_mean, slope, stray, chart, bend)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("signals", [DEFAULT, OPTIONS, ("border",), ("cases",)])
def test_value_and_gradient_are_those_of_the_trace(tiny, figures, chart, straight_and_bent, bent, signals):
    data = observed(figures, tiny.full.observation.weeks, signals).until(tiny.short.weeks)
    inference = Inference(tiny.short, data, local=straight_and_bent[bent], chart=chart)
    z = (0.3 * torch.randn(4, tiny.space.dim, generator=torch.Generator().manual_seed(6))).requires_grad_()
    mean = inference.local(z)
    ways = (
        inference._likelihood(z, lambda _: Expected.from_flat(mean, tiny.short.weeks)),
        inference.local_problem("").log_likelihood(z, 0, "reverse"),
        inference.likelihood_of_means(z, inference.local(z)),
    )
    wanted, *found = [(x.detach(), *torch.autograd.grad((x * torch.arange(1.0, 5.0)).sum(), z)) for x in ways]
    for value, slope in found:
        torch.testing.assert_close(value, wanted[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(slope, wanted[1], rtol=1e-10, atol=1e-10 * float(wanted[1].abs().max()))


@pytest.mark.parametrize("bent", [False, True])
def test_with_drawn_errors_it_is_the_law_of_each_figure(tiny, figures, chart, straight_and_bent, bent):
    data = observed(figures, tiny.full.observation.weeks, OPTIONS).until(tiny.short.weeks)
    inference = Inference(tiny.short, data, local=straight_and_bent[bent], chart=chart)
    g = torch.Generator().manual_seed(7)
    z = 0.3 * torch.randn(3, tiny.space.dim, generator=g)
    errors = inference.common_error(z[0])
    drawn = torch.randn(3, errors.count, generator=g)
    mean, left = (torch.ones(3, len(inference.fitted_mean)) for _ in range(2))
    mean[:, inference.which], left[:, inference.which] = inference.off_by(z, errors, drawn)
    expected, relative = (Expected.from_flat(x, tiny.short.weeks) for x in (mean, left))
    theta = tiny.space.to_theta(z)
    wanted = -0.5 * (drawn.square().sum(1) + z.square().sum(1))
    for name in data.signals:
        law = figures_law(name, getattr(expected, name), theta, getattr(relative, name).sqrt())
        wanted = wanted + law.log_prob(data.counts[name].nan_to_num(1.0))[:, data.seen[name]].sum(1)
    joint, both = inference.joint(errors), torch.cat([z, drawn], 1).requires_grad_()
    found = joint(both)
    torch.testing.assert_close(found.detach(), wanted, rtol=1e-10, atol=1e-10)
    (slope,) = torch.autograd.grad(found.sum(), both)
    for one, other in zip(joint.with_slope(both), (found.detach(), slope), strict=True):
        assert not one.requires_grad
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(slope.abs().max()))
    assert not torch.allclose(mean[:, inference.which], inference.local(z)[:, inference.which])


def test_exact_means_and_a_particle_that_failed(tiny, figures):
    data = observed(figures, tiny.full.observation.weeks, DEFAULT).until(tiny.short.weeks)
    inference = Inference(tiny.short, data)
    z = torch.zeros(2, tiny.space.dim)
    flat = tiny.short.bind(3)(tiny.space.to_theta(z)).flat()
    wanted = inference._likelihood(z, lambda _: Expected.from_flat(flat, tiny.short.weeks))
    torch.testing.assert_close(inference.likelihood_of_means(z, flat), wanted, rtol=1e-10, atol=1e-10)
    flat[1] = torch.nan
    assert torch.isfinite(inference.likelihood_of_means(z, flat)).tolist() == [True, False]


def test_only_figures_seen_are_looked_at(tiny, figures):
    data = observed(figures, tiny.full.observation.weeks, DEFAULT).until(tiny.short.weeks)
    inference = Inference(tiny.short, data)
    z = torch.zeros(1, tiny.space.dim)
    flat = tiny.short.bind(3)(tiny.space.to_theta(z)).flat()
    changed = torch.where(inference.fitted_mean, flat, torch.nan)
    assert torch.equal(inference.likelihood_of_means(z, changed), inference.likelihood_of_means(z, flat))
    assert int(inference.fitted_mean.sum()) == len(inference._seen.which)
    moved = Data({name: x + 1 for name, x in data.counts.items()}, data.seen, data.fitted)
    other = dataclasses.replace(inference, data=moved)
    assert not torch.equal(other.likelihood_of_means(z, flat), inference.likelihood_of_means(z, flat))
