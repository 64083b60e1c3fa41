"""The competitors: sbi's NPE and SMC-ABC as `calib.calibrate` calls them, and each with what helps it at a few hundred simulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Delta
from torch import Tensor

from calib import ParameterSpace
from calib.baselines import SilentTracker, baseline, quiet
from calib.numerics import derive_seed
from experiments.method_comparison._summaries import Summaries, summaries

Simulate = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """What every method is given.

    Attributes:
        space: parameters and priors.
        simulate: `(z [P, D], seed)` to drawn observations `[P, K]`, one run each; NaN where a run failed.
        observed: `[K]`.
        budget: simulations.
        draws: posterior draws wanted, S.
        seed: of everything random.
    """

    space: ParameterSpace
    simulate: Simulate
    observed: Tensor
    budget: int
    draws: int
    seed: int

    def prior(self, runs: int, stream: str) -> tuple[Tensor, Tensor]:
        """Draws of the prior `[N, D]` and their observations `[N, K]`, without failed runs."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, 0, f"method-{stream}"))
        z = torch.randn(runs, self.space.dim, generator=generator, dtype=torch.float64)
        x = self.simulate(z, derive_seed(self.seed, 1, f"method-{stream}"))
        good = torch.isfinite(x).all(1)
        return z[good], x[good]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Posterior draws `z [S, D]`, the simulations spent on them, and plain facts about the run."""

    z: Tensor
    simulations: int
    told: dict[str, Any]


def prior(task: Task) -> Drawn:
    """Draws of the prior, which no figure was shown: what a method must beat to have learnt something."""
    generator = torch.Generator().manual_seed(derive_seed(task.seed, 0, "method-prior"))
    return Drawn(torch.randn(task.draws, task.space.dim, generator=generator, dtype=torch.float64), 0, {})


def npe(task: Task) -> Drawn:
    """NPE with the defaults of sbi: a masked autoregressive flow of all parameters given all observations."""
    return _as_in_calibrate(task, "npe")


def smc_abc(task: Task) -> Drawn:
    """SMC-ABC as `calibrate` calls it, by the Euclidean distance of the standardised observations."""
    return _as_in_calibrate(task, "smc-abc")


def _as_in_calibrate(task: Task, name: str) -> Drawn:
    def simulator(theta: Mapping[str, Tensor], seed: int) -> Tensor:
        return task.simulate(task.space.to_z(theta), seed)

    # the simulator draws the scatter of the observations itself, since its size is one of the parameters
    found = baseline(
        name, simulator, task.space, task.observed, likelihood=lambda x: Delta(x, event_dim=1),
        budget=task.budget, draws=task.draws, seed=task.seed,
    )  # fmt: skip
    return Drawn(task.space.to_z(found.theta), found.simulations, {"note": found.note, "failed_runs": found.dropped})


def npe_summaries(task: Task) -> Drawn:
    """NPE of the parameters that the observations tell of, given their linear posterior means; the others keep their prior."""
    z, x = task.prior(task.budget, "npe-summaries")
    short = summaries(z, x)
    with quiet(derive_seed(task.seed, 0, "npe-summaries") % 2**31):
        posterior = _train(short, z)
        part = posterior.sample((task.draws,), x=short(task.observed).float(), show_progress_bars=False)
    return Drawn(_with_prior(task, short, part), task.budget, {"parameters_learnt": _names(task, short)})


def _train(short: Summaries, z: Tensor) -> Any:
    from sbi.inference import NPE

    trainer = NPE(prior=_normal(len(short.columns)), show_progress_bars=False, tracker=SilentTracker())
    trainer.append_simulations(z[:, short.columns].float(), short.kept.float())
    # sbi's batches of 200 would be two steps an epoch here
    network = trainer.train(training_batch_size=50, learning_rate=1e-3)
    return trainer.build_posterior(network)


def smc_abc_summaries(task: Task) -> Drawn:
    """SMC-ABC on the linear posterior means, of the parameters that the observations tell of, learnt from 40 % of the simulations."""
    pilot = int(0.4 * task.budget)
    z, x = task.prior(pilot, "smc-abc-summaries")
    short = summaries(z, x)
    scale = short.kept.std(0).clamp_min(1e-3)
    calls = 0

    def simulate(part: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        seed = derive_seed(task.seed, calls, "smc-abc-summaries")
        return (short(task.simulate(_with_prior(task, short, part, calls), seed)) / scale).float()

    from sbi.inference import SMCABC

    with quiet(derive_seed(task.seed, 0, "smc-abc-summaries") % 2**31):
        left = task.budget - pilot
        particles = max(20, min(500, left // 8))
        method = SMCABC(
            simulate, _normal(len(short.columns)), simulation_batch_size=particles, show_progress_bars=False
        )
        _, told = method(
            (short(task.observed) / scale).float()[None], num_particles=particles, num_initial_pop=min(left, 3 * particles),
            num_simulations=left, epsilon_decay=0.8, kernel_variance_scale=0.5, return_summary=True,
        )  # fmt: skip
        weights = torch.as_tensor(told["weights"][-1]).exp()
        part = torch.as_tensor(told["particles"][-1])[torch.multinomial(weights, task.draws, replacement=True)]
    facts = {"parameters_learnt": _names(task, short), "populations": len(told["epsilons"]), "particles": particles}
    return Drawn(_with_prior(task, short, part), task.budget, facts)


def _normal(dim: int) -> torch.distributions.MultivariateNormal:
    return torch.distributions.MultivariateNormal(torch.zeros(dim), torch.eye(dim))


def _with_prior(task: Task, short: Summaries, part: Tensor, call: int = 0) -> Tensor:
    """Draws `[S, D]` from draws of some parameters, the others from the prior."""
    generator = torch.Generator().manual_seed(derive_seed(task.seed, call, "method-others"))
    z = torch.randn(len(part), task.space.dim, generator=generator, dtype=torch.float64)
    z[:, short.columns] = part.double()
    return z


def _names(task: Task, short: Summaries) -> list[str]:
    return [task.space.names[k] for k in short.columns.tolist()]


METHODS: dict[str, Callable[[Task], Drawn]] = {
    "prior": prior,
    "npe": npe,
    "npe-summaries": npe_summaries,
    "smc-abc": smc_abc,
    "smc-abc-summaries": smc_abc_summaries,
}
