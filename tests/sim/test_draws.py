"""Draws: exact distributions, gradients that are right where they are said to be, and biased by as much as is said where they are not."""

import math

import pytest
import torch
import torch.autograd.forward_ad as fwAD

from sim import Bernoulli, Categorical, score_function
from sim._draws import DRAWS

N = 100_000


def gradient_samples(p, f, estimator, baseline=0.0, **settings):
    """One sample of d f(x) / dp for each of N draws."""
    probability = torch.full((N,), p, requires_grad=True)
    distribution = Bernoulli(probability, estimator, **settings)
    x = distribution.draw(1)
    value = f(x)
    if estimator == "score-function":
        value = score_function(value, distribution.log_probability(x), baseline)
    (gradient,) = torch.autograd.grad(value.sum(), probability)
    return gradient


def near(samples, expected, sigmas=4.5):
    return abs(float(samples.mean() - expected)) <= sigmas * float(samples.std()) / N**0.5 + 1e-12


def mean_of_concrete(p):
    """E z at temperature 1: the integral of p (1 - u) / (p (1 - u) + (1 - p) u) over u."""
    r = 1 - 2 * p
    return p / r * ((1 - p) / r * torch.log((1 - p) / p) - 1)


@pytest.mark.parametrize("p", [0.1, 0.7])
def test_straight_through_is_exact_for_a_linear_function_and_off_for_a_square(p):
    linear = gradient_samples(p, lambda x: 3 * x, "straight-through")
    assert torch.equal(linear, torch.full_like(linear, 3.0))  # no variance of its own
    square = gradient_samples(p, lambda x: x**2, "straight-through")
    assert near(square, 2 * p)  # the truth is 1


def test_straight_through_is_exact_for_products_of_draws():
    p = torch.tensor([0.3, 0.6]).expand(N, 2).clone().requires_grad_()
    x = Bernoulli(p).draw(3)
    (gradient,) = torch.autograd.grad((x[:, 0] * x[:, 1]).sum(), p)
    assert near(gradient[:, 0], 0.6)
    assert near(gradient[:, 1], 0.3)


@pytest.mark.parametrize("p", [0.1, 0.7])
@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_score_function_is_exact_for_any_function_with_the_stated_variance(p, baseline):
    f = lambda x: torch.exp(x) - 1  # noqa: E731
    samples = gradient_samples(p, f, "score-function", baseline)
    high = math.e - 1
    assert near(samples, high)
    variance = (high - baseline) ** 2 / p + baseline**2 / (1 - p) - high**2
    assert abs(float(samples.var()) / variance - 1) < 0.05


def test_the_stated_baseline_leaves_no_variance():
    p = 0.2
    samples = gradient_samples(p, lambda x: 1 + 4 * x, "score-function", baseline=p * 1 + (1 - p) * 5)
    assert torch.allclose(samples, torch.tensor(4.0), rtol=1e-6)


@pytest.mark.parametrize("p", [0.03, 0.45])
def test_gumbel_softmax_is_biased_even_for_a_linear_function(p):
    at = torch.tensor(p, requires_grad=True)
    (slope,) = torch.autograd.grad(mean_of_concrete(at), at)
    assert abs(float(slope) - 1) > 0.25
    for hard in (True, False):
        assert near(gradient_samples(p, lambda x: x, "gumbel-softmax", temperature=1.0, hard=hard), float(slope))
    soft = Bernoulli(torch.full((N,), p), "gumbel-softmax", temperature=1.0, hard=False).draw(1)
    assert near(soft, float(mean_of_concrete(torch.tensor(p))))


def test_gumbel_softmax_trades_bias_for_variance_in_the_temperature():
    samples = {t: gradient_samples(0.3, lambda x: x, "gumbel-softmax", temperature=t) for t in (1.0, 0.1, 0.02)}
    assert near(samples[0.02], 1.0)
    assert not near(samples[1.0], 1.0)
    ratio = float(samples[0.02].var() / samples[0.1].var())
    assert 3 < ratio < 8  # about 1 / temperature


