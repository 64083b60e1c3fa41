"""A problem with a closed form whose data lie at several sites, and the same with all data in one place."""

from __future__ import annotations

import math

import torch
from torch.distributions import LogNormal, Normal

from calib import FitConfig, Parameter, ParameterSpace
from calib.federated import FederatedObservations, Federation, InProcess, Site, without_data
from calib.multifidelity import Fidelity, Problem, Settings, Stream, identity, observe

D, WEEKS = 3, 8
SETTINGS = Settings(
    warm_steps=4, warm_runs=4, level_runs=8, rounds=1, round_runs=16, round_jacobians=4, chain_draws=12, held_out_runs=12,
    fit=FitConfig(particles=16, max_steps=40),
)  # fmt: skip


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


class Bent:
    """A feature map other than the coordinates: outputs are straight in their sinh."""

    def __call__(self, z):
        return torch.sinh(z[..., :D])


def pooled(sites: int, family: str = "log-normal", feature_map=identity) -> Problem:
    """Log outputs linear in three parameters, or in features of them; the places of one stream are the sites."""
    outputs = sites * WEEKS
    g = torch.Generator().manual_seed(0)
    slope = 0.5 * torch.randn(outputs, D, generator=g, dtype=torch.float64)
    unit = Normal(number(0.0), number(1.0))
    sd = LogNormal(number(math.log(0.2)), number(0.2))
    space = ParameterSpace((*(Parameter(f"p{i}", unit) for i in range(D)), Parameter("sd", sd)))
    truth = torch.tensor([0.8, -0.5, 1.0], dtype=torch.float64)
    mean = torch.exp(slope @ truth + 0.2 * torch.randn(outputs, generator=g, dtype=torch.float64)) * 5
    data = mean if family == "log-normal" else torch.poisson(20 * mean, generator=g)
    level = 5.0 if family == "log-normal" else 100.0

    def simulate(z, seed, fidelity, first=0):
        chance = torch.stack([
            torch.randn(outputs, generator=torch.Generator().manual_seed(seed + first + i), dtype=torch.float64) for i in range(len(z))
        ])  # fmt: skip
        return level * torch.exp(feature_map(z)[:, :D] @ slope.T + 0.02 * chance)

    def jacobian(z, seed, fidelity, first=0):
        value = simulate(z, seed, fidelity, first)
        by_z = slope if feature_map is identity else slope * torch.cosh(z[:, None, :D])
        return value, value[..., None] * torch.nn.functional.pad(by_z, (0, 1))

    stream = Stream(slice(0, outputs), data.view(WEEKS, sites), family, "sd")  # type: ignore[arg-type]
    return Problem(
        space, observe(space, [stream], floor=1e-3), simulate, (Fidelity("only"),), jacobian, feature_map, floor=1e-3,
        people_per_agent=torch.full((outputs,), 4.0, dtype=torch.float64), fingerprint="places",
    )  # fmt: skip


def sites_of(problem: Problem, fingerprint: str = "places") -> list[Site]:
    """Each place of the stream as a site of its own."""
    stream = problem.observations.streams[0][0]  # type: ignore[attr-defined]
    out = []
    for place in range(stream.data.shape[1]):
        own = torch.full_like(stream.data, torch.nan)
        own[:, place] = stream.data[:, place]
        part = Stream(stream.outputs, own, stream.family, stream.relative_sd)
        out.append(Site(f"place {place}", observe(problem.space, [part], floor=1e-3), fingerprint))
    return out


def federated(problem: Problem, sums: str = "plain", transport=None, **settings) -> Problem:
    """The same problem with its data at sites."""
    from dataclasses import replace

    sites = sites_of(problem)
    federation = Federation(transport or InProcess(sites), "places", sums=sums, **settings)  # type: ignore[arg-type]
    public = {s.name: without_data(s.observations) for s in sites}  # type: ignore[arg-type]
    return replace(problem, observations=FederatedObservations(federation, public, problem.space.dim))
