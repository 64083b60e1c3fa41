"""The ways of `calibrate` from a simulator to a flow, each within a budget of simulations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from calib._baselines_sbi import AMORTISED, baseline
from calib._climb import Climb, ClimbConfig, climb
from calib._config import BudgetError, FitConfig
from calib._deadline import NEVER, Deadline
from calib._fit import fit
from calib._flow_draws import fit_flow
from calib._flows import Flow, make_flow
from calib._gaussian_start import start_flow
from calib._hamiltonian import Chains
from calib._iterated_regression import NoisyRuns
from calib._local_model import Runs
from calib._mode import find_mode
from calib._more_budget import UNKNOWN, Allowance
from calib._noise import derive_seed
from calib._problem import Gradient, Problem
from calib._pyro_density import PyroDensity
from calib._reuse import Known, Reuse, ReuseConfig, Source, posterior, reuse
from calib._space import ParameterSpace
from calib._verdict import CalibrationVerdict

ENOUGH = 0.5  # effective share of a Gaussian's draws at which no other flow is tried
BETTER = 0.05  # nats by which another flow must describe draws kept apart better than a Gaussian
PARTICLES = 8
GRADIENT_COST = 4  # of one reverse sweep, in simulations
LEAST_STEPS = 30
STARTED = ("gaussian", "gaussian-nsf")  # flows that can begin as a given Gaussian
DRAWN = 4096  # draws of a baseline
Outputs = Callable[[Mapping[str, Tensor], int], Tensor]


@dataclass(frozen=True)
class Task:
    """What every method is given.

    Attributes:
        space: parameters and priors.
        outputs: the simulator, `(theta, seed) -> [P, M]`.
        source: the same in the coordinates of a chart, with the likelihood.
        flow: name of the flow, or "auto".
        budget: simulations.
        seed: of everything random.
        loss_weight: weight of the log likelihood.
        gradient_cost: what a gradient counts, in simulations.
        progress: called after each round or step.
        density: the Pyro model; None for a simulator. Its `outputs` cannot be asked for by name.
        earlier: what the same method found before, from which it starts.
        deadline: after which no round or step begins.
        allowance: what the whole call may spend, for advice.
    """

    space: ParameterSpace
    outputs: Outputs
    source: Source
    flow: str
    budget: int
    seed: int
    loss_weight: float
    gradient_cost: int
    progress: Callable[[Any], None] | None
    density: PyroDensity | None = None
    earlier: Fitted | None = None
    deadline: Deadline = NEVER
    allowance: Allowance = UNKNOWN


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a method gives.

    Attributes:
        flow: q(z).
        runs: those that an emulator rests on; None if none are kept.
        scale: of the emulator.
        told: what the report says.
        chains: the draws, if chains made them.
        verdict: of the chains.
        noisy: runs of a simulator with noise.
    """

    flow: Flow
    runs: Runs | None
    scale: Tensor | None
    told: dict[str, Any]
    chains: Chains | None = None
    verdict: CalibrationVerdict | None = None
    noisy: NoisyRuns | None = None


def by_reuse(task: Task) -> Fitted:
    """Rounds on every run (`reuse`), then a flow at their draws."""
    config = ReuseConfig(budget=task.budget, seed=task.seed, loss_weight=task.loss_weight)
    before = task.earlier
    known = (
        None
        if before is None or before.runs is None or before.scale is None
        else Known(before.runs, before.scale, before.told["weight"])
    )
    found = reuse(task.source, config, task.progress, known=known, deadline=task.deadline)
    flow = _flow_for(task.flow, task.source, found, task.loss_weight, task.seed)
    return Fitted(flow, found.runs, found.scale, _facts_of(found) | {"found_higher": found.low})


