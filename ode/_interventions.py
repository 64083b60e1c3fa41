"""The same model through chirho: interventions during an infection, and handlers of the caller's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from chirho.dynamical.handlers import LogTrajectory, StaticIntervention
from chirho.dynamical.handlers.interruption import StaticEvent
from chirho.dynamical.handlers.solver import TorchDiffEq
from chirho.dynamical.ops import on, simulate
from torch import Tensor

from ode._archetypes import Archetypes
from ode._chirho_compat import repair_chirho
from ode._dynamics import COPIES, LN10, STATE, Dynamics, dynamics
from ode._parameters import WithinHostParameters
from ode._runge_kutta import STABLE
from ode._within_host import STEP, WithinHost, steps_in_a_day

State = dict[str, Tensor]
Rates = Callable[[State], State]


def chirho_solver(step: float = STEP) -> TorchDiffEq:
    """The solver that takes the steps of the production path. Enter it before (outside) every other handler.

    Inside another handler chirho drops interventions without a word. Cubic interpolation matters too: with the
    linear default the gradient with respect to an intervention time on the step grid is wrong.
    """
    steps_in_a_day(1, step)
    repair_chirho()
    return TorchDiffEq(method="rk4", options={"step_size": step, "interp": "cubic"})


def chirho_rates(model: Dynamics) -> Rates:
    """The right-hand side over a dictionary with the names of `ode.STATE`, each `[*batch, K]`."""

    def rates(state: State) -> State:
        return dict(zip(STATE, model.rates(torch.stack([state[name] for name in STATE])).unbind(0), strict=True))

    return rates


def chirho_model(parameters: WithinHostParameters, archetypes: Archetypes) -> tuple[Rates, State]:
    """Right-hand side and state at exposure for `chirho.dynamical.ops.simulate`.

    The states are named as in `ode.STATE`, `[*batch, K]` each, natural logarithms.
    Give interventions as functions (`dict(log_antibody=lambda a: a + 1.0)`): a plain number would lose the batch.
    """
    model = dynamics(parameters, archetypes)
    return chirho_rates(model), dict(zip(STATE, model.initial.unbind(0), strict=True))


def simulate_with_chirho(
    parameters: WithinHostParameters,
    archetypes: Archetypes,
    *,
    days: int = 14,
    step: float = STEP,
    booster_day: Tensor | float | None = None,
    booster_rise: Tensor | float | None = None,
    antiviral_day: Tensor | float | None = None,
    antiviral_effect: Tensor | float = 0.9,
) -> WithinHost:
    """The infection of `within_host`, with a booster, an antiviral, or both given on the way.

    Differentiable (reverse, `jvp`, `jacfwd`; not vmap) in the parameters, the days and the sizes of the interventions.
    Some eight times slower than `within_host`: use that where nothing happens on the way.

    Args:
        parameters: `[*batch]` each.
        archetypes: K hosts.
        days: D, length of the tables.
        step: step of the solver, days.
        booster_day: days after infection at which the titre jumps; between 0 and `days`, a scalar.
        booster_rise: size of the jump, log10 titre, `[*batch]` or a scalar; `antibody_per_dose` if not given.
        antiviral_day: days after infection from which virus production is cut; between 0 and `days`, a scalar.
        antiviral_effect: the share cut, in [0, 1), `[*batch]` or a scalar.

    Returns:
        As `within_host`. A day on which an intervention falls shows the state just before it.

    Raises:
        ValueError: if an intervention is not between exposure and the last day, or the effect is not in [0, 1).
    """
    steps_in_a_day(days, step)
    model = dynamics(parameters, archetypes)
    like = model.initial
    rates = chirho_rates(model)
    times = torch.arange(1, days + 1).to(like)
    logged = LogTrajectory(times)
    treated = model
    with contextlib.ExitStack() as handlers:
        handlers.enter_context(chirho_solver(step))
        handlers.enter_context(logged)
        if booster_day is not None:
            rise = parameters.antibody_per_dose if booster_rise is None else booster_rise
            jump = LN10 * torch.as_tensor(rise).to(like).unsqueeze(-1)
            when = _day(booster_day, "booster_day", days, like)
            handlers.enter_context(StaticIntervention(when, {"log_antibody": lambda titre: titre + jump}))
        if antiviral_day is not None:
            treated = model.with_production(1.0 - _share(antiviral_effect, like).unsqueeze(-1))
            when = _day(antiviral_day, "antiviral_day", days, like)
            handlers.enter_context(on(StaticEvent(when), lambda _, state: (chirho_rates(treated), state)))
        simulate(rates, dict(zip(STATE, like.unbind(0), strict=True)), torch.zeros(()).to(like), times[-1])
    course = torch.stack([logged.trajectory[name] for name in STATE])  # [4, *batch, K, D]
    finite = torch.isfinite(course).all(0).all(-1).all(-1) & (model.stiffness * step < STABLE).all(-1)
    finite = finite & parameters.usable
    return WithinHost(course[2] / LN10 + COPIES, course[3] / LN10, like[3] / LN10, finite)


def _day(day: Tensor | float, name: str, days: int, like: Tensor) -> Tensor:
    when = torch.as_tensor(day).to(like)
    if when.dim() != 0 or not 0.0 < float(when.detach()) < days:
        raise ValueError(
            f"{name} is {day}, but one number of days between 0 and {days} was expected; choose a day within the course."
        )
    return when


def _share(effect: Tensor | float, like: Tensor) -> Tensor:
    share = torch.as_tensor(effect).to(like)
    if not bool(((share >= 0) & (share < 1)).all()):
        raise ValueError(
            f"antiviral_effect is {effect}, but a share in [0, 1) was expected; give the part of virus production that is cut."
        )
    return share
