"""The likelihood of noisy counts: exact sums, and honest intervals where the naive one's are too narrow."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch.distributions import LogNormal, Normal

from calib import Parameter, ParameterSpace
from calib.multifidelity import Stream, observe
from calib.privacy import NoisyObservations, naive
from calib.privacy._discrete_gaussian import log_probability, sample

SD = 4.0


def number(x):
    return torch.tensor(x, dtype=torch.float64)


def observed(counts):
    """One stream whose scatter is hardly more than Poisson's, and is known."""
    space = ParameterSpace(
        (
            Parameter("level", Normal(number(0.0), number(1.0))),
            Parameter("sd", LogNormal(number(math.log(0.05)), number(0.01))),
        )
    )
    return observe(space, [Stream(slice(0, len(counts)), counts[:, None], "counts", "sd")], floor=1e-3)


def noisy(counts, sd=SD):
    return NoisyObservations(observed(counts), torch.full((len(counts),), sd, dtype=torch.float64))


def test_it_is_the_sum_over_what_was_counted():
    released, mean = (
        torch.tensor([7.0, -3.0, 40.0], dtype=torch.float64),
        torch.tensor([[5.0, 2.0, 55.0]], dtype=torch.float64),
    )
    z = torch.zeros(1, 2, dtype=torch.float64)
    found = noisy(released).log_likelihood(z, mean)
    total = 0.0
    for y, m in zip(released, mean[0], strict=True):
        x = torch.arange(0.0, 400.0, dtype=torch.float64)
        alone = torch.stack([observed(v[None]).log_likelihood(z, m[None, None])[0] for v in x])
        total += float((alone + log_probability(y - x, SD)).logsumexp(0))
    assert float(found[0]) == pytest.approx(total, rel=1e-9)


def test_probabilities_of_all_releases_sum_to_one():
    z, mean = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[3.0]], dtype=torch.float64)
    total = sum(float(noisy(number(float(y))[None]).log_likelihood(z, mean).exp()) for y in range(-40, 60))
    assert total == pytest.approx(1.0, abs=1e-9)


def test_the_gradient_is_the_difference():
    released = torch.tensor([7.0, -3.0, 40.0], dtype=torch.float64)
    own, z = noisy(released), torch.zeros(1, 2, dtype=torch.float64)
    mean = torch.tensor([[5.0, 2.0, 55.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: own.log_likelihood(z, m), mean.requires_grad_())


def test_with_little_noise_it_is_the_plain_likelihood():
    counts, mean = (
        torch.tensor([7.0, 0.0, 40.0], dtype=torch.float64),
        torch.tensor([[5.0, 2.0, 55.0]], dtype=torch.float64),
    )
    z = torch.zeros(1, 2, dtype=torch.float64)
    assert torch.allclose(
        noisy(counts, 0.05).log_likelihood(z, mean), observed(counts).log_likelihood(z, mean), atol=1e-9
    )


def test_information_adds_the_variance_of_the_noise():
    counts, mean = torch.tensor([7.0, 9.0], dtype=torch.float64), torch.tensor([[5.0, 30.0]], dtype=torch.float64)
    z = torch.zeros(1, 2, dtype=torch.float64)
    slope = torch.zeros(1, 2, 2, dtype=torch.float64)
    slope[..., 0] = mean
    found = noisy(counts).information(z, mean, slope)[0, 0, 0]
    variance = mean + 0.05**2 * mean**2 + SD**2
    assert float(found) == pytest.approx(float((mean**2 / variance).sum()), rel=1e-3)
    assert torch.allclose(noisy(counts).weight(z, mean), mean**2 / variance, rtol=1e-3)


def intervals(observations, levels):
    """Central 90 % of the level by quadrature: log mean = 1.5 + 0.5 level, level ~ N(0, 1)."""
    z = torch.stack([levels, torch.zeros_like(levels)], 1)
    mean = torch.exp(1.5 + 0.5 * levels)[:, None].expand(-1, len(observations.which))
    log = observations.log_likelihood(z, mean) - 0.5 * levels**2
    below = (log - log.max()).exp().cumsum(0)
    below = below / below[-1]
    return float(levels[(below > 0.05).nonzero()[0, 0]]), float(levels[(below > 0.95).nonzero()[0, 0]])


def test_the_naive_likelihood_undercovers_and_the_one_that_knows_the_noise_does_not():
    """Ten counts with means around 4.5 and noise of sd 4, the truth drawn from its prior: 200 releases."""
    rng, levels = np.random.default_rng(0), torch.linspace(-4, 4, 201, dtype=torch.float64)
    inside = {"naive": 0, "aware": 0}
    for n in range(200):
        truth = rng.standard_normal()
        mean = math.exp(1.5 + 0.5 * truth)
        size = 1 / 0.05**2
        counted = rng.negative_binomial(size, size / (size + mean), 10)
        noise = np.array(sample(Fraction(SD) ** 2, 10, seed=n))
        released = torch.tensor(counted + noise, dtype=torch.float64)
        for name, own in (("naive", naive(observed(released))), ("aware", noisy(released))):
            low, high = intervals(own, levels)
            inside[name] += low <= truth <= high
    # binomial sd of 200 at 0.9: 2.1 %
    assert 0.84 < inside["aware"] / 200 < 0.96
    assert inside["naive"] / 200 < 0.75


def test_coverage_of_the_naive_interval_of_a_gaussian_has_a_closed_form():
    """Means of n numbers with variance v and noise of variance tau: the naive 90 % interval covers 2 Phi(1.645 sqrt(v / (v + tau))) - 1."""
    rng, n, v, tau = np.random.default_rng(1), 16, 9.0, 16.0
    data = rng.normal(0.0, math.sqrt(v), (20000, n)) + rng.normal(0.0, math.sqrt(tau), (20000, n))
    inside = np.abs(data.mean(1)) < 1.6448536 * math.sqrt(v / n)
    expected = 2 * ndtr(1.6448536 * math.sqrt(v / (v + tau))) - 1
    assert inside.mean() == pytest.approx(expected, abs=0.012)
    honest = np.abs(data.mean(1)) < 1.6448536 * math.sqrt((v + tau) / n)
    assert honest.mean() == pytest.approx(0.9, abs=0.008)
