"""What noise promises: epsilon at a delta, by the privacy loss distributions of dp-accounting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ACCOUNTANT = "privacy loss distributions of dp-accounting"


class MissingAccountant(ImportError):
    """dp-accounting is not installed."""


def epsilon_of(sds: Mapping[str, float], entries: Mapping[str, int], delta: float) -> float:
    """Epsilon of releasing streams with discrete Gaussian noise.

    Args:
        sds: by stream, parameter of the noise of each entry.
        entries: by stream, how many entries a person may change, each by at most one.
        delta: of the promise.

    Raises:
        MissingAccountant: the extra `private` is not installed.
    """
    try:
        from dp_accounting.pld import privacy_loss_distribution as pld
    except ImportError as error:
        raise MissingAccountant("the accountant is the package dp-accounting: install the extra 'private'.") from error
    total: Any = None
    for name, sd in sds.items():
        if not entries[name]:
            continue
        one = pld.from_discrete_gaussian_mechanism(sd, sensitivity=1)
        one = one.self_compose(entries[name]) if entries[name] > 1 else one
        total = one if total is None else total.compose(one)
    return 0.0 if total is None else float(total.get_epsilon_for_delta(delta))


def concentrated(sds: Mapping[str, float], entries: Mapping[str, int]) -> float:
    """Zero-concentrated differential privacy rho: sum of entries / (2 sd^2) (Canonne et al. 2020, theorem 14)."""
    return sum(entries[name] / (2 * sd**2) for name, sd in sds.items())


def epsilon_bound(rho: float, delta: float) -> float:
    """Epsilon that rho implies at a delta: `rho + 2 sqrt(rho log(1 / delta))`.

    References:
        Bun, M. & Steinke, T. (2016). Concentrated differential privacy. TCC, proposition 1.3.
    """
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


def rho_within(epsilon: float, delta: float) -> float:
    """Largest rho whose bound is at most epsilon."""
    log = math.log(1 / delta)
    return (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2


def gaussian_delta(epsilon: float, sd: float, sensitivity: float) -> float:
    """Delta of the continuous Gaussian mechanism, exactly.

    References:
        Balle, B. & Wang, Y.-X. (2018). Improving the Gaussian mechanism for differential privacy. ICML, theorem 8.
    """
    half, ratio = sensitivity / (2 * sd), epsilon * sd / sensitivity
    return _phi(half - ratio) - math.exp(epsilon) * _phi(-half - ratio)


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))
