"""Coordinates in which log expected counts are nearly straight lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from calib import ParameterSpace
from calib.multifidelity import MAX_THREADS
from calib.numerics import NormalMap, ThreadTuner, base_noise
from epi.inference.compiled_features import (
    EFFECT,
    HAZARD,
    ITSELF,
    LOG_SHARE,
    SHARE,
    VENUE,
    Table,
    back,
    coordinates,
)
from epi.model import Simulator
from epi.model.transmission import host_tables
from epi.study import LogitNormal, LogNormal, Normal, Study

HOSTS = 1024
"""Hosts from whose solutions the strength of transmission is fitted,"""
NODE_SCALE = 1.5
"""with parameters this many prior standard deviations wide: data may move them far."""


@dataclass(frozen=True, eq=False)
class Roles:
    """Parameters of a study by what stands for them among the features; those that are not here stand for themselves.

    Attributes:
        logged: shares that are factors of counts. household: the hazard at home, or "". venues: rates of the other layers.
        shares: shares that stand for themselves. hierarchy: `{effects: their standard deviation}`.
        host: numbers of the disease that move the epidemic.
    """

    logged: tuple[str, ...]
    household: str
    venues: tuple[str, ...]
    shares: tuple[str, ...]
    hierarchy: Mapping[str, str]
    host: tuple[str, ...]

    @cached_property
    def curved(self) -> tuple[str, ...]:
        """Parameters that stand among the features as something else than their z."""
        home = (self.household,) if self.household else ()
        return (*self.logged, *home, *self.venues, *self.shares, *self.hierarchy, *self.hierarchy.values())


def roles_of(study: Study) -> Roles:
    """What stands for the parameters of a study; a prior of another family than the features know stands for itself."""
    prior = {p.name: p.prior for p in study.parameters()}
    logit = tuple(name for name, p in prior.items() if isinstance(p, LogitNormal))
    log = tuple(name for name, p in prior.items() if isinstance(p, LogNormal))
    rates = [name for name in (f"transmission_{layer}" for layer in study.layers) if name in log]
    return Roles(
        logged=tuple(name for name in logit if name.startswith("ascertainment_")),
        household="transmission_household" if "transmission_household" in rates else "",
        venues=tuple(name for name in rates if name != "transmission_household"),
        shares=tuple(name for name in ("assortativity",) if name in logit),
        hierarchy={e: sd for e, sd in study.hierarchy.items() if isinstance(prior[e], Normal) and sd in log},
        host=tuple(p.name for p in study.disease.parameters(study) if not p.observation and not p.labels),
    )


@dataclass(frozen=True, eq=False)
class StudyFeatures:
    """`z [*batch, D]` to `eta [*batch, E]`, E = D less one for each hierarchy.

    Growth is linear in the reproduction number, which adds up over venues, and each venue's share is the product of its contacts, of
    how infectious and of how susceptible people are. So a venue's coordinate is that product over its value at the prior
    medians, not its logarithm. A household runs out of people, so that its coordinate is the share of them that one infected member
    infects, `1 - exp(-hazard)`: a quadratic in the hazard itself would have them infect fewer again. Effects of regions stand for
    themselves instead of a spread and effects in its units, ascertainment, a factor of the counts, as a logarithm, and the share of
    contacts within an age band as that share.

    Attributes:
        space: the parameters.
        roles: what stands for which parameter.
        strength: coefficients of the log of susceptibility times infectiousness as a cubic in the host's coordinates.
    """

    space: ParameterSpace
    roles: Roles
    strength: Tensor

    def __call__(self, z: Tensor) -> Tensor:  # noqa: D102 (described by the class)
        # one split has one derivative; slices would each fill a whole vector with zeros
        names, sizes = self._blocks
        blocks = dict(zip(names, z.split(sizes, -1), strict=True))
        strength = torch.exp(_polynomial(_host(self.space, self.roles, z), *(x.to(z) for x in self._forms)))[..., None]
        value = {name: self._maps[name].forward(blocks[name]) for name in self.roles.curved}
        parts = []
        for name, block in blocks.items():
            if name in self.roles.hierarchy:
                parts.append(value[self.roles.hierarchy[name]] * value[name])
            elif name in self.roles.logged:
                parts.append(value[name].log())
            elif name == self.roles.household:
                parts.append(-torch.expm1(-value[name] * strength))
            elif name in self.roles.shares:
                parts.append(value[name])
            elif name in self.roles.venues:
                parts.append(value[name] / self._medians[name].to(z) * strength)
            elif name not in self.roles.hierarchy.values():
                parts.append(block)
        return torch.cat(parts, dim=-1)

    def with_back(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The coordinates `[P, E]` of `z [P, D]` without a graph, compiled, and their reverse mode `[P, E] -> [P, D]`."""
        table, at = self._table, _array(z)
        eta = np.empty((len(at), len(table.kind)))
        self._tuners[0](lambda: coordinates(table, at, eta))

        def whole(by: Tensor) -> Tensor:
            given, out = _array(by), np.zeros_like(at)
            self._tuners[1](lambda: back(table, at, eta, given, out))
            return torch.from_numpy(out).to(z)

        return torch.from_numpy(eta).to(z), whole

    @cached_property
    def _tuners(self) -> tuple[ThreadTuner, ThreadTuner]:
        return ThreadTuner(MAX_THREADS), ThreadTuner(MAX_THREADS)

    @cached_property
    def _table(self) -> Table:
        rows = [row for name, size in zip(*self._blocks, strict=True) for row in self._rows(name, size)]
        kind, source, loc, scale, sd, sd_loc, sd_scale = (np.array(column) for column in zip(*rows, strict=True))
        host = np.array([self.space.slice_of(name).start for name in self.roles.host], dtype=np.int64)
        forms = (np.ascontiguousarray(x.double().numpy()) for x in self._forms)
        return Table(kind, source, loc, scale, sd, sd_loc, sd_scale, host, *forms)

    def _rows(self, name: str, size: int) -> list[tuple[float, ...]]:
        """Of a block of coordinates in order: kind, source, location and scale, and the same of its spread."""
        if name in self.roles.hierarchy.values():
            return []
        first = self.space.slice_of(name).start
        kind, straight = self._kind(name)
        ends = torch.zeros(2, size, dtype=torch.float64)
        ends[1] = 1.0
        loc, at_one = straight(self._maps[name].forward(ends)) if name in self.roles.curved else ends
        sd, sd_loc, sd_scale = 0, 0.0, 0.0
        if name in self.roles.hierarchy:
            sd = self.space.slice_of(self.roles.hierarchy[name]).start
            low, high = (
                self._maps[self.roles.hierarchy[name]]
                .forward(torch.tensor([0.0, 1.0], dtype=torch.float64))
                .log()
                .tolist()
            )
            sd_loc, sd_scale = low, high - low
        if name in self.roles.venues:  # in units of the median
            loc, at_one = torch.zeros_like(loc), at_one - loc
        return [(kind, first + i, float(loc[i]), float(at_one[i] - loc[i]), sd, sd_loc, sd_scale) for i in range(size)]

    def _kind(self, name: str) -> tuple[int, Callable[[Tensor], Tensor]]:
        """What a coordinate is made of, and the function that makes its parameter linear in z."""
        if name in self.roles.logged:
            return LOG_SHARE, torch.logit
        if name in self.roles.shares:
            return SHARE, torch.logit
        if name == self.roles.household:
            return HAZARD, torch.log
        if name in self.roles.venues:
            return VENUE, torch.log
        return EFFECT if name in self.roles.hierarchy else ITSELF, lambda x: x

    @cached_property
    def _blocks(self) -> tuple[list[str], list[int]]:
        """Blocks of z, names and sizes: one for each curved parameter, one for each run of others between them."""
        names, sizes = list[str](), list[int]()
        for p in self.space.parameters:
            if p.name in self.roles.curved or not names or names[-1] in self.roles.curved:
                names.append(p.name)
                sizes.append(p.size)
            else:
                sizes[-1] += p.size
        return names, sizes

    @cached_property
    def _maps(self) -> dict[str, NormalMap]:
        return {p.name: p.map for p in self.space.parameters}

    @cached_property
    def _medians(self) -> dict[str, Tensor]:
        return self.space.to_theta(torch.zeros(self.space.dim, dtype=torch.float64))

    @cached_property
    def _forms(self) -> tuple[Tensor, Tensor, Tensor]:
        return _forms(self.strength, len(self.roles.host))


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().cpu().double().numpy())


