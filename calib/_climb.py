"""Many parameters: a flow climbs the objective of linearised runs, many cheap updates for each batch of simulations.

With dozens of parameters no population of draws fills the posterior, but a flow with a Gaussian core can still be fitted to
what the kept runs imply. Each round simulates a batch at draws of the flow, with Jacobians, and lets the flow make hundreds
of updates on outputs carried by first derivatives from the nearest runs. Two things bound how far it may go on their word:
the likelihood counts as much as the last batch was predicted (as in `reuse`), and a draw pays for leaving the neighbourhood
of the runs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from calib._config import BudgetError, FitConfig, FitError
from calib._deadline import NEVER, Deadline
from calib._density_model import DensityModel
from calib._fit import fit
from calib._flows import Flow
from calib._local_model import LocalModel, Runs
from calib._noise import derive_seed
from calib._problem import Problem
from calib._reuse import FIRST, GROWTH, Round, Source, compare, first_weight

NEAR = 1.5  # distance to the nearest run, in units of that between draws of the flow, beyond which a draw pays
PATIENCE = 6  # rounds without a tenth more of the likelihood's weight
PRICE = 10.0  # nats, times the square of what is beyond


@dataclass(frozen=True)
class ClimbConfig:
    """Settings of `climb`.

    Attributes:
        budget: simulations that may be spent.
        seed: of everything random.
        loss_weight: weight of the log likelihood.
        batch: runs a round.
        keep: most runs in the model, the newest.
        updates: of the flow, a round.
        particles: draws of the flow an update; they cost no simulation.
        trust: error in nats at which the likelihood's weight is held.
        tolerance: error in nats that is small enough to stop after two such rounds.
    """

    budget: int = 10_000
    seed: int = 0
    loss_weight: float = 1.0
    batch: int = 16
    keep: int = 128
    updates: int = 300
    particles: int = 32
    trust: float = 2.0
    tolerance: float = 0.05


@dataclass(frozen=True, eq=False)
class Climb:
    """Where the rounds have come to.

    Attributes:
        flow: q(z).
        runs: the newest runs.
        rounds: what each found.
        weight: of the likelihood at the end.
        simulations: spent, a Jacobian counted at its cost.
        calls: runs made.
        dropped: runs that were not finite.
        stopped_because: `"converged"`, `"stalled"` if rounds brought no more, `"max_seconds"` or `"budget"`.
    """

    flow: Flow
    runs: Runs = field(repr=False)
    rounds: tuple[Round, ...]
    weight: float
    simulations: int
    calls: int
    dropped: int
    stopped_because: str


def climb(
    source: Source,
    flow: Flow,
    config: ClimbConfig,
    progress: Callable[[Round], None] | None = None,
    deadline: Deadline = NEVER,
) -> Climb:
    """Fit a flow with few simulations.

    Args:
        source: the simulator; its chart must be z itself, and its gradient `"reverse"` or `"forward"`.
        flow: where to start; it is not changed.
        config: settings.
        progress: called after each round.
        deadline: after which no round begins, the first excepted.

    Returns:
        The flow and what it rests on.

    Raises:
        ValueError: the simulator gives no Jacobian, or the budget is smaller than three rounds.
        FitError: fewer than two runs of the first batch were finite.
    """
    if source.gradient == "score":
        raise ValueError(
            "rounds for many parameters carry outputs by their Jacobian: use gradient='reverse' or 'forward'."
        )
    total = config.budget // source.cost
    if total < 3 * config.batch:
        raise BudgetError(config.budget, 3 * config.batch * source.cost, "for three rounds")
    started = time.perf_counter()
    runs: Runs | None = None
    rounds: list[Round] = []
    weight, used, dropped, quiet, stopped = 0.0, 0, 0, 0, "budget"
    while used + config.batch <= total:
        if rounds and deadline.passed():
            stopped = "max_seconds"
            break
        generator = torch.Generator().manual_seed(derive_seed(config.seed, len(rounds), "climb"))
        points = flow.sample(config.batch, generator).double()
        new, good = source.run(points, derive_seed(config.seed, len(rounds), "simulate"))
        used, dropped = used + len(points), dropped + int((~good).sum())
        value = source.value(new.outputs)
        if runs is None:
            if len(new) < 2 or not bool(torch.isfinite(value).any()):
                raise FitError(
                    f"{int(torch.isfinite(value).sum())} of {config.batch} simulations had a finite log likelihood; check the simulator, "
                    "the data and the priors."
                )
            runs, weight = new, first_weight(value, config.trust)
            rounds.append(Round(used * source.cost, 0.0, 1e9, 1e9, time.perf_counter() - started, config.budget))
        else:
            with torch.no_grad():
                predicted = source.value(_model(source, runs, flow)(points))[good]
            found = replace(compare(predicted, value, used * source.cost, weight, started), budget=config.budget)
            rounds.append(found)
            runs = _newest(runs.join(new), config.keep)
            quiet = quiet + 1 if weight == 1.0 and config.loss_weight * found.error_90 <= config.tolerance else 0
            trusted = config.trust / max(config.loss_weight * found.error, 1e-12)
            weight = min(1.0, max(0.5 * weight, min(trusted, max(GROWTH * weight, FIRST))))
        if progress is not None:
            progress(rounds[-1])
        flow = _update(source, runs, flow, weight, len(rounds), config)
        if quiet == 2:
            stopped = "converged"
            break
        if _stalled(rounds):
            stopped = "stalled"
            break
    assert runs is not None
    return Climb(flow, runs, tuple(rounds), weight, used * source.cost, used, dropped, stopped)


def _stalled(rounds: list[Round]) -> bool:
    """Whether neither the likelihood's weight nor, once that is 1, the error of what is predicted got better of late."""
    before, late = rounds[:-PATIENCE], rounds[-PATIENCE:]
    if not before:
        return False
    heavier = max(r.weight for r in late) > 1.1 * max(r.weight for r in before)
    errors = [r.error_90 for r in before if r.weight == 1.0]
    nearer = not errors or min((r.error_90 for r in late if r.weight == 1.0), default=1e9) < 0.9 * min(errors)
    return not heavier and (max(r.weight for r in late) < 1.0 or not nearer)


