"""Reed-Frost epidemics in a closed group: expected size and its derivative, by recursion on (susceptible, infectious)."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from experiments.gradient_audit.exact._answer import Answer


def reed_frost(members: int, pair: float, seed: float) -> Answer:
    """Expected final size of a group, and its derivatives in the logs of both hazards.

    Each member is infected from outside with hazard `seed`, once. Those infected in one generation infect each other member with
    hazard `pair` in the next, so that with i infectious each susceptible is infected with probability `1 - exp(-pair i)`.

    Args:
        members: of the group, n.
        pair: hazard from one infectious to one susceptible member.
        seed: hazard of being infected from outside.

    Returns:
        One outcome, the number infected; parameters `log pair` and `log seed`.

    References:
        Abbey (1952). An examination of the Reed-Frost theory of epidemics. Human Biology 24:201.

    Examples:
        >>> both = reed_frost(2, 0.5, 0.1)
        >>> p, q = 1 - np.exp(-0.1), 1 - np.exp(-0.5)
        >>> bool(np.isclose(both.expectation[0], 2 * p**2 + 2 * p * (1 - p) * (1 + q)))
        True
    """
    further = np.zeros(
        (members + 1, members + 1)
    )  # expected infections still to come, with s susceptible and i infectious
    slope = np.zeros_like(further)  # its derivative in log pair
    for s in range(1, members + 1):
        for i in range(1, members + 1 - s):
            chance, d_chance = _binomial(s, pair * i)
            k = np.arange(1, s + 1)
            later, d_later = further[s - k, k], slope[s - k, k]
            further[s, i] = chance[1:] @ (k + later)
            slope[s, i] = d_chance[1:] @ (k + later) + chance[1:] @ d_later
    chance, d_chance = _binomial(members, seed)
    a = np.arange(members + 1)
    total = a + further[members - a, a]
    derivative = [chance @ slope[members - a, a], d_chance @ total]
    return Answer(np.array([chance @ total]), np.array([derivative]))


def _binomial(n: int, hazard: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[n + 1]` probabilities of k of n infected under a hazard, and their derivatives in its log."""
    p, k = -np.expm1(-hazard), np.arange(n + 1)
    choose = np.array([comb(n, int(x)) for x in k], dtype=np.float64)
    chance = choose * p**k * np.exp(-hazard * (n - k))
    # d log chance / d p = (k - n p) / (p (1 - p)), and d p / d log hazard = hazard (1 - p)
    return chance, chance * hazard * (k - n * p) / p
