"""The Pyro model of the study, and the simulator inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import ode
import sim
from calib import ParameterSpace, attach_jacobian, space_from_pyro
from experiments.nz_calibration._figures import Figures
from experiments.nz_calibration._observation import Expected, Observation, observe
from experiments.nz_calibration._parameters import sample_parameters
from experiments.nz_calibration._rates import Context, HostTables, host_tables, make_rates
from sim import Population, Rates

SIGNALS = ("cases_district", "cases_age", "admissions_age")
DISPERSIONS = {
    "cases_district": "dispersion_district",
    "cases_age": "dispersion_age",
    "admissions_age": "dispersion_admissions",
}
CLUSTERED = ("cases_district", "cases_age")
SMALLEST_MEAN = 0.05  # expected count under which a week is treated as holding this many: keeps the likelihood finite

Simulate = Callable[[Mapping[str, Tensor]], Expected]


@dataclass(frozen=True)
class Data:
    """Weekly counts `[W, places]` by signal and the mask `[W]` of the weeks that the likelihood sees."""

    counts: Mapping[str, Tensor]
    fitted: Tensor


def model(simulate: Simulate, data: Data | None = None, error: Mapping[str, Tensor] | None = None) -> None:
    """New Zealand's first Omicron wave as a Pyro model: named priors, one simulation, negative-binomial weekly counts.

    Every site is an event without plates, so that a particle axis may lead: `Predictive`, `pyro.do`, conditioning and chirho's
    handlers apply. Without data the counts of all weeks are sampled; with data the fitted weeks enter the likelihood.

    Args:
        simulate: parameters `{site: [*batch, ...]}` to expected counts; holds population, seed and gradient path.
        data: observed counts, or None.
        error: relative standard error `[W, places]` of the expected counts by signal, where they are estimates; None if exact.
    """
    theta = sample_parameters()
    expected = simulate(theta)
    pyro.deterministic("infections_district", expected.infections_district, event_dim=2)
    for signal in SIGNALS:
        mean = getattr(expected, signal)
        fn = counts(signal, mean, theta, None if error is None else error[signal])
        if data is None:
            pyro.sample(signal, fn.to_event(2))
        else:
            pyro.sample(signal, fn.mask(data.fitted[:, None]).to_event(2), obs=data.counts[signal])


def counts(
    signal: str, mean: Tensor, theta: Mapping[str, Tensor], error: Tensor | None = None
) -> dist.NegativeBinomial:
    """Law of a signal's weekly counts around their mean `[*batch, W, places]`.

    A negative binomial with the variance `count_variance`: small counts have a variance proportional to their mean (cases come in
    outbreaks), large ones a constant relative standard deviation (Cameron and Trivedi 1986, J Appl Econom 1:29, has both).
    """
    # NaN stays NaN: a failed simulation must not pass for a small one
    mean = torch.where(mean < SMALLEST_MEAN, SMALLEST_MEAN + 0 * mean, mean)
    excess = count_variance(signal, mean, theta, error) - mean
    concentration = mean**2 / excess
    return dist.NegativeBinomial(concentration, logits=mean.log() - concentration.log(), validate_args=False)


def count_variance(signal: str, mean: Tensor, theta: Mapping[str, Tensor], error: Tensor | None = None) -> Tensor:
    """`cluster * mean + (relative_sd^2 + error^2) * mean^2`; admissions are single people, so their cluster is 1."""
    cluster = theta["cluster_size"] if signal in CLUSTERED else torch.ones_like(theta["cluster_size"])
    relative = theta[DISPERSIONS[signal]][..., None, None] ** 2
    relative = relative if error is None else relative + error**2
    return cluster[..., None, None].clamp_min(1.0) * mean + relative * mean**2


def parameter_space() -> ParameterSpace:
    """The parameters of `model`, read from it."""

    def nothing(theta: Mapping[str, Tensor]) -> Expected:
        one = theta["aversion"][..., None, None]
        return Expected(*(one.expand(*one.shape[:-2], 1, n) for n in (20, 8, 8, 20)))

    widths = dict(zip(SIGNALS, (20, 8, 8), strict=True))
    unseen = Data({signal: torch.zeros(1, n) for signal, n in widths.items()}, torch.zeros(1, dtype=torch.bool))
    return space_from_pyro(model, nothing, unseen)


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
        return _failed(observe(theta, incidence, self.observation), good)

    def jacobian(self, z: Tensor, seed: int, streams: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Expected counts and their Jacobian with respect to z, by forward mode, no tape.

        Args:
            z: `[P, D]` standard-normal coordinates.
            seed: of the epidemic.
            streams: random stream of each particle.

        Returns:
            `[P, M]` flat expected counts (`Expected.flat`) and `[P, M, D]`.
        """
        eye = torch.eye(self.space.dim, dtype=z.dtype, device=z.device)
        names = [p.name for p in ode.PRIORS]

        def hosts_of(*host_theta: Tensor) -> tuple[Tensor, Tensor]:
            h = host_tables(dict(zip(names, host_theta, strict=True)), self.context)
            return h.infectiousness, h.susceptibility

        def along(direction: Tensor) -> dict[str, Tensor]:
            tangent: dict[str, Tensor] = torch.func.jvp(self.space.to_theta, (z,), (direction.expand_as(z),))[1]
            return tangent

        theta = self.space.to_theta(z)
        dtheta = torch.func.vmap(along)(eye)  # {name: [D, P, ...]}
        # the host tables hang on a few parameters only: their Jacobian is taken once and multiplied in
        point = tuple(theta[n] for n in names)

        def column(one: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(hosts_of, point, tuple(e.expand_as(x) for e, x in zip(one, point, strict=True)))[1]

        columns = torch.func.vmap(column)(torch.eye(len(names), dtype=z.dtype, device=z.device))
        weights = torch.stack([dtheta[n] for n in names])  # [7, D, P]
        dhosts = [torch.einsum("idp,ip...->dp...", weights, c) for c in columns]
        hosts = host_tables(theta, self.context)

        def rates_of(th: dict[str, Tensor], rho: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
            return make_rates(th, HostTables(rho, sigma, hosts.finite), self.context).tensors()

        def push(dth: dict[str, Tensor], drho: Tensor, dsigma: Tensor) -> tuple[Tensor, ...]:
            return torch.func.jvp(rates_of, (theta, hosts.infectiousness, hosts.susceptibility), (dth, drho, dsigma))[1]

        tangents = torch.func.vmap(push, out_dims=-1)(dtheta, *dhosts)
        rates, good = _usable(make_rates(theta, hosts, self.context), hosts)
        clean = Rates(*(torch.where(_like(good, x), x, torch.zeros_like(x)).contiguous() for x in tangents))
        incidence, dincidence = sim.jacobian(self.population, rates, clean, seed, streams=streams, backend=self.backend)

        def counts_of(th: dict[str, Tensor], inc: Tensor) -> Tensor:
            return observe(th, inc, self.observation).flat()

        value = counts_of(theta, incidence)

        def report(dth: dict[str, Tensor], dinc: Tensor) -> Tensor:
            tangent: Tensor = torch.func.jvp(counts_of, (theta, incidence), (dth, dinc))[1]
            return tangent

        J = torch.func.vmap(report, in_dims=(0, -1), out_dims=-1)(dtheta, dincidence)
        nan = torch.full_like(value, float("nan"))
        return torch.where(good[:, None], value, nan), torch.where(good[:, None, None], J, nan[..., None])


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


def observed(figures: Figures, weeks: pd.DatetimeIndex, fitted: np.ndarray) -> Data:
    """The figures of the study's weeks; weeks without a figure may not be fitted."""
    frames = {
        "cases_district": figures.cases_district,
        "cases_age": figures.cases_age,
        "admissions_age": figures.admissions_age,
    }
    counts = {
        n: torch.tensor(f.reindex(weeks).fillna(0).to_numpy(dtype=float), dtype=torch.float64)
        for n, f in frames.items()
    }
    return Data(counts, torch.tensor(fitted))
