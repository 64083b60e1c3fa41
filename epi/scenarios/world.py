"""The study's simulator with levers, and the calibrated Pyro model around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

import sim
from epi.model.observation import observe
from epi.model.pyro_model import Simulate, model
from epi.model.simulator import Simulator, failed, usable
from epi.model.transmission import host_tables, make_rates
from epi.scenarios.interventions import (
    ASSUMPTIONS,
    LEVERS,
    levers,
    moved_context,
    moved_hosts,
    moved_observation,
    moved_rates,
    moved_theta,
)
from epi.scenarios.outcome import EVENT, MEASURES, Outcome, outcome
from epi.scenarios.people import HostKinds
from sim import Population


@dataclass(frozen=True, eq=False)
class WorldSimulator:
    """Parameters, levers and assumptions to outcomes.

    Attributes:
        base: the study's simulator.
        population: its population with the kinds of host of the questions.
        kinds: these kinds.
    """

    base: Simulator
    population: Population
    kinds: HostKinds

    def sites(self) -> dict[str, int]:
        """Number of event axes of every site that the simulator reads."""
        by_day = {lever.name: 0 for lever in LEVERS} | dict.fromkeys(ASSUMPTIONS, 0)
        by_day |= {name: 1 for name in by_day if name.startswith("contacts_") or name in ("doses", "days_since_dose")}
        return {p.name: len(p.shape) for p in self.base.space.parameters} | by_day

    def usual(self) -> dict[str, Tensor]:
        """The levers of the calibrated world."""
        with pyro.poutine.block(), pyro.poutine.seed(rng_seed=0):
            values = levers(self.base.context, self.kinds)
        return {name: value for name, value in values.items() if name not in ASSUMPTIONS}

    def run(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor) -> tuple[Outcome, dict[str, Tensor]]:
        """Simulate.

        Args:
            theta: every site, `[*batch, *event]`; batch axes are broadcast against each other.
            seed: of the epidemic.
            streams: random streams, broadcast against the batch: worlds with equal streams share their random numbers.

        Returns:
            Outcome and expected counts with the batch in front; NaN where a simulation is not usable.
        """
        here = self.base.observation.week
        events = self.sites()
        batch = torch.broadcast_shapes(*(theta[n].shape[: theta[n].dim() - k] for n, k in events.items()))
        flat = {
            n: theta[n].expand((*batch, *theta[n].shape[theta[n].dim() - k :])).flatten(0, len(batch) - 1).to(here)
            for n, k in events.items()
        }
        result, expected = self._run(flat, seed, streams.expand(batch).reshape(-1))
        home = theta["transmission_household"]
        return (
            Outcome(*(getattr(result, m).to(home).unflatten(0, batch) for m in MEASURES)),
            {name: x.to(home).unflatten(0, batch) for name, x in expected.items()},
        )

    def _run(self, theta: Mapping[str, Tensor], seed: int, streams: Tensor) -> tuple[Outcome, dict[str, Tensor]]:
        base = self.base
        context = moved_context(theta, base.context, self.kinds)
        usual = host_tables(theta, context)
        theta = moved_theta(theta, usual, context.study)
        hosts = moved_hosts(theta, usual, context.study)
        rates = moved_rates(theta, make_rates(theta, hosts, context), usual, context)
        rates, good = usable(rates, hosts)
        incidence = sim.epidemic(
            self.population, rates, seed, streams=streams, backend=base.backend, estimator=base.estimator
        )
        observation = moved_observation(base.observation, self.kinds)
        result = outcome(theta, hosts, incidence, observation)
        nan = torch.where(good, 1.0, torch.nan).to(incidence)
        marked = (x * nan.reshape(-1, *[1] * (x.dim() - 1)) for x in (getattr(result, m) for m in MEASURES))
        return Outcome(*marked), failed(observe(theta, hosts, incidence, observation), good)


def what_if_model(simulator: WorldSimulator, seed: int, streams: Tensor) -> Callable[[], None]:
    """The calibrated Pyro model with levers: that of the study, around a simulator that reads levers as sites of their own.

    Outcomes are deterministic sites, the fields of `Outcome`.
    """

    def simulate(theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        world = levers(simulator.base.context, simulator.kinds)
        result, expected = simulator.run({**theta, **world}, seed, streams)
        for name in MEASURES:
            value = getattr(result, name)
            pyro.deterministic(name, value, event_dim=EVENT[name])
        # the model draws counts around these, which nobody looks at here; a failed simulation, NaN in the outcome, cannot be drawn from
        return {name: x.nan_to_num(0.0) for name, x in expected.items()}

    bound: Simulate = simulate
    base = simulator.base
    return lambda: model(base.study, bound, tested=base.observation.tested)
