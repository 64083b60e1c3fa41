"""Coordinates in which log counts are nearly straight."""

import torch

from calib.multifidelity import feature_jacobian
from epi.inference.features import HOSTS, _cubic, _forms, _polynomial, make_features
from epi.model.transmission import host_tables


def test_chart_keeps_every_direction_but_the_two_spreads(tiny):
    features = make_features(tiny.short)
    z = 0.5 * torch.randn(2, tiny.space.dim, generator=torch.Generator().manual_seed(0))
    slope = feature_jacobian(features, z)
    assert slope.shape == (2, tiny.space.dim - 2, tiny.space.dim)
    assert float(torch.linalg.svdvals(slope).min()) > 1e-3  # Jacobians can be turned into those in the features


def test_strength_of_transmission_is_that_of_the_hosts(tiny):
    """The cubic against the solved within-host model, at draws that it was not fitted to."""
    simulator, space = tiny.short, tiny.space
    features = make_features(simulator)
    z = torch.randn(64, space.dim, generator=torch.Generator().manual_seed(1))
    hosts = host_tables(space.to_theta(z), simulator.context)
    share = simulator.context.population_share.reshape(20, 8).mean(0)
    people = share @ simulator.observation.share
    log_strength = (hosts.susceptibility * hosts.infectiousness.sum(-1) * people).sum(-1).log()
    rows = [p.name for p in space.parameters if p.name not in ("district_spread", "seed_spread")]
    first = features.roles.venues[0]
    at = sum(space.slice_of(n).stop - space.slice_of(n).start for n in rows[: rows.index(first)])
    found = (features(z)[:, at] / (space.to_theta(z)[first] / space.to_theta(0 * z)[first])).log()
    wrong = (found - log_strength) - (found - log_strength).mean()
    assert float(wrong.std()) < 0.1 * float(log_strength.std())
    assert 2 * _cubic(torch.zeros(7)).numel() < HOSTS


def test_compiled_chart_is_the_chart(tiny):
    features = make_features(tiny.short)
    g = torch.Generator().manual_seed(3)
    for width in (0.3, 3.0):
        z = (width * torch.randn(5, tiny.space.dim, generator=g)).requires_grad_()
        eta = features(z)
        by = torch.randn(eta.shape, generator=g)
        (wanted,) = torch.autograd.grad(eta, z, by)
        same, back = features.with_back(z)
        torch.testing.assert_close(same, eta.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(back(by), wanted, rtol=1e-10, atol=1e-10 * float(wanted.abs().max()))


def test_forms_are_the_cubic():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(5, 7, generator=g)
    coefficients = torch.randn(_cubic(x).shape[1], generator=g)
    torch.testing.assert_close(_polynomial(x, *_forms(coefficients, 7)), _cubic(x) @ coefficients)
