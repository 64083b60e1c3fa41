"""Posterior weights of single runs of a stochastic simulator, tempered until enough of them count.

The weight of a run at theta is its prior density over that of the mixture of all rounds, times p(y | run)^T. At T = 1 the
mean of p(y | run) over runs is the marginal likelihood, so that the weights are exact up to Monte Carlo error (importance
sampling on parameters and noise together). T is the largest power that leaves enough effective runs.

Bias: at T < 1 the posterior is that of data observed with more error than they were; the noise of the simulator itself is not
inflated, so that the bias is small where that noise dominates and T is at least 0.3. Cost: none beyond the runs.

References:
    Owen, A. & Zhou, Y. (2000). Safe and effective importance sampling. JASA 95.
    Tran, M.-N. et al. (2013). Importance sampling squared for Bayesian inference in latent variable models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from calib._importance import importance

EFFECTIVE = 50  # runs that must count


@dataclass(frozen=True, eq=False)
class Tempered:
    """Runs as weighted draws of the posterior.

    Attributes:
        weight: normalised, `[N]`.
        temperature: T; 1 is the posterior itself.
        effective: effective number of runs.
        k_hat: shape of the tail of the weights at T = 1; above 0.7 they cannot be relied on.
        mean: of the parameters in z, `[D]`.
        sd: of the parameters in z, `[D]`.
    """

    weight: Tensor = field(repr=False)
    temperature: float
    effective: float
    k_hat: float
    mean: Tensor
    sd: Tensor


def temper(z: Tensor, log_likelihood: Tensor, log_proposal: Tensor, least: float = EFFECTIVE) -> Tempered:
    """Weigh runs.

    Args:
        z: where the runs were made, `[N, D]`, standard normal under the prior.
        log_likelihood: log p(y | run), `[N]`; minus infinity where a run cannot give the data.
        log_proposal: log density of the mixture of all rounds, `[N]`.
        least: effective runs at which the power ends.

    Returns:
        Weights with their diagnostics.

    Examples:
        >>> z = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> normal = torch.distributions.Normal(0.0, 1.0)
        >>> found = temper(z, normal.log_prob(z - 1.0).sum(1), normal.log_prob(z).sum(1))
        >>> found.temperature, abs(float(found.mean) - 0.5) < 0.02
        (1.0, True)
    """
    base = -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi) - log_proposal
    weight, power, effective = tempered_weights(base, log_likelihood, least)
    mean = weight @ z
    sd = (weight @ (z - mean) ** 2).sqrt()
    return Tempered(weight, power, effective, tail_of(base + log_likelihood), mean, sd)


def tempered_weights(base: Tensor, value: Tensor, least: float) -> tuple[Tensor, float, float]:
    """Weights exp(base + T value) with the largest power T up to 1 that leaves enough effective draws.

    Args:
        base: log weights at T = 0, `[N]`, finite.
        value: `[N]`; minus infinity counts as a million nats below the lowest that is finite.
        least: effective draws wanted.

    Returns:
        Normalised weights `[N]`, T, and the effective number of draws.
    """
    finite = torch.isfinite(value)
    lowest = float(value[finite].min()) if bool(finite.any()) else 0.0
    value = torch.where(finite, value, lowest - 1e6)

    def weights(power: float) -> tuple[Tensor, float]:
        weight = torch.softmax(base + power * value, 0)
        return weight, float(1 / (weight**2).sum())

    power = 1.0
    if weights(1.0)[1] < least:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if weights(middle)[1] >= least else (low, middle)
        power = low
    weight, effective = weights(power)
    return weight, power, effective


def tail_of(log_weight: Tensor) -> float:
    """k-hat of log weights `[N]`; infinite where fewer than 25 are finite."""
    finite = int(torch.isfinite(log_weight).sum())
    if finite < 25:
        return math.inf
    k_hat = importance(log_weight, torch.zeros_like(log_weight)).k_hat
    return k_hat if not np.isnan(k_hat) else math.inf