def make_features(simulator: Simulator) -> StudyFeatures:
    """The feature map of a simulator: solves the within-host model of some hosts of the prior, once."""
    space, context = simulator.space, simulator.context
    roles = roles_of(simulator.study)
    names = roles.host
    if not names:
        return StudyFeatures(space, roles, torch.zeros(0, dtype=torch.float64))
    z = torch.zeros(HOSTS, space.dim, dtype=torch.float64)
    nodes = base_noise("sobol", HOSTS, len(names), 0)
    for i, name in enumerate(names):
        z[:, space.slice_of(name).start] = NODE_SCALE * nodes[:, i].to(z)
    z = torch.cat([torch.zeros_like(z[:1]), z]).to(context.population_share)
    with torch.no_grad():
        hosts = host_tables(space.to_theta(z), context)
        share = context.population_share.mean(0)
        people = share @ simulator.observation.share
        strength = (hosts.susceptibility * hosts.infectiousness.sum(-1) * people).sum(-1).log().double().cpu()
        good = hosts.finite.cpu() & torch.isfinite(strength)
    features = _cubic(_host(space, roles, z.double().cpu()))
    rows = torch.linalg.lstsq(features[good], (strength - strength[0])[good, None]).solution[:, 0]
    # least squares rounds differently from process to process; it need not be exact, but must be the same
    return StudyFeatures(space, roles, rows.round(decimals=6))