@pytest.mark.parametrize("estimator", DRAWS)
def test_every_estimator_draws_the_same_distribution_from_the_same_numbers(estimator):
    p, u = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Bernoulli(p, estimator).draw(uniform=u), (u < p).to(p.dtype))
    assert torch.equal(Bernoulli(p, estimator).draw(7), Bernoulli(p, estimator).draw(7))
    q = torch.tensor([0.2, 0.5, 0.0, 0.3]).expand(N, 4)
    share = Categorical(q, estimator).draw(2)
    assert torch.equal(share.sum(-1), torch.ones(N))
    assert torch.all((share.mean(0) - q[0]).abs() <= 4.5 * (q[0] * (1 - q[0]) / N).sqrt())
    generator = torch.Generator().manual_seed(5)
    first = Categorical(q, estimator).draw(generator)
    assert torch.equal(first, Categorical(q, estimator).draw(5))
    assert not torch.equal(first, Categorical(q, estimator).draw(generator))


@pytest.mark.parametrize("estimator", DRAWS)
@pytest.mark.parametrize("hard", [True, False])
def test_a_gradient_is_a_number_wherever_the_probability_lies(estimator, hard):
    p = torch.tensor([0.0, 1e-300, 1e-9, 0.5, 1 - 1e-9, 1.0], requires_grad=True)
    distribution = Bernoulli(p, estimator, hard=hard)
    x = distribution.draw(4)
    (gradient,) = torch.autograd.grad((x + distribution.log_probability(x)).sum(), p)
    assert torch.isfinite(gradient).all()
    q = torch.tensor([[0.0, 1.0], [1e-300, 1.0], [0.5, 0.5]], requires_grad=True)
    kinds = Categorical(q, estimator, hard=hard)
    y = kinds.draw(4)
    (gradient,) = torch.autograd.grad((y * torch.tensor([1.0, 2.0])).sum() + kinds.log_probability(y).sum(), q)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("estimator", DRAWS)
def test_forward_mode_is_the_transpose(estimator):
    p = torch.rand(50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    dp = torch.randn(50, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((Bernoulli(p, estimator).draw(2) ** 2).sum(), p)
    with fwAD.dual_level():
        x = Bernoulli(fwAD.make_dual(p.detach(), dp), estimator).draw(2)
        tangent = fwAD.unpack_dual((x**2).sum()).tangent
    assert abs(float(tangent) - float((gradient * dp).sum())) < 1e-9


def test_categorical_gradients_of_a_linear_function():
    p, worth = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([1.0, -2.0, 4.0])
    direction = torch.tensor([1.0, -1.5, 0.5])  # keeps the sum
    truth = float(worth @ direction)

    def along(estimator, **settings):
        q = p.expand(N, 3).clone().requires_grad_()
        distribution = Categorical(q, estimator, **settings)
        x = distribution.draw(1)
        value = x @ worth
        if estimator == "score-function":
            value = score_function(value, distribution.log_probability(x), 0.5)
        return torch.autograd.grad(value.sum(), q)[0] @ direction

    assert torch.allclose(along("straight-through"), torch.tensor(truth))
    assert near(along("score-function"), truth)
    assert near(along("gumbel-softmax", temperature=0.02), truth)
    warm = along("gumbel-softmax", temperature=1.0)
    assert abs(float(warm.mean()) - truth) > 20 * float(warm.std()) / N**0.5


def test_bad_draws_are_refused():
    p = torch.tensor([0.2, 0.8])
    with pytest.raises(ValueError, match="choose one of"):
        Bernoulli(p, "reparametrised")
    with pytest.raises(ValueError, match="temperature is 0"):
        Bernoulli(p, "gumbel-softmax", temperature=0.0)
    with pytest.raises(ValueError, match=r"probability\[1\] is 1.2"):
        Bernoulli(torch.tensor([0.2, 1.2]))
    with pytest.raises(ValueError, match="sums over its last axis"):
        Categorical(torch.tensor([0.2, 0.3]))
    with pytest.raises(ValueError, match="no sources of randomness"):
        Bernoulli(p).draw()
    with pytest.raises(ValueError, match="two sources"):
        Bernoulli(p).draw(1, uniform=p)
    with pytest.raises(ValueError, match="uniform has shape"):
        Bernoulli(p).draw(uniform=p[:1])
