"""Exact draws of the discrete Gaussian: whole numbers with probability proportional to exp(-x^2 / 2 variance), by rational arithmetic.

Floating-point noise can tell the number that it hides; here no rounding takes place.

References:
    Canonne, C., Kamath, G. & Steinke, T. (2020). The discrete Gaussian for differential privacy. NeurIPS 33, algorithms 1 to 3.
"""

from __future__ import annotations

import math
import random
import secrets
from fractions import Fraction

import torch
from torch import Tensor


def sample(variance: Fraction, count: int, seed: int | None = None) -> list[int]:
    """Independent draws.

    Args:
        variance: the parameter; the variance of the draws is at most this, and equal to it but for a term that vanishes above 1.
        count: how many.
        seed: None to draw from the operating system's entropy; a number for simulations, which promise nothing to anybody.
    """
    source: random.Random = secrets.SystemRandom() if seed is None else random.Random(seed)
    return [_gaussian(variance, source) for _ in range(count)]


def log_probability(x: Tensor, sd: float) -> Tensor:
    """Log probability of whole numbers under the discrete Gaussian with parameter `sd`, of the shape of x."""
    reach = math.ceil(12 * sd) + 1
    support = torch.arange(-reach, reach + 1, dtype=torch.float64)
    norm = (-0.5 * (support / sd) ** 2).logsumexp(0)
    return -0.5 * (x / sd) ** 2 - norm


def _bernoulli(p: Fraction, source: random.Random) -> bool:
    return source.randrange(p.denominator) < p.numerator


def _bernoulli_exp(gamma: Fraction, source: random.Random) -> bool:
    """True with probability exp(-gamma)."""
    while gamma > 1:
        if not _bernoulli_exp(Fraction(1), source):
            return False
        gamma -= 1
    k = 1
    while _bernoulli(gamma / k, source):
        k += 1
    return k % 2 == 1


def _laplace(scale: int, source: random.Random) -> int:
    """Discrete Laplace: probability proportional to exp(-|x| / scale)."""
    while True:
        low = source.randrange(scale)
        if not _bernoulli_exp(Fraction(low, scale), source):
            continue
        high = 0
        while _bernoulli_exp(Fraction(1), source):
            high += 1
        size, negative = low + scale * high, source.randrange(2)
        if not (negative and size == 0):
            return -size if negative else size


def _gaussian(variance: Fraction, source: random.Random) -> int:
    scale = math.isqrt(math.floor(variance)) + 1
    while True:
        x = _laplace(scale, source)
        if _bernoulli_exp((abs(x) - variance / scale) ** 2 / (2 * variance), source):
            return x
