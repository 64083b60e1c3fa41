"""The Pyro model of the study, and the simulator inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import ExpTransform

import sim
from calib import ParameterSpace, attach_jacobian, space_from_pyro
from epi.data.observations import Data
from epi.model.observation import PLACES, Expected, Observation, observe
from epi.model.parameters import OBSERVATION, WITHIN_HOST, sample_parameters
from epi.model.transmission import Context, HostTables, host_tables, make_rates
from epi.study.streams import SIGNALS
from sim import Population, Rates

SMALLEST_MEAN = 0.05  # expected figure under which a week is treated as holding this much: keeps the likelihood finite

TABLES = tuple(f.name for f in fields(HostTables) if f.name != "finite")
"""Tables of a host that hang on its parameters."""

Simulate = Callable[[Mapping[str, Tensor]], Expected]


def model(simulate: Simulate, data: Data | None = None, error: Mapping[str, Tensor] | None = None) -> None:
    """New Zealand's first Omicron wave as a Pyro model: named priors, one simulation, weekly figures around it.

    Every site is an event without plates, so that a particle axis may lead: `Predictive`, `pyro.do`, conditioning and chirho's
    handlers apply. Without data the figures of all signals and weeks are sampled; with data those seen enter the likelihood.

    Args:
        simulate: parameters `{site: [*batch, ...]}` to expected counts; holds population, seed and gradient path.
        data: observed figures, or None.
        error: relative standard error `[W, places]` of the expected figures by signal, where they are estimates; None if exact.
    """
    theta = sample_parameters()
    expected = simulate(theta)
    pyro.deterministic("infections_district", expected.infections_district, event_dim=2)
    for signal in SIGNALS:
        mean = getattr(expected, signal)
        fn = figures_law(signal, mean, theta, None if error is None else error[signal])
        if data is None:
            pyro.sample(signal, fn.to_event(2))
        else:
            known = data.counts[signal].nan_to_num(1.0)
            pyro.sample(signal, fn.mask(data.seen[signal]).to_event(2), obs=known)


def figures_law(
    signal: str, mean: Tensor, theta: Mapping[str, Tensor], error: Tensor | None = None
) -> dist.TorchDistribution:
    """Law of a signal's weekly figures around their expectation `[*batch, W, places]`.

    A level is log-normal around it: its logarithm has the variance `relative_sd^2 + error^2`. A count is a negative binomial with the
    variance `variance`: small counts have a variance proportional to their mean (cases come in outbreaks), large ones a constant
    relative standard deviation (Cameron and Trivedi 1986, J Appl Econom 1:29, has both).
    """
    mean, relative = floored(mean), _relative(signal, theta, error)
    if SIGNALS[signal].law == "level":
        return law_of_levels(mean, relative)
    return law_of_counts(mean, _cluster(signal, theta), relative)


def floored(mean: Tensor) -> Tensor:
    """Expected figures, those too small as the smallest that is told from zero."""
    # NaN stays NaN: a failed simulation must not pass for a small one
    return torch.where(mean < SMALLEST_MEAN, SMALLEST_MEAN + 0 * mean, mean)


def law_of_levels(mean: Tensor, relative: Tensor) -> dist.TorchDistribution:
    """Log-normal around `mean`, its logarithm with the variance `relative`."""
    # unchecked: a trajectory that runs away must end with a likelihood of nothing, not with an exception
    log = dist.Normal(mean.log(), relative.sqrt().expand_as(mean), validate_args=False)
    return dist.TransformedDistribution(log, [ExpTransform()], validate_args=False)


def law_of_counts(mean: Tensor, cluster: Tensor, relative: Tensor) -> dist.TorchDistribution:
    """Negative binomial with the variance `cluster * mean + relative * mean^2`."""
    odds = cluster - 1 + relative * mean  # variance over mean, less one
    return dist.NegativeBinomial(mean / odds, logits=odds.log(), validate_args=False)


def variance(signal: str, mean: Tensor, theta: Mapping[str, Tensor], error: Tensor | None = None) -> Tensor:
    """Of a count `cluster * mean + (relative_sd^2 + error^2) * mean^2`; people who do not come in outbreaks have the cluster 1.

    Of a level, to first order, the second term alone.
    """
    relative = _relative(signal, theta, error) * mean**2
    return relative if SIGNALS[signal].law == "level" else _cluster(signal, theta) * mean + relative


def _cluster(signal: str, theta: Mapping[str, Tensor]) -> Tensor:
    cluster = theta["cluster_size"][..., None, None]
    return cluster.clamp_min(1.0) if SIGNALS[signal].clustered else torch.ones_like(cluster)


def _relative(signal: str, theta: Mapping[str, Tensor], error: Tensor | None) -> Tensor:
    relative = theta[SIGNALS[signal].dispersion][..., None, None] ** 2
    return relative if error is None else relative + error**2


def parameter_space() -> ParameterSpace:
    """The parameters of `model`, read from it."""

    def nothing(theta: Mapping[str, Tensor]) -> Expected:
        one = theta["aversion"][..., None, None]
        return Expected(*(one.expand(*one.shape[:-2], 1, len(places)) for places in PLACES.values()))

    none = {name: torch.ones(1, len(s.places)) for name, s in SIGNALS.items()}
    unseen = {name: torch.zeros_like(x, dtype=torch.bool) for name, x in none.items()}
    return space_from_pyro(model, nothing, Data(none, unseen, torch.zeros(1, dtype=torch.bool)))


@dataclass(frozen=True, eq=False)
class Simulator:
    """Parameters to expected counts on one population.

    Attributes:
        population: the agents. context, observation: fixed parts of rates and reports. space: the parameters.
        backend: of `sim`.

    Parameters and counts come and go on the caller's device and in its dtype; the epidemic runs on the simulator's own.
    """

    population: Population
    context: Context
    observation: Observation
    space: ParameterSpace
    backend: str = "auto"

    @property
    def weeks(self) -> int:
        """Number of weeks W."""
        return len(self.observation.weeks)

    def bind(self, seed: int, streams: Tensor | None = None) -> Simulate:
        """A simulate function with its random stream fixed; reverse mode goes through the primitive.

        Batch axes of the sites are broadcast against each other (an intervention may give one value for all particles, or
        worlds of its own), and `streams` against them: one stream for all, or one a particle shared by all worlds.
        """
        events = {p.name: p.shape for p in self.space.parameters}

        def simulate(theta: Mapping[str, Tensor]) -> Expected:
            home, here = theta["aversion"], self.observation.week
            batch = torch.broadcast_shapes(*(theta[n].shape[: theta[n].dim() - len(e)] for n, e in events.items()))
            flat = {n: theta[n].expand((*batch, *e)).reshape(-1, *e).to(here) for n, e in events.items()}
            expected = self._expected(flat, seed, None if streams is None else streams.expand(batch).reshape(-1))
            counted = (getattr(expected, f.name).to(home) for f in fields(expected))
            return Expected(*(x.unflatten(0, batch) if batch else x[0] for x in counted))

        return simulate

    def bind_forward(self, z: Tensor, seed: int, streams: Tensor | None = None) -> Simulate:
        """As `bind`, with the Jacobian at `z [P, D]` by forward mode, attached: `J_f g_q`."""
        flat, jacobian = self.jacobian(z.detach(), seed, streams)
        attached = attach_jacobian(z, flat, jacobian)
        return lambda theta: Expected.from_flat(attached, self.weeks)

    def _expected(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None) -> Expected:
        rates, good = _usable(make_rates(theta, hosts := host_tables(theta, self.context), self.context), hosts)
        incidence = sim.epidemic(self.population, rates, seed, streams=streams, backend=self.backend)
        return _failed(observe(theta, hosts, incidence, self.observation), good)

    def jacobian(self, z: Tensor, seed: int, streams: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Expected counts and their Jacobian with respect to z, by forward mode, no tape.

        Args:
            z: `[P, D]` standard-normal coordinates.
            seed: of the epidemic.
            streams: random stream of each particle.

        Returns:
            `[P, M]` flat expected counts (`Expected.flat`) and `[P, M, D]`.
        """
        eye, here = torch.eye(self.space.dim, dtype=z.dtype, device=z.device), self.observation.week
        names = [p.name for p in WITHIN_HOST]
        # what moves only what is seen of an epidemic needs no derivative of the epidemic
        active = torch.tensor([not name.startswith(OBSERVATION) for name in self.space.names], device=here.device)

        def hosts_of(*host_theta: Tensor) -> tuple[Tensor, ...]:
            h = host_tables(dict(zip(names, host_theta, strict=True)), self.context)
            return tuple(getattr(h, name) for name in TABLES)

        def along(direction: Tensor) -> dict[str, Tensor]:
            tangent: dict[str, Tensor] = torch.func.jvp(self.space.to_theta, (z,), (direction.expand_as(z),))[1]
            return tangent

        theta = {n: x.to(here) for n, x in self.space.to_theta(z).items()}
        dtheta = {n: x.to(here) for n, x in torch.func.vmap(along)(eye).items()}  # [D, P, ...]
        # the host tables hang on a few parameters only: their Jacobian is taken once and multiplied in
        point = tuple(theta[n] for n in names)

        def column(one: Tensor) -> tuple[Tensor, ...]:
            return torch.func.jvp(hosts_of, point, tuple(e.expand_as(x) for e, x in zip(one, point, strict=True)))[1]

        columns = torch.func.vmap(column)(torch.eye(len(names), dtype=here.dtype, device=here.device))
        weights = torch.stack([dtheta[n] for n in names])  # [host parameter, D, P]
        dhosts = [torch.einsum("idp,ip...->dp...", weights, c) for c in columns]
        hosts = host_tables(theta, self.context)

        def tables(*each: Tensor) -> HostTables:
            return HostTables(**dict(zip(TABLES, each, strict=True)), finite=hosts.finite)

        known = tuple(getattr(hosts, name) for name in TABLES)

        def rates_of(th: dict[str, Tensor], *host: Tensor) -> tuple[Tensor, ...]:
            return make_rates(th, tables(*host), self.context).tensors()

        def push(dth: dict[str, Tensor], *dhost: Tensor) -> tuple[Tensor, ...]:
            return torch.func.jvp(rates_of, (theta, *known), (dth, *dhost))[1]

        moving = {n: x[active] for n, x in dtheta.items()}
        tangents = torch.func.vmap(push, out_dims=-1)(moving, *(x[active] for x in dhosts))
        rates, good = _usable(make_rates(theta, hosts, self.context), hosts)
        clean = Rates(*(torch.where(_like(good, x), x, torch.zeros_like(x)).contiguous() for x in tangents))
        incidence, moved = sim.jacobian(self.population, rates, clean, seed, streams=streams, backend=self.backend)
        dincidence = moved.new_zeros(*incidence.shape, len(active))
        dincidence[..., active] = moved

        def figures_of(th: dict[str, Tensor], host: tuple[Tensor, ...], inc: Tensor) -> Tensor:
            return observe(th, tables(*host), inc, self.observation).flat()

        value = figures_of(theta, known, incidence)

        def report(dth: dict[str, Tensor], dhost: tuple[Tensor, ...], dinc: Tensor) -> Tensor:
            tangent: Tensor = torch.func.jvp(figures_of, (theta, known, incidence), (dth, dhost, dinc))[1]
            return tangent

        J = torch.func.vmap(report, in_dims=(0, 0, -1), out_dims=-1)(dtheta, tuple(dhosts), dincidence)
        nan = torch.full_like(value, float("nan"))
        value, J = torch.where(good[:, None], value, nan), torch.where(good[:, None, None], J, nan[..., None])
        return value.to(z), J.to(z)


def _like(good: Tensor, x: Tensor) -> Tensor:
    return good.reshape(-1, *[1] * (x.dim() - 1))


def _usable(rates: Rates, hosts: HostTables) -> tuple[Rates, Tensor]:
    """Rates with those of failed particles set to zero, and which particles `[P]` did not fail."""
    good = hosts.finite.clone()
    for x in rates.tensors():
        good &= (torch.isfinite(x) & (x >= 0)).reshape(len(good), -1).all(1)
    if bool(good.all()):
        return rates, good
    return rates.map(lambda x: torch.where(_like(good, x), x, torch.zeros_like(x))), good


def _failed(expected: Expected, good: Tensor) -> Expected:
    """Expected counts with NaN for failed particles, so that the fit counts and drops them."""
    if bool(good.all()):
        return expected
    return Expected(
        *(
            torch.where(_like(good, x), x, torch.full_like(x, float("nan")))
            for x in (getattr(expected, f.name) for f in fields(expected))
        )
    )
