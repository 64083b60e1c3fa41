import math

import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from calib._anneal import anneal
from calib._mixture import Mixture, fit_mixture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two(dim=2):
    centre = torch.stack([torch.full((dim,), -2.0), torch.full((dim,), 2.0)])
    factor = torch.stack([0.1 * torch.eye(dim), 0.5 * torch.eye(dim)])
    return Mixture(torch.tensor([0.3, 0.7]).log(), centre, factor)


def test_density_is_that_of_torch():
    mixture = two()
    same = MixtureSameFamily(
        Categorical(logits=mixture.share), MultivariateNormal(mixture.centre, scale_tril=mixture.factor)
    )
    x = torch.randn(50, 2, generator=generator()) * 2
    torch.testing.assert_close(mixture.log_prob(x), same.log_prob(x))


def test_fit_to_its_own_draws():
    x = two().sample(4000, generator())
    fitted = fit_mixture(x, generator(1), components=2)
    order = fitted.centre[:, 0].argsort()
    torch.testing.assert_close(fitted.share.exp()[order], torch.tensor([0.3, 0.7]), atol=0.03, rtol=0)
    torch.testing.assert_close(fitted.centre[order], two().centre, atol=0.05, rtol=0)
    torch.testing.assert_close(
        fitted.factor[order].diagonal(dim1=1, dim2=2)[:, 0], torch.tensor([0.1, 0.5]), atol=0.03, rtol=0
    )


def test_draws_on_one_point_are_no_error():
    assert torch.isfinite(fit_mixture(torch.ones(100, 3), generator()).log_prob(torch.ones(5, 3))).all()


def test_modes_of_unequal_width_get_their_shares():
    """A narrow mode of weight 0.7 beside a wide one: early in the tempering the wide one holds nearly all draws."""
    dim = 3
    mixture = Mixture(
        torch.tensor([0.7, 0.3]).log(),
        torch.stack([torch.full((dim,), -1.5), torch.full((dim,), 1.5)]),
        torch.stack([0.15 * torch.eye(dim), 0.4 * torch.eye(dim)]),
    )
    prior = lambda x: -0.5 * (x**2).sum(-1) - 0.5 * dim * math.log(2 * math.pi)  # noqa: E731
    shares = []
    for seed in range(3):
        g = generator(seed)
        x = anneal(torch.randn(1000, dim, generator=g), prior, mixture.log_prob, sweeps=4, last_sweeps=20, generator=g)
        shares.append(float((x[:, 0] < 0).double().mean()))
    assert all(abs(share - 0.7) < 0.06 for share in shares), shares
