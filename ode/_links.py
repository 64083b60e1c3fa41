"""From viral load and antibody to what the population model needs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ode._dynamics import COPIES, LN10
from ode._parameters import WithinHostParameters

INFECTIOUS_MIDPOINT = 7.0  # log10 copies/ml at half of full infectiousness
INFECTIOUS_SLOPE = 0.8  # Hill exponent
SHEDDING_DELAY = 3.0  # mean days from airway to stool (chosen)

# Sums over 14 days for the reference host (age 35, two doses 120 days ago) at the prior medians; a test
# recomputes both.
REFERENCE_INFECTIOUSNESS = 2.3734256578249275
REFERENCE_SHEDDING = 0.2662604210075808


def infectiousness(viral_load: Tensor) -> Tensor:
    """Relative infectiousness by day since infection.

    `V^0.8 / (V^0.8 + (10^7)^0.8)`, the saturating link of Goyal et al. 2021 (eLife 10:e63537), divided by a
    fixed constant so that the reference host (age 35, two doses 120 days ago, prior medians) sums to 1 over 14
    days. A transmission rate is then the hazard that this host passes on in all per unit of contact, and hosts
    keep their differences.

    Args:
        viral_load: log10 copies/ml, `[*batch, K, D]`.

    Returns:
        `[*batch, K, D]`, not negative.

    Examples:
        >>> import torch
        >>> import ode
        >>> ode.infectiousness(torch.tensor([2.0, 6.0, 9.0])).diff() > 0
        tensor([True, True])
    """
    return torch.sigmoid(INFECTIOUS_SLOPE * LN10 * (viral_load - INFECTIOUS_MIDPOINT)) / REFERENCE_INFECTIOUSNESS


def susceptibility(antibody: Tensor, parameters: WithinHostParameters) -> Tensor:
    """One minus protection: how likely an exposure infects this host, relative to one without any protection.

    Protection is logistic in the log10 titre (Khoury et al. 2021, Nat Med 27:1205; Cromer et al. 2022, Lancet Microbe 3:e52).

    Args:
        antibody: log10 titre at exposure, `[*batch, K]`.
        parameters: `protection_midpoint` and `protection_slope`, `[*batch]`.

    Returns:
        `[*batch, K]` in (0, 1).

    Examples:
        >>> import torch
        >>> import ode
        >>> parameters = ode.WithinHostParameters(**{name: x[None] for name, x in vars(ode.prior_median()).items()})
        >>> float(ode.susceptibility(torch.tensor([[-3.0, 3.0]], dtype=torch.float64), parameters).diff()) < 0  # antibody protects
        True
    """
    slope, midpoint = parameters.protection_slope.unsqueeze(-1), parameters.protection_midpoint.unsqueeze(-1)
    return torch.sigmoid(slope * (midpoint - antibody))


def shedding(viral_load: Tensor) -> Tensor:
    """Relative virus shed to wastewater by day since infection.

    Copies in the airway, passed on to stool after a geometric delay of mean `SHEDDING_DELAY` days (a chosen
    form: stool stays
    positive after the airway clears), divided by a fixed constant so that the reference host sums to 1 over 14 days.

    Args:
        viral_load: log10 copies/ml, `[*batch, K, D]`.

    Returns:
        `[*batch, K, D]`, not negative.
    """
    days = torch.arange(viral_load.shape[-1], dtype=viral_load.dtype, device=viral_load.device)
    keep = SHEDDING_DELAY / (1.0 + SHEDDING_DELAY)
    delay = torch.triu(keep ** (days - days.unsqueeze(-1)))  # [from, to]
    scale = math.log((1.0 - keep) / REFERENCE_SHEDDING) - LN10 * COPIES
    return torch.exp(LN10 * viral_load + scale) @ delay
