"""Counts and levels in closed form against Pyro's distributions and finite differences."""

import pyro.distributions as dist
import torch

from calib.multifidelity._densities import log_counts, log_levels


def some(particles=4, observations=9):
    g = torch.Generator().manual_seed(0)
    count = torch.tensor([0.0, 0.0, 1.0, 2.0, 7.0, 40.0, 300.0, 4e3, 5e4])[:observations]
    mean = (count + 0.05) * (0.4 * torch.randn(particles, observations, generator=g)).exp()
    cluster = 1 + 5 * torch.rand(particles, observations, generator=g)
    cluster[:, ::2] = 1.0  # people who do not come in outbreaks
    relative = 0.01 + 0.1 * torch.rand(particles, observations, generator=g)
    return count, *(x.requires_grad_() for x in (mean, cluster, relative))


def test_it_is_the_negative_binomial():
    count, mean, cluster, relative = some()
    size = mean**2 / ((cluster - 1) * mean + relative * mean**2)
    wanted = dist.NegativeBinomial(size, logits=(mean / size).log()).log_prob(count).sum(-1)
    found = log_counts(count, mean, cluster, relative)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-10)
    weight = torch.arange(1.0, 5.0)
    slopes = [torch.autograd.grad((x * weight).sum(), (mean, cluster, relative)) for x in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_slopes_by_finite_differences():
    count, mean, cluster, relative = some(2, 7)
    up = (cluster.detach() + 0.1).requires_grad_()  # a cluster of one is the edge of what there is
    assert torch.autograd.gradcheck(lambda *x: log_counts(count, *x), (mean, up, relative), rtol=1e-5, atol=1e-5)


def test_without_a_gradient_and_with_none_counted():
    count, mean, cluster, relative = (x.detach() for x in some())
    assert not log_counts(count, mean, cluster, relative).requires_grad
    none = log_counts(count[:0], mean[:, :0], cluster[:, :0], relative[:, :0])
    assert torch.equal(none, torch.zeros(4))


def test_a_failed_mean_stays_failed():
    count, mean, cluster, relative = (x.detach() for x in some())
    mean[1, 3] = torch.nan
    assert torch.isfinite(log_counts(count, mean, cluster, relative)).tolist() == [True, False, True, True]


def test_levels_are_log_normal():
    _, mean, _, relative = some()
    level = torch.linspace(0.2, 80.0, 9)
    wanted = dist.LogNormal(mean.log(), relative.sqrt()).log_prob(level).sum(-1)
    found = log_levels(level, mean, relative)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(x.sum(), (mean, relative)) for x in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
