"""Rounds: a few simulations, then as many draws of the posterior they imply as one likes.

A simulation is dear; what a set of runs says about the outputs between them (`LocalModel`) costs nothing. Each round draws
from the posterior under that model, simulates a batch there, and compares what was predicted with what came out. The
likelihood counts only as much as the model can be trusted: its weight is such that the error found is about two nats. So
the first rounds look everywhere, and the last ones stand on the posterior, where the model has become exact. Draws start
at the prior in every round, so that a mode which the model did not know is found once it does, and a quarter of each batch
stands on the way from prior to posterior, where such modes show. When two rounds in a row predict their own simulations
and nothing was found on the way, the rest of the budget is not spent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from calib._anneal import LogDensity, anneal
from calib._config import BudgetError, FitError
from calib._coordinates import Coordinates
from calib._deadline import NEVER, Deadline
from calib._density_model import DensityModel
from calib._gradients import forward_jacobian
from calib._local_model import LocalModel, Runs
from calib._noise import derive_seed
from calib._observed import finite_or_impossible
from calib._problem import Gradient
from calib._run_store import RunStore

GROWTH = 30.0  # most by which the likelihood's weight grows from one round to the next
LARGEST_PILOT, LARGEST_BATCH = 200, 100  # runs; a larger budget brings more rounds, not larger ones
ASIDE = 4  # one in so many runs of a batch stands on the way from prior to posterior
FIRST = 1e-3  # weight that is always within reach


@dataclass(frozen=True)
class Source:
    """A simulator in the coordinates of a chart.

    Attributes:
        simulate: `(x [P, D], seed) -> outputs [P, M]`, each row from its own row alone.
        log_likelihood: `outputs [P, M] -> [P]`, nats; costs nothing next to a simulation.
        coordinates: the coordinates.
        gradient: `"reverse"` or `"forward"` for the Jacobian of the outputs, `"score"` for none.
        gradient_cost: what a run with its Jacobian counts, in simulations.
        density: whether the only output is the log likelihood itself.
        store: where runs with their Jacobian are kept; nowhere if None.
    """

    simulate: Callable[[Tensor, int], Tensor]
    log_likelihood: Callable[[Tensor], Tensor]
    coordinates: Coordinates
    gradient: Gradient
    gradient_cost: int
    density: bool = False
    store: RunStore | None = None

    @property
    def cost(self) -> int:
        """What a run counts, in simulations."""
        return 1 if self.gradient == "score" else self.gradient_cost

    def run(self, x: Tensor, seed: int) -> tuple[Runs, Tensor]:
        """Simulate; returns the runs that are finite and which those are, `[P]` bool."""
        jacobian: Tensor | None = None
        kept = None if self.store is None or self.gradient == "score" else self.store.get({"x": x}, seed)
        if kept is not None:
            outputs, jacobian = kept[0]["outputs"], kept[0]["jacobian"]
        elif self.gradient == "forward":
            outputs, jacobian = forward_jacobian(lambda point: self.simulate(point, seed), x)
        elif self.gradient == "reverse":
            outputs, jacobian = reverse_jacobian(lambda point: self.simulate(point, seed), x)
        else:
            with torch.no_grad():
                outputs = self.simulate(x, seed)
        if self.store is not None and kept is None and jacobian is not None:
            self.store.put({"x": x}, seed, {"outputs": outputs, "jacobian": jacobian}, {})
        good = torch.isfinite(outputs).all(1)
        if jacobian is not None:
            good &= torch.isfinite(jacobian).flatten(1).all(1)
        return Runs(x, outputs, jacobian, x[~good].detach()).take(good), good

    def value(self, outputs: Tensor) -> Tensor:
        """Log likelihood `[P]`, minus infinity where it is not a number."""
        return finite_or_impossible(self.log_likelihood(outputs))

    def model(self, runs: Runs, scale: Tensor | None, curvature: bool = True) -> LocalModel | DensityModel:
        """Outputs between runs."""
        return (DensityModel if self.density else LocalModel)(runs, scale, curvature)


def reverse_jacobian(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Value `[P, M]` and Jacobian `[P, M, D]` of a function of rows, by one batched backward pass.

    Raises:
        ValueError: the outputs have no graph.
    """
    leaf = x.detach().requires_grad_()
    outputs = f(leaf)
    if not outputs.requires_grad:
        raise ValueError("the simulator's outputs have no gradient: keep the graph, or use gradient='score'.")
    rows = torch.eye(outputs.shape[1]).to(outputs)[:, None].expand(-1, *outputs.shape)
    (jacobian,) = torch.autograd.grad(outputs, leaf, rows, is_grads_batched=True, materialize_grads=True)
    return outputs.detach(), jacobian.movedim(0, 1)


@dataclass(frozen=True)
class Round:
    """What a round found.

    Attributes:
        simulations: spent so far, a gradient counted at its cost.
        weight: of the likelihood when the batch was drawn, 1 for the posterior itself.
        error: spread of predicted minus simulated log likelihood, nats: the larger of what the median and the 0.9 quantile of the
            deviations say of a normal distribution's standard deviation.
        error_90: nine tenths of these differences are smaller, nats.
        seconds: since the start.
        budget: simulations that may be spent.
        largest: of these differences, nats.
    """

    simulations: int
    weight: float
    error: float
    error_90: float
    seconds: float
    budget: int = 0
    largest: float = 0.0


