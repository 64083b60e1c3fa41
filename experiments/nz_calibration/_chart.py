"""Coordinates in which log expected counts are nearly straight lines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import ode
from calib import ParameterSpace
from calib._noise import base_noise
from experiments.nz_calibration._model import Simulator
from experiments.nz_calibration._parameters import HIERARCHY
from experiments.nz_calibration._rates import host_tables

LOGGED = ("ascertainment_pcr", "ascertainment_rat")
VENUES = ("transmission_household", "transmission_school", "transmission_work", "transmission_community")
HOSTS = 1024
"""Hosts from whose solutions the strength of transmission is learnt,"""
SPREAD = 1.5
"""with parameters this many prior standard deviations wide: data may move them far."""


@dataclass(frozen=True, eq=False)
class StudyChart:
    """`z [*batch, D]` to `eta [*batch, E]`, E = D less one for each hierarchy.

    Growth is linear in the reproduction number, which adds up over venues, and each venue's share is the product of its contacts, of
    how infectious and of how susceptible people are. So a venue's coordinate is that product over its value at the prior
    medians, not its logarithm. Effects of districts stand for themselves instead of a spread and effects in its units, and
    ascertainment, a factor of the counts, as a logarithm.

    Attributes:
        space: the parameters.
        strength: coefficients of the log of susceptibility times infectiousness as a cubic in the host's coordinates.
    """

    space: ParameterSpace
    strength: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        theta, parts = self.space.to_theta(z), []
        strength = torch.exp(_cubic(_host(self.space, z)) @ self.strength.to(z))
        medians = self.space.to_theta(z.new_zeros(z.shape[-1]))
        for name in (p.name for p in self.space.parameters):
            if name in HIERARCHY.values():
                continue
            if name in HIERARCHY:
                parts.append(theta[HIERARCHY[name]][..., None] * theta[name])
            elif name in LOGGED:
                parts.append(theta[name].log()[..., None])
            elif name in VENUES:
                parts.append((theta[name] / medians[name] * strength)[..., None])
            else:
                parts.append(z[..., self.space.slice_of(name)])
        return torch.cat(parts, dim=-1)


def make_chart(simulator: Simulator) -> StudyChart:
    """The chart of a simulator: solves the within-host model of some hosts of the prior, once."""
    space, context = simulator.space, simulator.context
    names = [p.name for p in ode.PRIORS]
    z = torch.zeros(HOSTS, space.dim, dtype=torch.float64)
    spread = base_noise("sobol", HOSTS, len(names), 0)
    for i, name in enumerate(names):
        z[:, space.slice_of(name).start] = SPREAD * spread[:, i].to(z)
    z = torch.cat([torch.zeros_like(z[:1]), z]).to(context.population_share)
    with torch.no_grad():
        hosts = host_tables(space.to_theta(z), context)
        share = context.population_share.reshape(context.districts, context.ages).mean(0)
        people = share @ simulator.observation.share
        strength = (hosts.susceptibility * hosts.infectiousness.sum(-1) * people).sum(-1).log().double().cpu()
        good = hosts.finite.cpu() & torch.isfinite(strength)
    features = _cubic(_host(space, z.double().cpu()))
    rows = torch.linalg.lstsq(features[good], (strength - strength[0])[good, None]).solution[:, 0]
    # least squares rounds differently from process to process; a chart need not be exact, but must be the same
    return StudyChart(space, rows.round(decimals=6))


def _host(space: ParameterSpace, z: Tensor) -> Tensor:
    return torch.cat([z[..., space.slice_of(p.name)] for p in ode.PRIORS], dim=-1)


def _cubic(x: Tensor) -> Tensor:
    """`[*batch, F]` all products of one, two and three coordinates."""
    n = x.shape[-1]
    first, second = torch.triu_indices(n, n)
    pairs = x[..., first] * x[..., second]
    triples = [pairs[..., first >= i] * x[..., i : i + 1] for i in range(n)]
    return torch.cat([x, pairs, *triples], dim=-1)
