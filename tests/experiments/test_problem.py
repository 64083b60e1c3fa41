"""The likelihood without a run of the model is the model's likelihood."""

import pytest
import torch

from calib.multifidelity import Emulator, EmulatorPosterior, fit_quadratic
from epi.data import Data, observed
from epi.inference.features import make_features
from epi.inference.likelihood import Inference
from epi.inference.problem import compared, make_problem
from epi.model import observation_distribution
from tests.experiments import nz
from tests.experiments.conftest import double_precision

RUNS = 12


@pytest.fixture(scope="module")
def features(tiny):
    return make_features(tiny.short)


@pytest.fixture(scope="module")
def straight_and_bent(tiny, features):
    """Emulators with outputs of every size, some below the smallest that is told from zero."""
    with double_precision():
        return [around(tiny, features, bent) for bent in (False, True)]


def problem_of(tiny, data, features):
    return make_problem(dict.fromkeys(("values", "start", "slopes"), tiny.short), data, features, [], "")


def around(tiny, features, bent):
    g = torch.Generator().manual_seed(5)
    M, E = (
        tiny.short.layout.size,
        features(torch.zeros(1, tiny.space.dim)).shape[1],
    )
    intercept, slope = torch.linspace(-5, 9, M), 0.1 * torch.randn(M, E, generator=g)
    residual = 0.2 * torch.randn(RUNS, M, generator=g)
    centre = features(torch.zeros(1, tiny.space.dim))[0]
    quadratic = None
    if bent:
        x = torch.randn(RUNS, E, generator=g)
        quadratic = fit_quadratic(x, 0.02 * (x[:, :1] ** 2 + x[:, 1:2]) + residual, slope)
    return Emulator(centre, intercept, slope, residual, features, quadratic)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("streams", [nz.DEFAULT, nz.OPTIONS, ("border",), ("cases",)])
def test_value_and_gradient_are_those_of_the_trace(tiny, epidemic_data, features, straight_and_bent, bent, streams):
    data = observed(epidemic_data, tiny.full.observation.weeks, streams).until(tiny.short.weeks)
    posterior = EmulatorPosterior(problem_of(tiny, data, features), straight_and_bent[bent])
    inference = Inference(tiny.short, data, posterior=posterior)
    z = (0.3 * torch.randn(4, tiny.space.dim, generator=torch.Generator().manual_seed(6))).requires_grad_()
    mean = posterior.emulator(z)
    ways = (
        inference._likelihood(z, lambda _: tiny.short.layout.split(mean)),
        posterior.fit_problem().log_likelihood(z, 0, "reverse"),
        posterior.problem.observations.log_likelihood(z, *posterior.fitted.predict(z)),
    )
    wanted, *found = [(x.detach(), *torch.autograd.grad((x * torch.arange(1.0, 5.0)).sum(), z)) for x in ways]
    for value, slope in found:
        torch.testing.assert_close(value, wanted[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(slope, wanted[1], rtol=1e-10, atol=1e-10 * float(wanted[1].abs().max()))


@pytest.mark.parametrize("streams", [nz.OPTIONS, ("border",), ("cases",)])
def test_information_is_the_sum_of_that_of_the_streams(tiny, epidemic_data, features, straight_and_bent, streams):
    data = observed(epidemic_data, tiny.full.observation.weeks, streams).until(tiny.short.weeks)
    emulator = straight_and_bent[0]
    inference, observations = Inference(tiny.short, data), problem_of(tiny, data, features).observations
    z = 0.3 * torch.randn(2, tiny.space.dim, generator=torch.Generator().manual_seed(8))
    mean, slope = emulator(z), emulator.jacobian(z)
    parts = inference.information(z, mean, slope, data.in_likelihood)
    wanted = torch.stack([parts[name] for name in data.streams]).sum(0)
    torch.testing.assert_close(observations.information(z, mean, slope), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bent", [False, True])
def test_with_drawn_errors_it_is_the_distribution_of_each_observation(
    tiny, epidemic_data, features, straight_and_bent, bent
):
    data = observed(epidemic_data, tiny.full.observation.weeks, nz.OPTIONS).until(tiny.short.weeks)
    posterior = EmulatorPosterior(problem_of(tiny, data, features), straight_and_bent[bent])
    g = torch.Generator().manual_seed(7)
    z = 0.3 * torch.randn(3, tiny.space.dim, generator=g)
    errors, which = posterior.shared_error(z[0]), posterior.problem.observations.which
    drawn = torch.randn(3, errors.count, generator=g)
    mean, left = (torch.ones(3, len(posterior.emulator.intercept)) for _ in range(2))
    mean[:, which], left[:, which] = posterior.outputs_given(z, errors, drawn)
    expected, relative = (tiny.short.layout.split(x) for x in (mean, left))
    theta = tiny.space.to_theta(z)
    wanted = -0.5 * (drawn.square().sum(1) + z.square().sum(1))
    for name in data.streams:
        distribution = observation_distribution(nz.STREAMS[name], expected[name], theta, relative[name].sqrt())
        wanted = wanted + distribution.log_prob(data.counts[name].nan_to_num(1.0))[:, data.in_likelihood[name]].sum(1)
    joint, both = posterior.joint(errors), torch.cat([z, drawn], 1).requires_grad_()
    found = joint(both)
    torch.testing.assert_close(found.detach(), wanted, rtol=1e-10, atol=1e-10)
    (slope,) = torch.autograd.grad(found.sum(), both)
    for one, other in zip(joint.with_slope(both), (found.detach(), slope), strict=True):
        assert not one.requires_grad
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(slope.abs().max()))
    assert not torch.allclose(mean[:, which], posterior.emulator(z)[:, which])


def test_exact_means_and_a_particle_that_failed(tiny, epidemic_data, features):
    data = observed(epidemic_data, tiny.full.observation.weeks, nz.DEFAULT).until(tiny.short.weeks)
    inference, observations = Inference(tiny.short, data), problem_of(tiny, data, features).observations
    which = observations.which
    z = torch.zeros(2, tiny.space.dim)
    flat = tiny.short.layout.flat(tiny.short.bind(3)(tiny.space.to_theta(z)))
    wanted = inference._likelihood(z, lambda _: tiny.short.layout.split(flat))
    torch.testing.assert_close(observations.log_likelihood(z, flat[:, which]), wanted, rtol=1e-10, atol=1e-10)
    flat[1] = torch.nan
    assert torch.isfinite(observations.log_likelihood(z, flat[:, which])).tolist() == [True, False]


def test_only_observations_in_the_likelihood_are_looked_at(tiny, epidemic_data, features):
    data = observed(epidemic_data, tiny.full.observation.weeks, nz.DEFAULT).until(tiny.short.weeks)
    observations = problem_of(tiny, data, features).observations
    which = observations.which
    z = torch.zeros(1, tiny.space.dim)
    flat = tiny.short.layout.flat(tiny.short.bind(3)(tiny.space.to_theta(z)))
    changed = torch.where(compared(data, tiny.short.layout), flat, torch.nan)
    assert torch.equal(
        observations.log_likelihood(z, changed[:, which]), observations.log_likelihood(z, flat[:, which])
    )
    assert int(compared(data, tiny.short.layout).sum()) == len(which)
    moved = Data({name: x + 1 for name, x in data.counts.items()}, data.in_likelihood, data.fitted)
    other = problem_of(tiny, moved, features).observations
    assert not torch.equal(other.log_likelihood(z, flat[:, which]), observations.log_likelihood(z, flat[:, which]))
