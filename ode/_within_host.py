"""The production path: daily viral load by archetype, one solve for all particles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ode._archetypes import Archetypes
from ode._course import Solver, daily_states
from ode._dynamics import COPIES, LN10, dynamics_of, host_numbers
from ode._parameters import WithinHostParameters
from ode._runge_kutta import STABLE
from ode._treatment import Treatment, treated_course

STEP = 0.125


@dataclass(frozen=True, eq=False)
class WithinHost:
    """The course of an infection.

    Attributes:
        viral_load: `[*batch, K, D]`, log10 copies/ml on days 1..D after infection (index 0 is the day after);
            it may fall below 0,
            which means less than one copy.
        antibody: `[*batch, K, D]`, log10 neutralising titre on the same days.
        antibody_at_exposure: `[*batch, K]`, log10 titre when exposed (0 without a dose).
        finite: `[*batch]` bool, false where a value is not finite or the step does not resolve the fastest rate, so that the
            numbers of that particle mean nothing.
    """

    viral_load: Tensor
    antibody: Tensor
    antibody_at_exposure: Tensor
    finite: Tensor


def steps_in_a_day(days: int, step: float) -> int:
    """Check a time grid and return the number of steps in a day.

    Raises:
        ValueError: if `days` is not positive or `step` does not divide a day.
    """
    if days < 1:
        raise ValueError(f"days is {days}, but at least 1 was expected; give the length of the infectious table.")
    steps = round(1.0 / step) if step > 0 else 0
    if steps < 1 or abs(steps * step - 1.0) > 1e-9:
        raise ValueError(f"step is {step} days, but a whole fraction of a day was expected; give 1/n, such as 0.125.")
    return steps


def within_host(
    parameters: WithinHostParameters,
    archetypes: Archetypes,
    *,
    days: int = 14,
    step: float = STEP,
    treatment: Treatment | None = None,
    solver: Solver = "auto",
) -> WithinHost:
    """Solve the infection of every archetype for every particle.

    Safe under reverse mode, `torch.func.jvp`/`jacfwd` and `torch.func.vmap`; type and device follow the parameters. On a CUDA device
    with triton the course is one kernel, which has first derivatives alone; a second one is refused there.

    Args:
        parameters: `[*batch]` each.
        archetypes: K hosts.
        days: D, length of the tables.
        step: step of the solver, days; a whole fraction of 1. The default resolves growth rates up to about 8/day; at 0.25
            a growth rate of 5/day already diverges, which `finite` reports.
        treatment: a booster or an antiviral on the way, differentiable in time and size; a few times the cost. A day on which one
            falls shows the state just before it.
        solver: `auto`, or `plain` tensor operations, or the `kernel`; equal to rounding. A treatment takes plain operations.

    Returns:
        Viral load `[*batch, K, D]`, antibody, and which particles are usable.

    Raises:
        ValueError: if `days` or `step` makes no grid, or the solver asked for cannot run here.

    Examples:
        >>> import ode
        >>> parameters = ode.WithinHostParameters(**{name: x[None] for name, x in vars(ode.prior_median()).items()})
        >>> adults = ode.archetypes_by_age_and_dose((35.0,), (0.0, 60.0))  # without a dose, and 60 days after one
        >>> course = ode.within_host(parameters, adults, days=10)
        >>> course.viral_load.shape  # draw, archetype, day
        torch.Size([1, 2, 10])
        >>> bool(course.viral_load[0, 1].max() < course.viral_load[0, 0].max())  # a dose lowers the peak
        True
    """
    steps = steps_in_a_day(days, step)
    hosts = host_numbers(parameters, archetypes)
    if treatment is None:
        course = daily_states(hosts, days=days, steps=steps, solver=solver)
    elif solver not in ("auto", "plain"):
        raise ValueError(f"solver is {solver!r} with a treatment, which plain tensors alone take; use solver='auto'.")
    else:
        course = treated_course(dynamics_of(hosts), parameters, treatment, days=days, steps_per_day=steps)
    virus, antibody = (course / LN10).unbind(0)[2:]
    resolved = (hosts.stiffness < STABLE / step).all(-1)
    finite = (course.detach().abs() < math.inf).all((0, -2, -1))
    return WithinHost(virus + COPIES, antibody, hosts.log_antibody / LN10, finite & resolved & parameters.usable)
