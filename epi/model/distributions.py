"""How observations scatter around their expectation: negative binomial, log-normal, beta-binomial."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import ExpTransform

from epi.model.setting import Theta
from epi.study import BetaBinomial, LogNormalError, Stream

__all__ = [
    "SMALLEST_MEAN",
    "beta_binomial",
    "floored",
    "log_normal",
    "negative_binomial",
    "observation_distribution",
    "variance",
]

SMALLEST_MEAN = 0.05
"""Expected count under which a week is treated as holding this much: keeps the likelihood finite."""
LARGEST_CORRELATION = 0.999


def floored(mean: Tensor) -> Tensor:
    """Expected counts, those too small as the smallest that is told from zero."""
    # NaN stays NaN: a failed simulation must not pass for a small one
    return torch.where(mean < SMALLEST_MEAN, SMALLEST_MEAN + 0 * mean, mean)


def log_normal(mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
    """Log-normal around `mean`, its logarithm with this variance."""
    # unchecked: a trajectory that runs away must end with a likelihood of nothing, not with an exception
    log = dist.Normal(mean.log(), variance.sqrt().expand_as(mean), validate_args=False)
    return dist.TransformedDistribution(log, [ExpTransform()], validate_args=False)


def negative_binomial(mean: Tensor, overdispersion: Tensor, relative: Tensor) -> dist.TorchDistribution:
    """Negative binomial with the variance `overdispersion * mean + relative * mean^2`.

    References:
        Cameron and Trivedi 1986, J Appl Econom 1:29.
    """
    odds = overdispersion - 1 + relative * mean  # variance over mean, less one
    return dist.NegativeBinomial(mean / odds, logits=odds.log(), validate_args=False)


def beta_binomial(mean: Tensor, tested: Tensor, correlation: Tensor) -> dist.TorchDistribution:
    """Positives among `tested` with this mean and correlation within a sample: variance `n p (1 - p) (1 + (n - 1) correlation)`."""
    p = (mean / tested).clamp(1e-6, 1 - 1e-6)
    total = (1 - correlation) / correlation
    return dist.BetaBinomial(p * total, (1 - p) * total, total_count=tested, validate_args=False)


def observation_distribution(
    stream: Stream, mean: Tensor, theta: Theta, error: Tensor | None = None, tested: Tensor | None = None
) -> dist.TorchDistribution:
    """Distribution of a stream's weekly observations around their expectation `[*batch, W, places]`.

    Args:
        stream: its family says which.
        mean: expected observations.
        theta: parameters; dispersions among them.
        error: relative standard error of the expectation, where it is an estimate.
        tested: `[W, places]` number tested, for positives among the tested.
    """
    mean = floored(mean)
    if isinstance(stream.family, BetaBinomial):
        assert tested is not None
        tested = tested.to(mean)
        p = (mean / tested).clamp(1e-6, 1 - 1e-6)
        correlation = torch.full_like(p, 1e-6)
        if stream.family.correlation is not None:
            correlation = correlation + _of(theta, stream.family.parameters(stream.name)[1])
        if error is not None:  # what is not known of the share scatters it as a correlation does
            correlation = correlation + error**2 * p / (1 - p)
        return beta_binomial(mean, tested, correlation.clamp(max=LARGEST_CORRELATION))
    relative = _relative(stream, theta, error)
    if isinstance(stream.family, LogNormalError):
        return log_normal(mean, relative)
    return negative_binomial(mean, _overdispersion(stream, theta), relative)


def variance(
    stream: Stream, mean: Tensor, theta: Theta, error: Tensor | None = None, tested: Tensor | None = None
) -> Tensor:
    """Of a count `overdispersion * mean + (relative_sd^2 + error^2) * mean^2`, with overdispersion 1 where people are independent.

    Of a measurement, to first order, the second term alone; of positives among the tested that of the beta-binomial.
    """
    if isinstance(stream.family, BetaBinomial):
        found: Tensor = observation_distribution(stream, mean, theta, error, tested).variance
        return found
    relative = _relative(stream, theta, error) * mean**2
    if isinstance(stream.family, LogNormalError):
        return relative
    return _overdispersion(stream, theta) * mean + relative


def _of(theta: Theta, parameter: object) -> Tensor:
    return theta[parameter.name][..., None, None]  # type: ignore[attr-defined]


def _overdispersion(stream: Stream, theta: Theta) -> Tensor:
    over, relative = stream.family.parameters(stream.name)
    return torch.ones_like(_of(theta, relative)) if over is None else _of(theta, over).clamp_min(1.0)


def _relative(stream: Stream, theta: Theta, error: Tensor | None) -> Tensor:
    relative = _of(theta, stream.family.parameters(stream.name)[1]) ** 2
    return relative if error is None else relative + error**2