def _host(space: ParameterSpace, roles: Roles, z: Tensor) -> Tensor:
    at = [space.slice_of(name).start for name in roles.host]
    return z.index_select(-1, torch.tensor(at, device=z.device, dtype=torch.int64))


def _cubic(x: Tensor) -> Tensor:
    """`[*batch, F]` all products of one, two and three coordinates."""
    n = x.shape[-1]
    first, second = torch.triu_indices(n, n)
    pairs = x[..., first] * x[..., second]
    triples = [pairs[..., first >= i] * x[..., i : i + 1] for i in range(n)]
    return torch.cat([x, pairs, *triples], dim=-1)


def _forms(coefficients: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The coefficients of `_cubic` as forms of one, two and three vectors, `[n]`, `[n, n]` and `[n, n, n]`."""
    row, column = torch.triu_indices(n, n)
    later = [(row[row >= i], column[row >= i]) for i in range(n)]
    first, second, *third = coefficients.split([n, len(row), *(len(j) for j, _ in later)])
    square, cube = coefficients.new_zeros(n, n), coefficients.new_zeros(n, n, n)
    square[row, column] = second
    for i, ((j, k), some) in enumerate(zip(later, third, strict=True)):
        cube[i, j, k] = some
    return first, square, cube


def _polynomial(x: Tensor, line: Tensor, square: Tensor, cube: Tensor) -> Tensor:
    """`_cubic(x) @ coefficients`, `[*batch]` of `x [*batch, n]`: one product a power, no table of all products."""
    n = x.shape[-1]
    inner = square + (x @ cube.reshape(n, n * n)).unflatten(-1, (n, n))
    return ((line + (inner * x[..., None, :]).sum(-1)) * x).sum(-1)
