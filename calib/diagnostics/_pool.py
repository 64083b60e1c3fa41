"""Is one member of a pool unlike the others? Exact p-values where the members are exchangeable."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform

from calib.diagnostics._verdict import Array


def pool_p_value(statistic: Array) -> float:
    """`#{members at least as large as the last} / members`, `statistic [S + 1]` with the data's own value last.

    Exact if the statistic treats the members alike: under exchangeability the last one's rank is uniform.
    """
    return float((statistic >= statistic[-1]).mean())


def standardised(pool: Array) -> Array:
    """Columns `[member, M]` with mean 0 and standard deviation 1 over the pool; constant columns become 0."""
    sd = pool.std(0)
    scale = np.where(sd > 1e-12 * np.maximum(1.0, np.abs(pool).max(0)), sd, np.inf)
    return np.asarray((pool - pool.mean(0)) / scale)


def mahalanobis(pool: Array) -> Array:
    """Mahalanobis distance of each member to the pool's mean, `[member]`.

    The covariance is shrunk towards the identity by the share of Ledoit and Wolf (2004, J Multivar Anal 88:365), so that more
    columns than members do no harm.
    """
    x = standardised(pool)
    members, columns = x.shape
    covariance = x.T @ x / members
    distance = float(((covariance - np.eye(columns)) ** 2).sum())
    # mean squared distance of one member's outer product to the covariance
    noise = float(((x**2).sum(1) ** 2).sum() / members**2 - (covariance**2).sum() / members)
    share = min(1.0, noise / distance) if distance > 0 else 1.0
    shrunk = (1 - share) * covariance + share * np.eye(columns)
    return np.asarray(np.sqrt((x * np.linalg.solve(shrunk, x.T).T).sum(1)))


def nearest(pool: Array, neighbours: int = 5) -> Array:
    """Mean distance of each member to its nearest others, `[member]`."""
    distances = squareform(pdist(standardised(pool)))
    np.fill_diagonal(distances, np.inf)
    k = min(neighbours, len(pool) - 1)
    return np.asarray(np.partition(distances, k - 1, axis=1)[:, :k].mean(1))


def mmd(pool: Array) -> Array:
    """Squared maximum mean discrepancy between each member and the others, `[member]`, up to a constant.

    Gretton et al. (2012, JMLR 13:723), Gaussian kernel whose bandwidth is the median distance.
    """
    squared = squareform(pdist(standardised(pool), "sqeuclidean"))
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(len(pool), 1)]))
    np.fill_diagonal(kernel, 0.0)
    others, total = len(pool) - 1, kernel.sum()
    rows = kernel.sum(1)
    return np.asarray(1 - 2 * rows / others + (total - 2 * rows) / (others * (others - 1)))


STATISTICS = {"mahalanobis": mahalanobis, "nearest": nearest, "mmd": mmd}
