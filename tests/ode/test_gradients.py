"""Reverse mode, forward mode and finite differences must tell the same story, for every parameter and through both paths."""

import pytest
import torch
from torch.func import jacfwd, jvp, vmap

import ode

HOSTS = ode.archetypes_by_age_and_dose(age_midpoints=(5.0, 35.0, 78.0))
NAMES = [prior.name for prior in ode.PRIORS]


def from_vector(theta):
    """Parameters from `[..., 7]` standard normal scores."""
    return ode.WithinHostParameters(**{p.name: p.quantile(theta[..., i]) for i, p in enumerate(ode.PRIORS)})


def outputs(theta):
    """Everything that the population model takes, `[..., K, D + 1]`."""
    parameters = from_vector(theta)
    course = ode.within_host(parameters, HOSTS)
    taken = ode.susceptibility(course.antibody_at_exposure, parameters)
    return torch.cat((ode.infectiousness(course.viral_load), taken.unsqueeze(-1)), -1)


def scores(*shape, seed=2):
    return torch.randn(*shape, len(NAMES), generator=torch.Generator().manual_seed(seed))


def central(function, theta, h=1e-5):
    columns = []
    for i in range(theta.shape[-1]):
        shift = torch.zeros_like(theta)
        shift[..., i] = h
        columns.append((function(theta + shift) - function(theta - shift)) / (2 * h))
    return torch.stack(columns, -1)


def test_forward_mode_equals_finite_differences_for_every_parameter():
    theta = scores()
    jacobian = jacfwd(outputs)(theta)
    assert jacobian.shape == (12, 15, 7)
    torch.testing.assert_close(jacobian, central(outputs, theta), rtol=1e-6, atol=1e-8)
    assert (jacobian.abs().amax((0, 1)) > 1e-3).all(), "a parameter without effect"


def test_reverse_mode_equals_forward_mode():
    theta, weights = scores(), torch.randn(12, 15, generator=torch.Generator().manual_seed(3))
    leaf = theta.clone().requires_grad_()
    (reverse,) = torch.autograd.grad((outputs(leaf) * weights).sum(), leaf)
    forward = torch.einsum("kdq,kd->q", jacfwd(outputs)(theta), weights)
    torch.testing.assert_close(reverse, forward, rtol=1e-10, atol=1e-12)


def test_jvp_over_a_batch_equals_one_particle_at_a_time():
    theta, tangent = scores(3), scores(3, seed=4)
    value, moved = jvp(outputs, (theta,), (tangent,))
    for p in range(3):
        alone, alone_moved = jvp(outputs, (theta[p],), (tangent[p],))
        torch.testing.assert_close(value[p], alone)
        torch.testing.assert_close(moved[p], alone_moved)


def test_vmap_equals_the_batched_call_and_composes_with_jacfwd():
    theta = scores(3)
    torch.testing.assert_close(vmap(outputs)(theta), outputs(theta))
    batched = vmap(jacfwd(outputs))(theta)
    torch.testing.assert_close(batched[1], jacfwd(outputs)(theta[1]))


def test_gradients_of_a_thousand_draws_are_finite():
    leaf = scores(1000, seed=5).requires_grad_()
    (gradient,) = torch.autograd.grad(outputs(leaf).sum(), leaf)
    assert torch.isfinite(gradient).all()


def test_single_precision_gradient_is_near():
    theta = scores(4)
    tangent = torch.ones_like(theta)
    _, double = jvp(outputs, (theta,), (tangent,))
    _, single = jvp(outputs, (theta.float(),), (tangent.float(),))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


def through_chirho(theta, booster_day, antiviral_day, effect, step=0.125):
    days = {"booster_day": booster_day, "antiviral_day": antiviral_day}
    return ode.simulate_with_chirho(from_vector(theta), HOSTS, days=3, step=step, **days, antiviral_effect=effect)


def through_production(theta, booster_day, antiviral_day, effect, step=0.125):
    given = ode.Treatment(booster_day=booster_day, antiviral_day=antiviral_day, antiviral_effect=effect)
    return ode.within_host(from_vector(theta), HOSTS, days=3, step=step, treatment=given)


def total_of(path, step=0.125):
    """From the two times, the effect and the parameters, `[3 + 7]`, to total infectiousness."""
    return lambda x: ode.infectiousness(path(x[3:], *x[:3], step=step).viral_load).sum()


BETWEEN, ON_GRID = (1.55, 2.3), (1.5, 2.25)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize(
    ("path", "days", "step"),
    [
        (through_chirho, BETWEEN, 1 / 8),
        pytest.param(through_chirho, ON_GRID, 1 / 8, marks=pytest.mark.slow),
        pytest.param(through_production, BETWEEN, 1 / 8, marks=pytest.mark.slow),
        # a time on the grid is differentiated from its right, where the split of a step moves the error of the rule
        (through_production, ON_GRID, 1 / 16),
    ],
)
def test_gradient_in_time_and_size_of_an_intervention_and_in_the_parameters(path, days, step):
    """Reverse mode, forward mode and differences, through chirho's handlers and on the production path."""
    point, total = torch.cat((torch.tensor([*days, 0.8]), scores())), total_of(path, step)
    leaf = point.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(total(leaf), leaf)
    forward = torch.stack([jvp(total, (point,), (e,))[1] for e in torch.eye(len(point))])
    torch.testing.assert_close(reverse, forward, rtol=1e-9, atol=1e-10)
    with torch.no_grad():
        difference = central(total, point, h=1e-4)
    # across a step boundary the scheme itself has a kink of its own error
    torch.testing.assert_close(reverse, difference, rtol=5e-3, atol=1e-3)
    assert (reverse[:3].abs() > 0.01).all()


def test_the_two_paths_have_the_same_gradient_of_an_intervention():
    point, gradients = torch.cat((torch.tensor([*BETWEEN, 0.8]), scores())), []
    for path in (through_chirho, through_production):
        leaf = point.clone().requires_grad_()
        gradients.append(torch.autograd.grad(total_of(path)(leaf), leaf)[0])
    torch.testing.assert_close(*gradients, rtol=2e-3, atol=1e-3)


def test_treatments_go_through_vmap_and_jacfwd():
    when = torch.tensor([[1.3, 2.2, 0.5], [3.1, 0.9, 0.8]])
    theta = scores(2)
    one = vmap(jacfwd(lambda x, z: through_production(z, *x).viral_load))(when, theta)
    torch.testing.assert_close(one[1], jacfwd(lambda x: through_production(theta[1], *x).viral_load)(when[1]))


def test_reverse_and_forward_mode_through_both_paths_agree():
    theta = scores()
    gradients = []
    for path in (ode.within_host, ode.simulate_with_chirho):
        leaf = theta.clone().requires_grad_()
        load = path(from_vector(leaf), HOSTS, days=4).viral_load
        gradients.append(torch.autograd.grad(load.sum(), leaf)[0])
        columns = [
            jvp(lambda x, path=path: path(from_vector(x), HOSTS, days=4).viral_load.sum(), (theta,), (e,))[1]
            for e in torch.eye(len(theta))
        ]
        torch.testing.assert_close(torch.stack(columns), gradients[-1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_a_diverged_particle_leaves_the_gradients_of_the_others_alone():
    theta = scores(3)
    theta[1, 0] = 40.0  # growth of 500/day
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(outputs(leaf)[[0, 2]].sum(), leaf)
    alone = theta[[0, 2]].clone().requires_grad_()
    (expected,) = torch.autograd.grad(outputs(alone).sum(), alone)
    torch.testing.assert_close(gradient[[0, 2]], expected)
