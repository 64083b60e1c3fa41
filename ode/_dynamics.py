"""The right-hand side: a target-cell-limited infection with eclipse phase, refractory cells and antibody.

The state is kept in natural logarithms, so that every quantity stays positive whatever a step does:

    T  target cells, fraction of those at exposure        V  virus, in units of 10^COPIES copies/ml
    E  cells in the eclipse phase, same unit              A  neutralising antibody, fold of that without dose

    dT/dt = -beta (1 - s) V T - rho beta V T              s = A / (A + A_half), share neutralised
    dE/dt =  beta (1 - s) V T - k E
    dV/dt =  k E - (delta + kappa s) V
    dA/dt =  alpha A V / (V + V_half)

Free virus lives for hours, so V stands for virus and productive cells together, in quasi-steady state, the
reduction of Kim et al. 2021 (PLoS Biol 19:e3001128). The term in rho is the innate response of Ke et al. 2022
(Nat Microbiol 7:640): interferon, here following virus, makes target cells refractory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ode._archetypes import INFECTION_EQUALS_DOSES, Archetypes
from ode._parameters import WithinHostParameters

LN10 = math.log(10.0)
STATE = ("log_target", "log_eclipse", "log_virus", "log_antibody")

# Fixed numbers of the model, named as in docs/within_host.md; "chosen" where no source fixes them.
ECLIPSE_EXIT = 4.0  # k, 1/day: an eclipse phase of 6 hours on average, the value fixed by Ke et al. 2022
REFRACTORY = 1.0  # rho: cells made refractory per cell infected, without antibody (chosen)
ADAPTIVE_CLEARANCE = 1.5  # kappa, 1/day: extra loss of infected cells at full antibody (chosen)
RECALL = 1.0  # alpha, 1/day: growth of antibody while virus is plentiful (chosen)
ANTIBODY_HALF = 2.3 * LN10  # log A_half: half effect inside the airway, above what blocks exposure (chosen)
VIRUS_HALF = -3.5 * LN10  # log V_half: about 10^5 copies/ml (chosen)
INOCULUM = -5.4 * LN10  # log V at exposure: growth read back to day 0, about 10^3 copies/ml (chosen)
COPIES = 8.6  # log10 copies/ml of one unit of V (chosen: the load peaks near 10^7.9)
REFERENCE_AGE = 35.0  # years

# exponents = INTO @ state + offset
# rates = FROM @ [exponentials, the first two of them times (1 - s), sigmoids] + drift
_INTO = (
    (0.0, 0.0, 1.0, 0.0),
    (1.0, -1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 0.0),
    (0.0, 0.0, 0.0, -1.0),
    (0.0, 0.0, 1.0, 0.0),
)
_FROM = (
    (-REFRACTORY, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, 1.0, 0.0, 0.0, ADAPTIVE_CLEARANCE, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, RECALL),
)


@dataclass(frozen=True, eq=False)
class HostNumbers:
    """What tells one host's infection from another's.

    Attributes:
        own: `[4, *batch, K]`: log E at exposure, log A at exposure, log beta, delta (1/day).
        log_antibody: `[*batch, K]`, the second of them.
        stiffness: `[*batch, K]`, fastest relaxation rate, that of E/V in the growth phase, 1/day.
    """

    own: Tensor
    log_antibody: Tensor
    stiffness: Tensor


@dataclass(frozen=True, eq=False)
class Dynamics:
    """The model with its numbers put in, one per host.

    Attributes:
        initial: `[4, *batch, K]`, the state at exposure.
        offset: `[5, *batch, K]`, constants inside the exponentials and sigmoids.
        drift: `[4, *batch, K]`, constant part of the rates, 1/day.
        stiffness: `[*batch, K]`, as in `HostNumbers`.
        into: `[5, 4]`, from state to exponents.
        out: `[4, 7]`, from the non-linear terms to rates.
    """

    initial: Tensor
    offset: Tensor
    drift: Tensor
    stiffness: Tensor
    into: Tensor
    out: Tensor

    def rates(self, state: Tensor) -> Tensor:
        """The time derivative of `state [4, *batch, K]`, 1/day; more axes after the first are broadcast.

        Two small products replace some twenty element-wise operations: the cost is dispatch, not arithmetic.
        """
        z = _mix(self.into, state) + self.offset
        growth = z[:3].exp()  # beta V, beta T V / E, k E / V
        gates = z[3:].sigmoid()  # 1 - s, V / (V + V_half)
        free = growth[:2] * gates[:1]
        return _mix(self.out, torch.cat((growth, free, gates))) + self.drift

    def flatten(self) -> Dynamics:
        """The same model with hosts `[*batch, K]` in one axis."""
        rows = {n: getattr(self, n) for n in ("initial", "offset", "drift")}
        flat = {n: v.reshape(v.shape[0], -1) for n, v in rows.items()}
        return Dynamics(**flat, stiffness=self.stiffness.reshape(-1), into=self.into, out=self.out)

    def with_production(self, factor: Tensor | float) -> Dynamics:
        """The same model with virus production multiplied by `factor` (in (0, 1] for an antiviral)."""
        return self.with_production_log(
            torch.as_tensor(factor, dtype=self.offset.dtype, device=self.offset.device).log()
        )

    def with_production_log(self, log_factor: Tensor) -> Dynamics:
        """The same for the logarithm of the factor."""
        row = torch.zeros(5, *(1,) * (self.offset.dim() - 1)).to(self.offset)
        row[2] = 1.0
        return replace(self, offset=self.offset + row * log_factor)


def _mix(matrix: Tensor, rows: Tensor) -> Tensor:
    return matrix @ rows if rows.dim() == 2 else torch.tensordot(matrix, rows, dims=1)


def antibody_titre(parameters: WithinHostParameters, archetypes: Archetypes) -> Tensor:
    """Neutralising titre at exposure, log10 fold of the level without a dose, `[*batch, K]`.

    `A = 1 + (10^(a * doses) - 1) exp(-w * days) + (10^(a * 3.5 * infections) - 1) exp(-w * days since infection)` with
    `a = antibody_per_dose`, `w = waning_rate`: exactly 0 on the log scale without dose and infection, never below.
    """
    return _log_titre(parameters, archetypes) / LN10


def _log_titre(parameters: WithinHostParameters, archetypes: Archetypes) -> Tensor:
    _, doses, days_since = archetypes.features(parameters.viral_growth)
    decay = -parameters.waning_rate.unsqueeze(-1)
    per_dose = LN10 * parameters.antibody_per_dose.unsqueeze(-1)
    above = torch.expm1(per_dose * doses) * torch.exp(decay * days_since)
    past = archetypes.past_infections(parameters.viral_growth)
    if past is not None:
        infections, days = past
        above = above + torch.expm1(per_dose * INFECTION_EQUALS_DOSES * infections) * torch.exp(decay * days)
    return torch.log1p(above)


def host_numbers(parameters: WithinHostParameters, archetypes: Archetypes) -> HostNumbers:
    """Put parameters `[*batch]` and K archetypes into the numbers of each host.

    The infection rate beta follows from `viral_growth` g of a host without antibody: `beta = (g + k)(g + delta) / k`.
    At exposure E/V has the ratio of exponential growth, so no transient of the first hours is simulated: with `loss = delta + kappa s`,
    `E/V = (loss - k + root) / 2k` and `root = sqrt((loss - k)^2 + 4 k beta (1 - s))`, which is also the rate at which E/V relaxes.
    """
    age, _, _ = archetypes.features(parameters.viral_growth)
    titre = _log_titre(parameters, archetypes)
    growth, clearance = parameters.viral_growth.unsqueeze(-1), parameters.immune_clearance.unsqueeze(-1)
    k = ECLIPSE_EXIT
    delta = clearance * torch.exp(parameters.age_effect.unsqueeze(-1) * ((REFERENCE_AGE - age) / 10.0))
    early = growth + clearance
    beta = torch.addcmul(early, growth, early, value=1.0 / k)

    free = torch.sigmoid(ANTIBODY_HALF - titre)  # 1 - s
    gap = torch.sub(delta + (ADAPTIVE_CLEARANCE - k), free, alpha=ADAPTIVE_CLEARANCE)  # loss - k
    root = torch.sqrt(torch.addcmul(gap.square(), beta, free, value=4.0 * k))
    eclipse = torch.log(gap + root) + (INOCULUM - math.log(2.0 * k))
    own = torch.stack((eclipse, titre, beta.log().expand_as(titre), delta.expand_as(titre)))
    return HostNumbers(own, titre, root)


def dynamics_of(hosts: HostNumbers) -> Dynamics:
    """The model of hosts in plain tensors."""
    eclipse, titre, log_beta, delta = hosts.own.unbind(0)
    zero, one = torch.zeros_like(delta), torch.ones_like(delta)
    k = ECLIPSE_EXIT
    return Dynamics(
        initial=torch.stack((zero, eclipse, one * INOCULUM, titre)),
        offset=torch.stack((log_beta, log_beta, one * math.log(k), one * ANTIBODY_HALF, one * -VIRUS_HALF)),
        drift=torch.stack((zero, zero - k, -delta - ADAPTIVE_CLEARANCE, zero)),
        stiffness=hosts.stiffness,
        into=torch.tensor(_INTO).to(delta),
        out=torch.tensor(_FROM).to(delta),
    )


def dynamics(parameters: WithinHostParameters, archetypes: Archetypes) -> Dynamics:
    """Put parameters `[*batch]` and K archetypes into the model."""
    return dynamics_of(host_numbers(parameters, archetypes))
