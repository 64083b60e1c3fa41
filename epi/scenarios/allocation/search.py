"""Search for a policy: projected gradient, and what it is measured against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import differential_evolution, minimize
from torch import Tensor

from calib.numerics import derive_seed
from epi.errors import StudyError
from epi.scenarios.allocation.constraints import Constraints

Advance = Callable[[int], None]


class Problem(Protocol):
    """What a search needs: the mean and the gradient of an outcome that is to be small, over draws and seeds."""

    @property
    def draws(self) -> int:
        """Number of draws to choose from."""

    def admissions(self, u: Tensor, at: Tensor, seed: int) -> Tensor:
        """`[len(at)]` outcome of the policy `u [rows, columns]` at the draws `at`."""

    def gradient(self, u: Tensor, at: Tensor, seed: int) -> tuple[float, Tensor]:
        """Its mean over these draws, and the gradient of that mean in `u`."""


REVERSE = 3.0
"""Cost of a simulation with its reverse gradient in simulations without (docs/benchmarks: the gradient alone takes 2.0 to 2.7)."""


@dataclass(frozen=True, eq=False)
class Found:
    """A policy and the way to it.

    Attributes:
        method: its name.
        policy: `[rows, columns]`.
        simulations: epidemics simulated, gradients not counted apart.
        cost: the same in simulations without gradient.
        path: `(simulations so far, policy)` of the best so far, for the learning curve.
    """

    method: str
    policy: Tensor
    simulations: int
    cost: float
    path: tuple[tuple[float, Tensor], ...]


def projected_gradient(
    problem: Problem,
    constraints: Constraints,
    *,
    steps: int,
    draws: int,
    seed: int,
    turns: int = 4,
    step_size: float = 0.15,
    remember: bool = False,
    advance: Advance | None = None,
) -> Found:
    """Stochastic projected gradient with momentum, fresh posterior draws and seeds each step.

    The longest entry of the averaged gradient moves by `step_size / (1 + 3 t / steps)` in step t, so that the unit of the outcome does not
    matter. The mean over the last half of the steps meets the constraints because they are convex (Polyak & Juditsky 1992, SIAM J Control
    Optim 30:838). From there `turns` steps of the conditional gradient lead from vertex to vertex of the constraints (Frank & Wolfe 1956, Nav
    Res Logist 3:95, with step 1), on twice the draws. With `remember` each of these reads the mean of all gradients so far, not the last
    alone: right where effects nearly add up, so that a gradient holds far from where it was taken and noise is what matters. Of the
    vertices, the mean and some points of the way the one with the lowest outcome on fresh seeds is taken.

    Raises:
        StudyError: a gradient that is not finite.
    """
    u = constraints.equal_shares()
    momentum, known, count = torch.zeros_like(u), torch.zeros_like(u), 0
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "policy-draws"))
    path: list[tuple[float, Tensor]] = [(0.0, u)]
    late: list[Tensor] = []
    for t in range(steps):
        at = torch.randperm(problem.draws, generator=generator)[:draws]
        _, slope = problem.gradient(u, at, derive_seed(seed, t, "policy-epidemic"))
        if not bool(torch.isfinite(slope).all()):
            raise StudyError(f"The gradient of step {t} is not finite; a posterior draw leaves the model's range.")
        momentum, known, count = 0.8 * momentum + 0.2 * slope, known + len(at) * slope, count + len(at)
        # what a unit of budget buys decides, not what a unit of stringency does: steps in the metric of the cost
        move = momentum / constraints.cost
        size = step_size / (1 + 3 * t / steps)
        u = constraints.project(u - size * move / move.abs().max().clamp_min(1e-12))
        if t >= steps // 2:
            late.append(u)
        if (t + 1) % max(1, steps // 12) == 0:
            shown = torch.stack(late).mean(0) if late else u
            path.append((REVERSE * draws * (t + 1), shown))
        if advance:
            advance(draws)
    spent = REVERSE * steps * draws
    path.append((spent, constraints.project(torch.stack(late).mean(0))))
    # what the gradient leaves out over a long time shows here: the end need not be the best point of the way
    candidates = path[:: max(1, len(path) // 4)]
    candidates = candidates if candidates[-1] is path[-1] else [*candidates, path[-1]]
    # restrictions work better bundled than spread (the outcome is rather concave): go on from vertex to vertex
    u = path[-1][1]
    for t in range(turns):
        at = torch.randperm(problem.draws, generator=generator)[: 2 * draws]
        _, slope = problem.gradient(u, at, derive_seed(seed, steps + t, "policy-epidemic"))
        known, count = known + len(at) * slope, count + len(at)
        u = constraints.vertex(known / count if remember else slope)
        spent += REVERSE * len(at)
        path.append((spent, u))
        candidates.append(path[-1])
        if advance:
            advance(len(at))
    at, luck = (
        torch.randperm(problem.draws, generator=generator)[: 2 * draws],
        derive_seed(seed, 0, "policy-validation"),
    )
    with torch.no_grad():
        means = [float(problem.admissions(policy, at, luck).mean()) for _, policy in candidates]
    best = candidates[int(np.argmin(means))][1]
    checked = len(at) * len(candidates)
    return Found("gradient", best, round(spent / REVERSE) + checked, spent + checked, (*path, (spent + checked, best)))


def greedy(
    problem: Problem,
    constraints: Constraints,
    *,
    portions: int,
    draws: int,
    seed: int,
    rounds: bool = False,
    advance: Advance | None = None,
) -> Found:
    """Spend the budget in equal portions, each where a simulated trial with common random numbers averts most.

    With `rounds` every cell is tried once a portion and the portion goes to one after the other in the order of what a unit of
    budget averted in the trial: for tables of many small cells, where a choice of one cell at a time would need rounds without end.
    """
    u = constraints.low.clone()
    portion = (constraints.budget - constraints.spent(u)) / portions
    at, luck = torch.arange(draws) * (problem.draws // draws), derive_seed(seed, 0, "policy-trial")
    count, path = 0, [(0.0, u)]
    least = 1e-9 * max(1.0, constraints.budget)
    while constraints.budget - constraints.spent(u) > least:
        left = constraints.budget - constraints.spent(u)
        trials: list[tuple[float, float, Tensor]] = []
        for cell in np.ndindex(*u.shape):
            room = float(constraints.high[cell] - u[cell]) * float(constraints.cost[cell])
            if room < least:
                continue
            trial = u.clone()
            spend = min(portion, room, left)
            trial[cell] += spend / constraints.cost[cell]
            with torch.no_grad():
                mean = float(problem.admissions(trial, at, luck).mean())
            # a cell with little room left is judged by what a unit of budget does there
            trials.append((mean, spend, trial))
            count += draws
            if advance:
                advance(draws)
        with torch.no_grad():
            now = float(problem.admissions(u, at, luck).mean())
        count += draws
        order = sorted(trials, key=lambda row: (row[0] - now) / row[1])
        before, to_spend = u, min(portion, left)
        for _, _, trial in order:
            bought = torch.where(trial > before, trial, u)
            step = constraints.spent(bought) - constraints.spent(u)
            u = u + (bought - u) * min(1.0, to_spend / max(step, least))
            to_spend -= min(step, to_spend)
            if not rounds or to_spend <= least:
                break
        path.append((float(count), u))
    return Found("greedy", u, count, float(count), tuple(path))


def derivative_free(
    problem: Problem,
    constraints: Constraints,
    method: str,
    *,
    limit: int,
    draws: int,
    seed: int,
    advance: Advance | None = None,
) -> Found:
    """A derivative-free optimiser of scipy on the mean over fixed draws and seeds, up to `limit` simulations.

    Args:
        problem: expected admissions.
        constraints: of the policy.
        method: `cobyla` (Powell 1994, linear models in a trust region) or `evolution` (differential evolution, Storn & Price 1997).
        limit: simulations after which it must stop.
        draws: simulations of an evaluation, the same draws and streams each time.
        seed: of epidemics and of the optimiser.
        advance: told how many simulations were done.

    Returns:
        The best policy it saw. Every point is projected on the constraints before it is simulated.
    """
    at, luck = torch.arange(draws) * (problem.draws // draws), derive_seed(seed, 0, "policy-trial")
    start, free = constraints.equal_shares(), constraints.high > constraints.low
    best: list[float] = [np.inf]
    path: list[tuple[float, Tensor]] = [(0.0, start)]
    count = 0

    class Stop(Exception):
        pass

    def value(x: NDArray[np.float64]) -> float:
        nonlocal count
        if count >= limit:
            raise Stop
        u = constraints.low.clone()
        u[free] = torch.as_tensor(x, dtype=u.dtype)
        u = constraints.project(u)
        with torch.no_grad():
            mean = float(problem.admissions(u, at, luck).mean())
        count += draws
        if advance:
            advance(draws)
        if mean < best[0]:
            best[0] = mean
            path.append((float(count), u))
        return mean

    low, high, price, first = (x[free].numpy() for x in (constraints.low, constraints.high, constraints.cost, start))
    rest = constraints.budget - constraints.spent(constraints.low) + float(price @ low)
    bounds = list(zip(low.tolist(), high.tolist(), strict=True))
    try:
        if method == "cobyla":
            limits = {"type": "ineq", "fun": lambda x: 1 - price @ x / rest}
            minimize(value, first, method="COBYLA", bounds=bounds, constraints=[limits],
                     options={"rhobeg": 0.15, "tol": 1e-3, "maxiter": 10 * limit})  # fmt: skip
        elif method == "evolution":
            rng = np.random.default_rng(derive_seed(seed, 0, "policy-evolution"))
            # the projection makes every member feasible; popsize counts members per coordinate, here about one
            differential_evolution(
                value, bounds, popsize=1, maxiter=10 * limit, rng=rng, x0=first, polish=False, tol=0.0
            )
        else:
            raise StudyError(f"Optimiser {method!r} was asked for; choose cobyla or evolution.")
    except Stop:
        pass
    return Found(method, path[-1][1], count, float(count), tuple(path))