@dataclass(frozen=True)
class ReuseConfig:
    """Settings of `reuse`.

    Attributes:
        budget: simulations that may be spent.
        seed: of everything random.
        loss_weight: weight of the log likelihood (generalised posterior).
        population: draws carried from round to round.
        draws: draws of the posterior at the end.
        trust: error in nats at which the likelihood's weight is held.
        tolerance: error in nats (nine tenths of the draws) that is small enough to stop after two such rounds.

    Examples:
        >>> from calib import ReuseConfig
        >>> ReuseConfig(budget=500).budget
        500
    """

    budget: int = 10_000
    seed: int = 0
    loss_weight: float = 1.0
    population: int = 1024
    draws: int = 4096
    trust: float = 2.0
    tolerance: float = 0.05


Stop = Literal["converged", "budget", "max_seconds"]


@dataclass(frozen=True, eq=False)
class Reuse:
    """Where the rounds have come to.

    Attributes:
        x: draws of the posterior under the local model, `[S, D]`, in the chart.
        runs: all runs kept.
        scale: `[D, D]` of the local model.
        rounds: what each found.
        weight: of the likelihood at the end; below 1 the draws are of a wider distribution than the posterior.
        simulations: spent, a gradient counted at its cost.
        calls: runs made.
        dropped: runs that were not finite.
        stopped_because: `"converged"`, `"budget"` or `"max_seconds"`.
        low: whether the last round found a run where draws are, and the model had said there are none.
    """

    x: Tensor = field(repr=False)
    runs: Runs = field(repr=False)
    scale: Tensor = field(repr=False)
    rounds: tuple[Round, ...]
    weight: float
    simulations: int
    calls: int
    dropped: int
    stopped_because: Stop
    low: bool = False


def posterior(source: Source, model: LocalModel | DensityModel, weight: float) -> LogDensity:
    """Log density in the chart, up to a constant: the prior times the likelihood of modelled outputs to a power; none where runs fail."""

    def target(x: Tensor) -> Tensor:
        prior = source.coordinates.log_prior(x)
        value = prior.clone()
        inside = torch.isfinite(prior)
        if inside.any():
            with torch.no_grad():
                value[inside] += weight * source.value(model(x[inside]))
                value[~model.reachable(x)] = -math.inf
        return value

    return target


def _scale_of(x: Tensor) -> Tensor:
    covariance = x.T.cov().reshape(x.shape[1], -1)
    return torch.linalg.cholesky(
        covariance + 1e-8 * covariance.diagonal().mean().clamp_min(1e-12) * torch.eye(x.shape[1]).to(x)
    )


def first_weight(value: Tensor, trust: float) -> float:
    """Weight at which the likelihoods of prior draws differ by as much as may be trusted."""
    finite = value[torch.isfinite(value)]
    if len(finite) < 5:
        return 0.0
    apart = float(finite.quantile(0.9) - finite.quantile(0.1))
    return min(1.0, trust / max(apart, 1e-12))


@dataclass(frozen=True, eq=False)
class Known:
    """Runs of a former call.

    Attributes:
        runs: in the same chart.
        scale: `[D, D]` of the local model.
        weight: of the likelihood at the end.
    """

    runs: Runs
    scale: Tensor
    weight: float


