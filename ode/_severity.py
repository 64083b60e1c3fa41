"""From the same course of an infection to how severe it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ode._dynamics import LN10
from ode._parameters import Prior, WithinHostParameters
from ode._within_host import WithinHost

REFERENCE_PEAK = 7.893265303118129
"""Peak load, log10 copies/ml, of a host of 35 years without antibody at the prior medians; a test recomputes it."""

SEVERITY_PRIORS: tuple[Prior, ...] = (
    Prior(
        "severity_shift",
        "normal",
        math.log10(3.0 / 20.2),
        0.3,
        "log10 titre",
        "Titre that halves severe disease over that which halves infection: 3 % (95 % CI 0.7-13 %) and 20.2 % (14.4-28.4 %) of the "
        "convalescent mean, Khoury et al. 2021, Nat Med 27:1205.",
    ),
    Prior(
        "severity_load",
        "normal",
        math.log(1.07),
        0.02,
        "1/log10 copies",
        "Hazard ratio of death 1.07 (95 % CI 1.03-1.11) per log10 copies/ml among the admitted: Pujadas et al. 2020, Lancet Respir Med 8:e70; "
        "taken for admission too (chosen).",
    ),
)
"""Priors of the numbers of this link that the course itself does not hold."""


def severity(
    course: WithinHost,
    parameters: WithinHostParameters,
    shift: Tensor | float = SEVERITY_PRIORS[0].location,
    load: Tensor | float = SEVERITY_PRIORS[1].location,
) -> Tensor:
    """Relative risk that an infection becomes severe, 1 for a host of 35 years without antibody and a median course.

    `r(A) / r(0) * exp(load * (peak - reference peak))` with `r(A) =
    (1 - protection from severe disease) / (1 - protection from infection)` at the titre at exposure: protection from severe disease has
    the same slope and a midpoint lower by `shift` (Khoury et al. 2021). Age acts here through the course alone; how severity
    grows with age beyond that is for the observation model.

    Args:
        course: of `within_host`.
        parameters: of the same particles.
        shift: log10 titre, `[*batch]` or a number, not above 0 for protection that is better against severe disease.
        load: change of log risk per log10 of the peak load, `[*batch]` or a number.

    Returns:
        `[*batch, K]`, above 0.
    """
    slope, midpoint = parameters.protection_slope.unsqueeze(-1), parameters.protection_midpoint.unsqueeze(-1)
    shift, load = (x.to(slope).unsqueeze(-1) if isinstance(x, Tensor) else x for x in (shift, load))
    titre = course.antibody_at_exposure
    with_none = torch.cat((titre, torch.zeros_like(titre[..., :1])), -1)  # the last has no antibody
    odds = slope * (torch.stack((midpoint + shift, midpoint)) - with_none)
    severe, taken = torch.nn.functional.logsigmoid(odds.clamp(-1e4, 1e4))
    log_ratio = severe - taken
    peak = course.viral_load.amax(-1)
    log_risk = log_ratio[..., :-1] - log_ratio[..., -1:] + load * (peak - REFERENCE_PEAK)
    return torch.exp(log_risk.clamp_max(50.0))


def waned(antibody: Tensor, days: Tensor | float, parameters: WithinHostParameters) -> Tensor:
    """Titre some days after it was `antibody`: `log10(1 + (10^A - 1) exp(-waning_rate * days))`.

    With the last day of a course it says how susceptible a host is to the next infection:
    `susceptibility(waned(course.antibody[..., -1], days, parameters), parameters)`.

    Args:
        antibody: log10 titre, `[*batch, K]`, not below 0.
        days: `[K]`, `[*batch, K]` or a number.
        parameters: `waning_rate [*batch]`.

    Returns:
        `[*batch, K]`, log10, not below 0.
    """
    left = torch.exp(-parameters.waning_rate.unsqueeze(-1) * torch.as_tensor(days).to(antibody))
    above = torch.log1p(torch.expm1(LN10 * antibody.clamp_max(30.0)) * left) / LN10
    return torch.where(antibody > 30.0, antibody + torch.log10(left), above).clamp_min(0.0)
