import torch

from calib._anneal import anneal, systematic


def normal(z):
    return -0.5 * (z**2).sum(-1)


def test_mixture_keeps_its_weights():
    # modes 8 standard deviations apart, one three times as heavy
    heavy, light = torch.tensor([1.2, 0.0]), torch.tensor([-1.2, 0.5])

    def target(z):
        a = -0.5 * ((z - heavy) ** 2).sum(-1) / 0.09 + torch.log(torch.tensor(0.75))
        b = -0.5 * ((z - light) ** 2).sum(-1) / 0.09 + torch.log(torch.tensor(0.25))
        return torch.logaddexp(a, b)

    g = torch.Generator().manual_seed(0)
    z = anneal(torch.randn(8000, 2, generator=g), normal, target, sweeps=3, generator=g)
    right = z[:, 0] > 0
    assert abs(float(right.double().mean()) - 0.75) < 0.03
    torch.testing.assert_close(z[right].mean(0), heavy, atol=0.03, rtol=0)
    torch.testing.assert_close(z[right].std(0), torch.full((2,), 0.3), atol=0.03, rtol=0)


def test_narrow_correlated_target():
    precision = torch.linalg.inv(torch.tensor([[1e-2, 0.9e-3], [0.9e-3, 1e-4]]))
    centre = torch.tensor([1.0, -2.0])

    def target(z):
        d = z - centre
        return -0.5 * ((d @ precision) * d).sum(-1)

    g = torch.Generator().manual_seed(0)
    z = anneal(torch.randn(4000, 2, generator=g), normal, target, sweeps=4, generator=g)
    torch.testing.assert_close(z.T.cov(), torch.linalg.inv(precision), rtol=0.12, atol=1e-6)


def test_hard_bounds_and_seeds():
    def target(z):
        return torch.where((z.abs() < 0.5).all(-1), 0.0, -torch.inf)

    draws = []
    for _ in range(2):
        g = torch.Generator().manual_seed(3)
        draws.append(anneal(torch.randn(2000, 2, generator=g), normal, target, sweeps=3, generator=g))
    assert torch.equal(draws[0], draws[1])
    assert (draws[0].abs() < 0.5).all()
    torch.testing.assert_close(draws[0].std(0), torch.full((2,), 1 / 12**0.5), atol=0.02, rtol=0)


def test_systematic_resampling_counts():
    weight = torch.tensor([0.5, 0.25, 0.0, 0.25])
    index = systematic(weight, 400, torch.Generator().manual_seed(0))
    assert torch.bincount(index, minlength=4).tolist() == [200, 100, 0, 100]
