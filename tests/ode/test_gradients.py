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


def treated(theta, booster_day, antiviral_day, effect):
    course = ode.simulate_with_chirho(
        from_vector(theta),
        HOSTS,
        days=8,
        booster_day=booster_day,
        antiviral_day=antiviral_day,
        antiviral_effect=effect,
    )
    return ode.infectiousness(course.viral_load)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("days", [(1.55, 2.7), (1.5, 2.75)], ids=["between steps", "on the step grid"])
def test_gradient_in_time_and_size_of_an_intervention(days):
    theta = scores()
    point = torch.tensor([*days, 0.8], requires_grad=True)
    total = treated(theta, *point).sum()
    (reverse,) = torch.autograd.grad(total, point)
    with torch.no_grad():
        difference = central(lambda x: treated(theta, *x).sum(), point.detach(), h=1e-4)
    # across a step boundary the scheme itself has a kink of its own error
    torch.testing.assert_close(reverse, difference, rtol=5e-3, atol=1e-3)
    forward = torch.stack([jvp(lambda x: treated(theta, *x).sum(), (point.detach(),), (e,))[1] for e in torch.eye(3)])
    torch.testing.assert_close(reverse, forward, rtol=1e-9, atol=1e-10)


def test_reverse_mode_through_both_paths_agrees():
    theta = scores()
    gradients = []
    for path in (ode.within_host, ode.simulate_with_chirho):
        leaf = theta.clone().requires_grad_()
        load = path(from_vector(leaf), HOSTS, days=8).viral_load
        gradients.append(torch.autograd.grad(load.sum(), leaf)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_a_diverged_particle_leaves_the_gradients_of_the_others_alone():
    theta = scores(3)
    theta[1, 0] = 40.0  # growth of 500/day
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(outputs(leaf)[[0, 2]].sum(), leaf)
    alone = theta[[0, 2]].clone().requires_grad_()
    (expected,) = torch.autograd.grad(outputs(alone).sum(), alone)
    torch.testing.assert_close(gradient[[0, 2]], expected)
