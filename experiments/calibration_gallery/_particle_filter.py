"""Likelihood of a chain-binomial epidemic by a bootstrap particle filter, for many parameters at once.

References:
    Gordon, N., Salmond, D. & Smith, A. (1993). Novel approach to nonlinear/non-Gaussian Bayesian state estimation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import gammaln

from experiments.calibration_gallery._chain_binomials import Array, ChainBinomial


def log_likelihood(
    model: ChainBinomial, reports: Array, theta: Mapping[str, Array], particles: int, random: np.random.Generator
) -> Array:
    """Estimate log p(reports | theta), whose exponential is unbiased.

    Args:
        model: the epidemic.
        reports: by day and town, `[T * K]`.
        theta: each parameter, `[P]`.
        particles: number of particles.
        random: source of randomness.

    Returns:
        `[P]`, nats.
    """
    count = len(theta["gamma"])
    each = {name: np.repeat(value, particles) for name, value in theta.items()}
    observed = np.asarray(reports, dtype=float).reshape(model.days, -1)
    state = model.start(count * particles)
    total = np.zeros(count)
    for day in range(model.days):
        state, new = model.step(state, each, random)
        mean = model.expected(new, each)
        weight = (observed[day] * np.log(mean) - mean - gammaln(observed[day] + 1)).sum(1).reshape(count, particles)
        top = weight.max(1, keepdims=True)
        share = np.exp(weight - top)
        total += top[:, 0] + np.log(share.mean(1))
        pick = _systematic(share / share.sum(1, keepdims=True), random)
        state = (state[0][pick], state[1][pick])
    return total


def _systematic(share: Array, random: np.random.Generator) -> Array:
    """Flat indices of the particles kept, for normalised weights `[P, particles]`."""
    count, particles = share.shape
    row = np.arange(count)[:, None]
    edges = np.minimum(share.cumsum(1), 1.0)
    edges[:, -1] = 1.0
    points = (np.arange(particles) + random.random((count, 1))) / particles
    pick = np.searchsorted((edges + row).ravel(), (points + row).ravel())
    return np.minimum(pick, count * particles - 1)