def by_climb(task: Task) -> Fitted:
    """The mode, the Gaussian there, rounds in which a flow climbs linearised runs; then new runs where those do not carry it.

    Runs that scatter by chance, or bend more than first derivatives say, cannot be predicted to a twentieth of a nat, and the
    rounds then end early; what is left goes to `fit` from where they came to.
    """
    source, dim = task.source, task.space.dim
    if task.earlier is not None:
        return _fit(task, task.earlier.flow, task.budget)
    top = find_mode(source, budget=task.budget // 3, seed=task.seed, loss_weight=task.loss_weight)
    start = make_flow("gaussian" if task.flow == "auto" else task.flow, dim, seed=task.seed)
    if start.name in STARTED:
        eye = torch.eye(dim).to(top.information)
        start_flow(start, top.z, torch.cholesky_inverse(torch.linalg.cholesky(eye + top.information)))
    least = 3 * ClimbConfig.batch * source.cost
    config = ClimbConfig(
        budget=max((task.budget - top.simulations) // 2, least), seed=task.seed, loss_weight=task.loss_weight
    )
    if top.simulations + config.budget > task.budget:
        raise BudgetError(task.budget, 2 * least, f"for {dim} parameters with Jacobians")
    found = climb(source, start, config, task.progress, task.deadline)
    told = _facts_of(found) | {"mode": top.height, "mode_simulations": top.simulations}
    told = _plus(told, simulations=top.simulations, calls=top.calls, dropped=top.dropped)
    left = task.budget - told["simulations"]
    enough = left // (task.gradient_cost * PARTICLES) >= LEAST_STEPS
    if found.stopped_because in ("converged", "max_seconds") or source.gradient == "forward" or not enough:
        return Fitted(found.flow, None, None, told)
    further = _fit(task, found.flow, left)
    both = {key: told[key] for key in ("simulations", "calls", "dropped")}
    told |= {key: further.told[key] for key in ("weight", "stopped_because", "elbo")} | {"method": "linearised-vi, vi"}
    return Fitted(further.flow, None, None, _plus(further.told | told | both, **{k: further.told[k] for k in both}))


def _plus(told: dict[str, Any], **more: int) -> dict[str, Any]:
    return told | {key: told[key] + value for key, value in more.items()}


def by_direct(task: Task) -> Fitted:
    """New simulations for every update of the flow (`fit`)."""
    name = "gaussian" if task.flow == "auto" else task.flow
    start = make_flow(name, task.space.dim, seed=task.seed) if task.earlier is None else task.earlier.flow
    return _fit(task, start, task.budget)


def by_baseline(task: Task, name: str, likelihood: Any, data: Tensor | None) -> Fitted:
    """A method of sbi, then a flow at its draws.

    Raises:
        ValueError: there is no distribution to draw data from.
    """
    if likelihood is None or data is None:
        raise ValueError(
            f"method={name!r} learns from simulated data: give the distribution of the data given outputs as likelihood=."
        )
    if task.loss_weight != 1.0:
        raise ValueError(f"method={name!r} knows no loss_weight ({task.loss_weight:g} was given); leave it at 1.")
    found = baseline(
        name, task.outputs, task.space, data, likelihood=likelihood, budget=task.budget, draws=DRAWN, seed=task.seed
    )
    z = task.space.to_z(found.theta)
    told: dict[str, Any] = {
        "weight": 1.0, "simulations": found.simulations, "calls": found.simulations, "dropped": found.dropped,
        "stopped_because": "trained" if name in AMORTISED else "budget", "rounds": [], "baseline": found.note,
    }  # fmt: skip
    return Fitted(flow_at(task.flow, z[torch.isfinite(z).all(1)], task.seed), None, None, told)


def _fit(task: Task, start: Flow, budget: int) -> Fitted:
    source = task.source
    cost = 1 if source.gradient == "score" else task.gradient_cost
    steps = budget // (cost * PARTICLES)
    if steps < LEAST_STEPS:
        raise BudgetError(budget, LEAST_STEPS * cost * PARTICLES, f"for {LEAST_STEPS} steps")
    space = task.space
    problem = Problem(
        space.dim,
        lambda z, s, path: _value(task, z, s, path),
        names=space.names,
        to_values=lambda z: space.flatten(space.to_theta(z)),
    )
    start = copy.deepcopy(start)
    for p in start.parameters():
        p.requires_grad_(True)
    config = FitConfig(
        seed=task.seed, particles=PARTICLES, gradient=source.gradient, max_steps=steps, loss_weight=task.loss_weight,
        max_seconds=task.deadline.left(),
    )  # fmt: skip
    result = fit(problem, start, config, progress=task.progress)
    told = {
        "weight": 1.0, "simulations": result.simulations * cost, "calls": result.simulations, "dropped": result.dropped,
        "stopped_because": result.stopped_because, "rounds": [], "elbo": result.elbo,
    }  # fmt: skip
    return Fitted(result.flow, None, None, told)


def _value(task: Task, z: Tensor, seed: int, path: Gradient) -> Tensor:
    if path == "forward":
        raise ValueError(
            "gradient='forward' with method='vi' needs outputs with attached Jacobians: use reverse or score here."
        )
    return task.source.log_likelihood(task.source.simulate(z, seed))  # the chart of a fit is z itself


def flow_at(name: str, z: Tensor, seed: int, steps: int = 500) -> Flow:
    """The flow asked for, at draws; "auto" takes the Gaussian unless a spline flow describes draws kept apart better."""
    dim, hidden = z.shape[1], 32 if z.shape[1] <= 6 else 64
    if name != "auto":
        return fit_flow(make_flow(name, dim, seed=seed, direction="density", hidden=hidden), z, seed=seed, steps=steps)[
            0
        ]
    gaussian, plain = fit_flow(make_flow("gaussian", dim, seed=seed), z, seed=seed)
    nsf, bent = fit_flow(
        make_flow("nsf", dim, seed=seed, direction="density", hidden=hidden), z, seed=seed, steps=steps
    )
    return nsf if bent > plain + BETTER else gaussian


def _flow_for(name: str, source: Source, found: Reuse, loss_weight: float, seed: int) -> Flow:
    """The flow asked for, at the draws; "auto" takes the Gaussian if it covers what the kept runs say."""
    z = source.coordinates.to_z(found.x)
    z = z[torch.isfinite(z).all(1)]
    if name == "auto":
        gaussian, _ = fit_flow(make_flow("gaussian", source.coordinates.dim, seed=seed), z, seed=seed)
        if _coverage(gaussian, source, found, loss_weight, seed) >= ENOUGH:
            return gaussian
        name = "nsf"
    hidden = 32 if source.coordinates.dim <= 6 else 64
    flow = make_flow(name, source.coordinates.dim, seed=seed, direction="density", hidden=hidden)
    return fit_flow(flow, z, seed=seed, steps=500)[0]


def _coverage(flow: Flow, source: Source, found: Reuse, loss_weight: float, seed: int) -> float:
    """Effective share of a flow's draws under the posterior of the local model."""
    coordinates = source.coordinates
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(
            flow.noise(2000, torch.Generator().manual_seed(derive_seed(seed, 0, "cover")))
        )
        x = coordinates.to_x(z)
        target = posterior(source, source.model(found.runs, found.scale), found.weight * loss_weight)
        ratio = target(x) - coordinates.log_slope(x) - log_q
    weight = torch.softmax(torch.where(torch.isfinite(ratio), ratio, -1e300), 0)
    return float(1 / (weight**2).sum()) / len(weight)


def _facts_of(found: Reuse | Climb) -> dict[str, Any]:
    return {
        "weight": found.weight, "simulations": found.simulations, "calls": found.calls, "dropped": found.dropped,
        "stopped_because": found.stopped_because, "rounds": [asdict(r) for r in found.rounds],
    }  # fmt: skip
