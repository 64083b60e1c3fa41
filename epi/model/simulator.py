"""The simulator of a study: parameters to expected observations on one population, with values and Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date

import torch
from torch import Tensor

import sim
from calib import ParameterSpace, attach_jacobian
from epi.data import Layout
from epi.errors import StudyError
from epi.model.derived import derive, flatten
from epi.model.epidemic import Epidemic
from epi.model.observation import Observation, epidemic_of, expected, observe
from epi.model.pyro_model import Simulate
from epi.model.state import State, day_after
from epi.model.transmission import Context, HostTables, host_tables, make_rates
from epi.study import Study
from sim import Population, Rates

__all__ = ["TABLES", "Simulator", "failed", "usable"]

TABLES = tuple(f.name for f in fields(HostTables) if f.name != "finite")
"""Tables of a host that depend on parameters of the disease."""


@dataclass(frozen=True, eq=False)
class Simulator:
    """Parameters to expected counts on one population.

    Attributes:
        population: the agents. context, observation: fixed parts of rates and reports. space: the parameters.
        backend: of `sim`. estimator: of derivatives, "removals" or "local-score" or "auto" (`sim.epidemic`).
        state: infections up to a date, from which it starts anew (`state_at`); None to start at day 0 with nobody infected.

    Parameters and counts come and go on the caller's device and in its dtype; the epidemic runs on the simulator's own.
    """

    population: Population
    context: Context
    observation: Observation
    space: ParameterSpace
    backend: str = "auto"
    estimator: str = "removals"
    state: State | None = None

    @property
    def study(self) -> Study:
        """The study."""
        return self.observation.study

    @property
    def layout(self) -> Layout:
        """Order of the outputs."""
        return self.observation.layout

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

        def simulate(theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
            home, here = theta["transmission_household"], self.observation.week
            batch = torch.broadcast_shapes(*(theta[n].shape[: theta[n].dim() - len(e)] for n, e in events.items()))
            flat = {n: theta[n].expand((*batch, *e)).reshape(-1, *e).to(here) for n, e in events.items()}
            expected = self._expected(flat, seed, None if streams is None else streams.expand(batch).reshape(-1))
            counted = {name: x.to(home) for name, x in expected.items()}
            return {name: x.unflatten(0, batch) if batch else x[0] for name, x in counted.items()}

        return simulate

    def starting_from(self, state: State) -> Simulator:
        """The simulator that starts anew on the day after a state, whose infections are given.

        Streams see the infections before as well: cases reported later, people still in hospital.

        Raises:
            StudyError: the state ends outside the simulated days, or is of another population.
        """
        state.first_day(self.study, self.observation.setting.days)
        if state.infected.infected_on.shape[1] != self.population.agents:
            raise StudyError(
                f"The state holds {state.infected.infected_on.shape[1]:,} agents and the population {self.population.agents:,}; make it on "
                "this population, or from counts."
            )
        return replace(self, state=state)

    def state_at(self, theta: Mapping[str, Tensor], until: date, seed: int, streams: Tensor | None = None) -> State:
        """Who was infected when, up to and with a date, in runs at parameters `[P]`; seed and streams as for `bind`.

        `starting_from(state)` with the same seed and streams goes on as these runs did, up to rounding `until` to whole periods of waning.
        """
        flat, first = {n: x.to(self.observation.week) for n, x in theta.items()}, 0
        rates, _ = usable(make_rates(flat, hosts := host_tables(flat, self.context), self.context), hosts)
        stop, start = day_after(self.study, until, first + 1, rates.days), None
        if self.state is not None:
            first, start = self.state.first_day(self.study, rates.days), self.state.infected
        found = sim.state_after(
            self.population, rates.between(first, stop), seed, streams=streams, start=start, backend=self.backend
        )
        return State(until, found)

    def simulate(
        self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Epidemic]:
        """Expected observations at parameters `[P]`, and the epidemics behind them, on the simulator's device."""
        flat = {n: x.to(self.observation.week) for n, x in theta.items()}
        rates, good = usable(make_rates(flat, hosts := host_tables(flat, self.context), self.context), hosts)
        found = epidemic_of(flat, hosts, self._incidence(rates, seed, streams), self.observation)
        return failed(expected(found), good), found

    def with_derived(
        self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Flat expected observations `[P, M]` and derived quantities `[P, Q]` (`epi.model.derived.flatten`) at parameters `[P]`."""
        both = self._both(theta, seed, streams).to(theta["transmission_household"])
        return both[:, : self.layout.size], both[:, self.layout.size :]

    def _both(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None) -> Tensor:
        counts, epidemic = self.simulate(theta, seed, streams)
        return torch.cat([self.layout.flat(counts), flatten(self.study, derive(epidemic))], -1)

    def _expected(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor | None) -> dict[str, Tensor]:
        return self.simulate(theta, seed, streams)[0]

    def _incidence(self, rates: Rates, seed: int, streams: Tensor | None) -> Tensor:
        """`[P, T, G]`; up to the state, if there is one, what it says."""
        if self.state is None:
            return sim.epidemic(
                self.population, rates, seed, streams=streams, backend=self.backend, estimator=self.estimator
            )
        first = self.state.first_day(self.study, rates.days)
        rest = sim.epidemic(
            self.population,
            rates.between(first, rates.days),
            seed,
            streams=streams,
            start=self.state.infected,
            backend=self.backend,
            estimator=self.estimator,
        )
        return torch.cat([self.state.known(self.population, first, rest), rest], 1)

    def _incidence_jacobian(
        self, rates: Rates, tangents: Rates, seed: int, streams: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`_incidence` and its tangents `[P, T, G, Q]`."""
        if self.state is None:
            return sim.jacobian(
                self.population, rates, tangents, seed, streams=streams, backend=self.backend, estimator=self.estimator
            )
        first = self.state.first_day(self.study, rates.days)
        rest, moved = sim.jacobian(
            self.population, rates.between(first, rates.days), tangents.between(first, rates.days), seed,
            streams=streams, start=self.state.infected, backend=self.backend, estimator=self.estimator,
        )  # fmt: skip
        known = self.state.known(self.population, first, rest)
        still = moved.new_zeros(*known.shape, moved.shape[-1])
        return torch.cat([known, rest], 1), torch.cat([still, moved], 1)

    def bind_forward(self, z: Tensor, seed: int, streams: Tensor | None = None) -> Simulate:
        """As `bind`, with the Jacobian at `z [P, D]` by forward mode, attached: `J_f g_q`."""
        flat, jacobian = self.jacobian(z.detach(), seed, streams)
        attached = attach_jacobian(z, flat, jacobian)
        return lambda theta: self.layout.split(attached)

    def jacobian(self, z: Tensor, seed: int, streams: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Expected counts and their Jacobian with respect to z, by forward mode, no tape.

        Args:
            z: `[P, D]` standard-normal coordinates.
            seed: of the epidemic.
            streams: random stream of each particle.

        Returns:
            `[P, M]` flat expected counts (`Layout.flat`) and `[P, M, D]`.
        """
        eye, here = torch.eye(self.space.dim, dtype=z.dtype, device=z.device), self.observation.week
        declared = self.study.host_parameters()
        names, sizes = [p.name for p in declared], [p.size for p in declared]
        # what moves only what is seen of an epidemic needs no derivative of the epidemic
        observational = {p.name for p in self.study.parameters() if p.observation}
        active = torch.tensor(
            [p.name not in observational for p in self.space.parameters for _ in range(p.size)], device=here.device
        )

        def along(direction: Tensor) -> dict[str, Tensor]:
            tangent: dict[str, Tensor] = torch.func.jvp(self.space.to_theta, (z,), (direction.expand_as(z),))[1]
            return tangent

        theta = {n: x.to(here) for n, x in self.space.to_theta(z).items()}
        dtheta = {n: x.to(here) for n, x in torch.func.vmap(along)(eye).items()}  # [D, P, ...]
        # the host tables depend on a few parameters only: their Jacobian is taken once and multiplied in
        point = tuple(theta[n] for n in names)

        hosts = host_tables(theta, self.context)
        # tables of no entries (nobody is infected twice) have no derivative, and vmap cannot take them
        kept = tuple(name for name in TABLES if getattr(hosts, name).numel())

        def hosts_of(*host_theta: Tensor) -> tuple[Tensor, ...]:
            h = host_tables({**theta, **dict(zip(names, host_theta, strict=True))}, self.context)
            return tuple(getattr(h, name) for name in kept)

        def column(one: Tensor) -> tuple[Tensor, ...]:
            parts = (e if p.labels else e[0] for e, p in zip(one.split(sizes), declared, strict=True))
            return torch.func.jvp(hosts_of, point, tuple(e.expand_as(x) for e, x in zip(parts, point, strict=True)))[1]

        if names:
            columns = torch.func.vmap(column)(torch.eye(sum(sizes), dtype=here.dtype, device=here.device))
            rows = [
                dtheta[n].movedim(-1, 0) if p.labels else dtheta[n][None] for n, p in zip(names, declared, strict=True)
            ]
            weights = torch.cat(rows)  # [entry of a disease parameter, D, P]
            dhosts = [torch.einsum("idp,ip...->dp...", weights, c) for c in columns]
        else:
            dhosts = [torch.zeros((len(eye), *getattr(hosts, t).shape)).to(getattr(hosts, t)) for t in kept]

        def tables(*each: Tensor) -> HostTables:
            return replace(hosts, **dict(zip(kept, each, strict=True)))

        known = tuple(getattr(hosts, name).contiguous() for name in kept)

        def rates_of(th: dict[str, Tensor], *host: Tensor) -> tuple[Tensor, ...]:
            return tuple(x for x in make_rates(th, tables(*host), self.context).tensors() if x.numel())

        def push(dth: dict[str, Tensor], *dhost: Tensor) -> tuple[Tensor, ...]:
            return torch.func.jvp(rates_of, (theta, *known), (dth, *dhost))[1]

        moving = {n: x[active] for n, x in dtheta.items()}
        # rates that nothing moves come back without the axis of directions, which vmap puts first and not last
        moved_rates = torch.func.vmap(push)(moving, *(x[active] for x in dhosts))
        found = (x.movedim(0, -1) for x in moved_rates)
        rates, good = usable(make_rates(theta, hosts, self.context), hosts)
        number = int(active.sum())
        tangents = (next(found) if x.numel() else x.new_zeros(*x.shape, number) for x in rates.tensors())
        clean = Rates(*(torch.where(_like(good, x), x, torch.zeros_like(x)).contiguous() for x in tangents))
        incidence, moved = self._incidence_jacobian(rates, clean, seed, streams)
        dincidence = moved.new_zeros(*incidence.shape, len(active))
        dincidence[..., active] = moved

        def outputs_of(th: dict[str, Tensor], host: tuple[Tensor, ...], inc: Tensor) -> Tensor:
            return self.layout.flat(observe(th, tables(*host), inc, self.observation))

        value = outputs_of(theta, known, incidence)

        def report(dth: dict[str, Tensor], dhost: tuple[Tensor, ...], dinc: Tensor) -> Tensor:
            tangent: Tensor = torch.func.jvp(outputs_of, (theta, known, incidence), (dth, dhost, dinc))[1]
            return tangent

        J = torch.func.vmap(report, in_dims=(0, 0, -1), out_dims=-1)(dtheta, tuple(dhosts), dincidence)
        nan = torch.full_like(value, float("nan"))
        value, J = torch.where(good[:, None], value, nan), torch.where(good[:, None, None], J, nan[..., None])
        return value.to(z), J.to(z)


def _like(good: Tensor, x: Tensor) -> Tensor:
    return good.reshape(-1, *[1] * (x.dim() - 1))


def usable(rates: Rates, hosts: HostTables) -> tuple[Rates, Tensor]:
    """Rates with those of failed particles set to zero, and which particles `[P]` did not fail."""
    good = hosts.finite & rates.in_range()
    if bool(good.all()):
        return rates, good
    return rates.map(lambda x: torch.where(_like(good, x), x, torch.zeros_like(x))), good


def failed(expected: dict[str, Tensor], good: Tensor) -> dict[str, Tensor]:
    """Expected observations with NaN for failed particles, so that the fit counts and drops them."""
    if bool(good.all()):
        return expected
    return {name: torch.where(_like(good, x), x, torch.full_like(x, float("nan"))) for name, x in expected.items()}
