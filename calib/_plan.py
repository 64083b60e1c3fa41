"""What a call of `calibrate` is going to do: which method, on what, with how many simulations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal, get_args

from torch import Tensor

from calib._config import BudgetError
from calib._coordinates import Coordinates
from calib._deadline import Deadline
from calib._inputs import LOOKED_AT, InCoordinates, PyroInCoordinates
from calib._methods import GRADIENT_COST, Fitted, Task
from calib._more_budget import Allowance
from calib._noise import derive_seed
from calib._noise_pilot import Pilot
from calib._noisy import NOISY
from calib._observed import Likelihood
from calib._problem import Gradient
from calib._pyro_density import PyroDensity
from calib._replicates import MeanLikelihood, ReplicatedOutputs
from calib._reuse import Source
from calib._simulator import Rows
from calib._space import ParameterSpace

Method = Literal[
    "auto",
    "hmc",
    "emulated-smc",
    "linearised-vi",
    "vi",
    "multifidelity",
    "npe",
    "nle",
    "nre",
    "fmpe",
    "smc-abc",
    "abc-regression",
    "importance",
]
METHODS: tuple[str, ...] = get_args(Method)
FEW = 12  # parameters up to which populations of draws fill the posterior
MANY = 5000  # evaluations of a log likelihood from which on chains are at least as good as an emulator of it
LEAST_CHECK = 48  # simulations
LEAST_BUDGET = LEAST_CHECK + LOOKED_AT + 1
LEAST_NOISY_BUDGET, LEAST_FRESH = 250, 60  # of one or two parameters and weak noise, `python -m calib.benchmark_budget`
EXPECTED = "count on 1,000 to 2,000 a parameter, on 250 where noise is weak, and on 16,000 in all where it is strong"
AVERAGED = ("vi", "importance")  # methods that average runs
OF_THE_TIME = 0.85  # share of the seconds after which methods end: a flow and the check follow


@dataclass(frozen=True, eq=False)
class Plan:
    """A calibration before it is carried out.

    Attributes:
        task: what the method is given; its budget is in calls of the simulator's R replicates.
        how: the method.
        rows: the simulator itself.
        data: observed; None for a Pyro model of other things than a tensor.
        likelihood: distribution of the data given outputs; None without.
        pilot: of the simulator's noise; None where none was looked for.
        budget: simulations that may be spent, all together.
        fresh: of these kept for the check, in replicates.
        used: of these already spent.
        replicates: runs averaged at each draw, R.
    """

    task: Task
    how: str
    rows: Rows
    data: Tensor | None
    likelihood: Likelihood | None
    pilot: Pilot | None
    budget: int
    fresh: int
    used: int
    replicates: int

    def further(self, budget: int, earlier: Fitted, seed: int, max_seconds: float | None) -> Plan:
        """The same with more simulations, from where an earlier call came to."""
        fresh = kept_back(budget, self.how)
        allowance = replace(
            self.task.allowance, budget=self.task.allowance.budget + budget, seconds=max_seconds,
        )  # fmt: skip
        task = replace(
            self.task, allowance=allowance, budget=(budget - fresh) // self.replicates, earlier=earlier,
            seed=derive_seed(self.task.seed, seed, "further"), deadline=deadline_of(max_seconds),
        )  # fmt: skip
        return replace(self, task=task, budget=budget, fresh=fresh // self.replicates, used=0)

    def enough(self, error: BudgetError) -> BudgetError:
        """An error of a method, in simulations of the whole call."""
        need = next(
            b for b in count(self.budget) if (b - kept_back(b, self.how) - self.used) // self.replicates >= error.need
        )
        return BudgetError(self.budget, need, f"{error.why}, with {kept_back(need, self.how)} of them for the check")


def make_plan(
    how: str,
    path: Gradient,
    rows: Rows,
    space: ParameterSpace,
    value: Callable[[Tensor], Tensor],
    data: Tensor | None,
    likelihood: Likelihood | None,
    pilot: Pilot | None,
    *,
    budget: int,
    seed: int,
    flow: str,
    loss_weight: float,
    gradient_cost: int | None,
    replicates: int,
    max_seconds: float | None,
    progress: Callable[[Any], None] | None,
) -> Plan:
    """Share out the budget and put together what a method needs.

    Raises:
        ValueError: replicates were asked for of a method that averages none.
        BudgetError: the budget is too small for a simulator with noise.
    """
    if replicates > 1 and how not in AVERAGED:
        raise ValueError(
            f"replicates={replicates} was given with method={how!r}, expected 1: only {' and '.join(AVERAGED)} average runs."
        )
    if how in NOISY and budget < LEAST_NOISY_BUDGET * replicates:
        raise BudgetError(budget, LEAST_NOISY_BUDGET * replicates, f"for a simulator with noise; {EXPECTED}")
    fresh, used = kept_back(budget, how), LOOKED_AT + (pilot.simulations if pilot else 0)
    outputs: Rows | ReplicatedOutputs = rows
    if replicates > 1:
        outputs, value = ReplicatedOutputs(rows, replicates), MeanLikelihood(value, replicates)
    density = rows.model if isinstance(rows.model, PyroDensity) else None
    coordinates = Coordinates(space, natural=how == "emulated-smc")
    jacobian_cost = gradient_cost if gradient_cost is not None else max(GRADIENT_COST, 1 + space.dim)
    simulate = (
        InCoordinates(outputs, space, coordinates) if density is None else PyroInCoordinates(density, coordinates)
    )
    source = Source(simulate, value, coordinates, path, jacobian_cost, density=likelihood is None, store=rows.store)
    task = Task(
        space, outputs, source, flow, (budget - fresh - used) // replicates, seed, loss_weight,
        gradient_cost if gradient_cost is not None else GRADIENT_COST, progress, density, deadline=deadline_of(max_seconds),
        allowance=Allowance(budget, max_seconds),
    )  # fmt: skip
    return Plan(task, how, rows, data, likelihood, pilot, budget, fresh // replicates, used, replicates)


def deadline_of(max_seconds: float | None) -> Deadline:
    """When a method ends, of a call that may take so many seconds."""
    return Deadline.after(None if max_seconds is None else OF_THE_TIME * max_seconds)


def choose(
    method: str, dim: int, gradient: Gradient, pilot: Pilot | None, can_draw_data: bool, chains: bool = False
) -> str:
    """The method by name; "auto" chooses."""
    if method != "auto":
        return method
    if pilot is not None and not pilot.negligible:
        return "abc-regression" if can_draw_data else "importance"
    if chains:
        return "hmc"
    if dim <= FEW:
        return "emulated-smc"
    return "vi" if gradient == "score" else "linearised-vi"


def kept_back(budget: int, how: str) -> int:
    """Simulations kept for the check; chains need none, and the multifidelity method makes its own."""
    if how in ("hmc", "multifidelity"):
        return 0
    if how in NOISY:
        return max(LEAST_FRESH, min(max(100, budget // 10), budget // 4))
    return min(max(100, budget // 20), max(LEAST_CHECK, budget // 4))