def _newest(runs: Runs, keep: int) -> Runs:
    return runs.take(torch.arange(max(0, len(runs) - keep), len(runs)))


def _model(source: Source, runs: Runs, flow: Flow) -> LocalModel | DensityModel:
    draws = flow.sample(4 * flow.dim + 64, torch.Generator().manual_seed(0)).double()
    covariance = draws.T.cov() + 1e-6 * draws.var(0).mean() * torch.eye(flow.dim).to(draws)
    return source.model(runs, torch.linalg.cholesky(covariance), curvature=False)


def _update(source: Source, runs: Runs, flow: Flow, weight: float, number: int, config: ClimbConfig) -> Flow:
    """Many updates of the flow on linearised runs, at no simulation."""
    model = _model(source, runs, flow)
    usual = (2.0 * flow.dim) ** 0.5  # distance between two draws of a Gaussian in units of its own spread

    def linearised(z: Tensor, seed: int, gradient: str) -> Tensor:
        beyond = (model.distance(z) / usual - NEAR).clamp_min(0.0)
        return weight * source.log_likelihood(model(z)) - PRICE * beyond**2

    problem = Problem(flow.dim, linearised)
    settings = FitConfig(
        seed=derive_seed(config.seed, number, "update"),
        particles=config.particles,
        max_steps=config.updates,
        loss_weight=config.loss_weight,
        stop=None,
    )
    start = copy.deepcopy(flow)
    for p in start.parameters():
        p.requires_grad_(True)
    return fit(problem, start, settings).flow