def reuse(
    source: Source,
    config: ReuseConfig,
    progress: Callable[[Round], None] | None = None,
    *,
    known: Known | None = None,
    deadline: Deadline = NEVER,
) -> Reuse:
    """Draw from a posterior with few simulations.

    Args:
        source: the simulator.
        config: settings.
        progress: called after each round.
        known: runs of a former call, in place of a pilot; `simulations` and `calls` count new ones alone.
        deadline: after which no round begins.

    Returns:
        Draws and what they rest on.

    Raises:
        ValueError: the budget is smaller than a pilot and two rounds need.
        FitError: fewer than two runs of the pilot were finite.
    """
    dim, coordinates = source.coordinates.dim, source.coordinates
    total = config.budget // source.cost
    least = dim * (dim + 3) if source.gradient == "score" else 3 * dim + 2
    pilot = max(least, min(total // 10, LARGEST_PILOT))
    batch = max(2 * dim + 4, min(total // 25, LARGEST_BATCH))
    if known is not None:
        least = pilot = 0
    if total < pilot + 2 * batch:
        smallest = source.cost * (least + 2 * (2 * dim + 4))
        raise BudgetError(config.budget, smallest, f"for {dim} parameters")
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(derive_seed(config.seed, 0, "reuse"))
    x = coordinates.sample_prior(max(config.population, pilot), generator)
    if known is None:
        runs, good = source.run(x[:pilot], derive_seed(config.seed, 0, "simulate"))
        used, dropped = pilot, int((~good).sum())
    else:
        runs, used, dropped = known.runs, 0, 0
    if len(runs) < 2:
        raise FitError(
            f"{len(runs)} of {pilot} simulations at draws of the prior were finite; check the simulator and the priors."
        )
    if not bool(torch.isfinite(source.value(runs.outputs)).any()):
        raise FitError(
            f"none of {len(runs)} simulations at draws of the prior has a finite log likelihood: the data are impossible under all of them; "
            "widen the likelihood, move the priors, or check the units of data and outputs."
        )
    x = x[: config.population]
    scale = _scale_of(x) if known is None else known.scale
    weight = first_weight(source.value(runs.outputs), config.trust) if known is None else known.weight
    rounds: list[Round] = []
    quiet, stopped, low = 0, "budget", False
    while used + dim + 2 <= total:
        if deadline.passed():
            stopped = "max_seconds"
            break
        model = source.model(runs, scale)
        target = posterior(source, model, weight * config.loss_weight)
        stages: list[Tensor] = []
        start = coordinates.sample_prior(config.population, generator)
        x = anneal(start, coordinates.log_prior, target, sweeps=3, generator=generator, stages=stages)
        scale = _scale_of(x)
        aside = batch // ASIDE
        points = _some(x, min(batch, total - used) - aside, generator)
        way = _some(torch.cat(stages), min(aside, total - used - len(points)), generator)
        number = len(rounds) + 1
        new, found, lost = _try(source, model, points, (used, number, weight, started), config.seed)
        off_path, low = _off_path(source, model, way, target, x, number, config)
        used, dropped = used + len(points) + len(way), dropped + lost + len(way) - len(off_path)
        found = replace(found, simulations=used * source.cost, budget=config.budget)
        rounds.append(found)
        if progress is not None:
            progress(found)
        runs = runs.join(new).join(off_path)
        converged = weight == 1.0 and config.loss_weight * found.error_90 <= config.tolerance and not low
        # A log likelihood may be far off at one draw in a hundred, and that one then has the weight of many.
        converged &= not source.density or config.loss_weight * found.largest <= config.trust
        quiet = quiet + 1 if converged else 0
        if quiet == 2:
            stopped = "converged"
            break
        trusted = config.trust / max(config.loss_weight * found.error, 1e-12)
        weight = min(1.0, max(0.5 * weight, min(trusted, max(GROWTH * weight, FIRST))))
    target = posterior(source, source.model(runs, scale), weight * config.loss_weight)
    start = coordinates.sample_prior(config.draws, generator)
    fresh = anneal(start, coordinates.log_prior, target, sweeps=4, last_sweeps=20, generator=generator, kept=0.7)
    calls = used
    return Reuse(fresh, runs, scale, tuple(rounds), weight, used * source.cost, calls, dropped, stopped, low)  # type: ignore[arg-type]


def _some(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """A few of the draws, none twice: a point that is simulated again says nothing new."""
    distinct = torch.unique(x, dim=0)
    return distinct[torch.randperm(len(distinct), generator=generator)[:count]]


def _try(
    source: Source, model: LocalModel | DensityModel, points: Tensor, at: tuple[int, int, float, float], seed: int
) -> tuple[Runs, Round, int]:
    """Simulate draws of the modelled posterior: runs, how they were predicted, and how many were not finite."""
    used, number, weight, started = at
    with torch.no_grad():
        predicted = source.value(model(points))
    new, good = source.run(points, derive_seed(seed, number, "simulate"))
    found = compare(predicted[good], source.value(new.outputs), used * source.cost, weight, started)
    return new, found, int((~good).sum())


def _off_path(
    source: Source,
    model: LocalModel | DensityModel,
    way: Tensor,
    target: LogDensity,
    x: Tensor,
    number: int,
    config: ReuseConfig,
) -> tuple[Runs, bool]:
    """Simulate on the way from prior to posterior: runs, and whether one lies as high as draws do where the model said lower."""
    new, good = source.run(way, derive_seed(config.seed, number, "simulate-aside"))
    with torch.no_grad():
        predicted = source.value(model(way[good])) * config.loss_weight
    simulated = source.value(new.outputs) * config.loss_weight
    height = target(x)
    if not torch.isfinite(height).any() or not len(new):
        return new, bool(len(new))
    bar = float(height[torch.isfinite(height)].quantile(0.05))
    high = source.coordinates.log_prior(new.z) + simulated > bar
    return new, bool((high & (simulated > predicted + 1.0)).any())


def compare(predicted: Tensor, simulated: Tensor, spent: int, weight: float, started: float) -> Round:
    """Compare what a model said of runs with what they gave."""
    off = (predicted - simulated).nan_to_num(nan=1e9).clamp(-1e9, 1e9)
    if len(off) == 0:
        return Round(spent, weight, 1e9, 1e9, time.perf_counter() - started, largest=1e9)
    away = (off - off.median()).abs()
    tail = float(away.quantile(0.9))
    # Spread by the median alone is blind to a mode that is predicted badly while more than half of the draws sit in another.
    sd = max(1.4826 * float(away.median()), tail / 1.6449)
    return Round(spent, weight, sd, tail, time.perf_counter() - started, largest=float(off.abs().max()))
