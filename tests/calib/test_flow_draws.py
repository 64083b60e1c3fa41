import pytest
import torch

from calib._flow_draws import fit_flow
from calib._flows import make_flow


def shaken(name, dim=3, seed=0):
    flow = make_flow(name, dim, seed=seed, hidden=16, direction="density")
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=g))
    return flow


@pytest.mark.parametrize("name", ["nsf", "maf", "gaussian-nsf"])
def test_density_is_that_of_the_draws(name):
    flow = shaken(name)
    z, log_q = flow.sample_with_log_prob(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(flow.log_prob(z), log_q, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        flow.inverse(z), torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("name", ["nsf", "maf"])
def test_score_is_the_derivative_of_the_density(name):
    flow = shaken(name)
    noise = 0.7 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    z = flow.sample_with_log_prob(noise)[0].detach().requires_grad_()
    (wanted,) = torch.autograd.grad(flow.log_prob(z).sum(), z)
    torch.testing.assert_close(flow.score(noise), wanted, atol=1e-6, rtol=1e-5)


def test_gaussian_is_fitted_by_moments():
    g = torch.Generator().manual_seed(0)
    factor = torch.tensor([[0.5, 0.0], [0.3, 0.1]])
    z = torch.randn(5000, 2, generator=g) @ factor.T + 1.0
    flow, _ = fit_flow(make_flow("gaussian", 2, seed=0), z, seed=0)
    at = torch.tensor([[1.0, 1.0], [1.3, 0.9]])
    wanted = torch.distributions.MultivariateNormal(torch.ones(2), factor @ factor.T).log_prob(at)
    torch.testing.assert_close(flow.log_prob(at), wanted, atol=0.15, rtol=0)


@pytest.mark.slow
def test_spline_flow_beats_the_gaussian_on_a_bend():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, generator=g)
    z = torch.stack([x, x**2 + 0.2 * torch.randn(3000, generator=g)], 1)
    _, gaussian = fit_flow(make_flow("gaussian", 2, seed=0), z, seed=0)
    fitted, spline = fit_flow(
        make_flow("nsf", 2, seed=0, hidden=16, transforms=2, direction="density"), z, seed=0, steps=150, batch=256
    )
    assert spline > gaussian + 0.5
    assert not any(p.requires_grad for p in fitted.parameters())


def test_direction_is_checked():
    with pytest.raises(ValueError, match="direction"):
        make_flow("nsf", 2, seed=0, direction="both")
