"""A booster or an antiviral during an infection, on the production path: at a time of its own for every particle and kind of host."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ode._dynamics import LN10, Dynamics
from ode._parameters import WithinHostParameters
from ode._runge_kutta import rk4_step_of


@dataclass(frozen=True, eq=False)
class Treatment:
    """What is given during an infection. Numbers or tensors that broadcast against `[*batch, K]` (`[P, 1]` for one number a particle).

    A time that is not after exposure counts from exposure on, one after the last day not at all; a time that is no number, or an effect
    of 1 and more, is a failure that `WithinHost.finite` reports.

    Attributes:
        booster_day: days after infection at which the titre jumps, or None.
        booster_rise: size of the jump, log10 titre; None for `antibody_per_dose`.
        antiviral_day: days after infection from which virus production is cut, or None.
        antiviral_effect: the share cut, in [0, 1).

    Examples:
        >>> import ode
        >>> ode.Treatment(antiviral_day=2.0).antiviral_effect
        0.9
    """

    booster_day: Tensor | float | None = None
    booster_rise: Tensor | float | None = None
    antiviral_day: Tensor | float | None = None
    antiviral_effect: Tensor | float = 0.9


def treated_course(
    model: Dynamics, parameters: WithinHostParameters, treatment: Treatment, *, days: int, steps_per_day: int
) -> Tensor:
    """States at the end of each day, `[4, *batch, K, days]`.

    Every step is cut at the two times of its host, so that the rule never steps across a jump; the derivative in a time is that of the
    lengths of the pieces. A piece of no length changes nothing. No branches on values: safe under `vmap` and both modes.
    """
    like, step = model.initial[0], 1.0 / steps_per_day

    def wide(x: Tensor | float | None, otherwise: Tensor | float) -> Tensor:
        return (torch.as_tensor(otherwise if x is None else x).to(like) + torch.zeros_like(like)).clone()

    never = 2.0 * days + 1.0
    booster, antiviral = (wide(t, never).clamp(0.0, never) for t in (treatment.booster_day, treatment.antiviral_day))
    jump = LN10 * wide(treatment.booster_rise, parameters.antibody_per_dose.unsqueeze(-1))
    cut = torch.log(1.0 - wide(treatment.antiviral_effect, 0.0)) if treatment.antiviral_day is not None else 0.0 * like
    treated = model.with_production_log(cut)
    first, second = torch.minimum(booster, antiviral), torch.maximum(booster, antiviral)
    booster_first = booster <= antiviral
    titre = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(like).reshape(4, *(1,) * like.dim())
    state, daily = model.initial, []
    for count in range(days * steps_per_day):
        begin, end = count * step, (count + 1) * step
        one, two = (_reached(t, begin, end, step) for t in (first, second))
        given = antiviral < begin
        phases = (
            (one, given, booster_first & (first >= begin) & (first < end)),
            (two - one, given | (~booster_first & (first < end)), ~booster_first & (second >= begin) & (second < end)),
            (step - two, antiviral < end, None),
        )
        for length, on, now in phases:
            piece = replace(model, offset=torch.where(on, treated.offset, model.offset))
            state = rk4_step_of(piece.rates, state, length)
            if now is not None:
                state = state + torch.where(now, jump, 0.0) * titre
        if (count + 1) % steps_per_day == 0:
            daily.append(state)
    return torch.stack(daily, -1)


def _reached(time: Tensor, begin: float, end: float, step: float) -> Tensor:
    """How much of a step lies before a time; its derivative is 1 in one step alone, also where the time is on the grid."""
    inside = torch.where(time >= begin, time - begin, 0.0)
    return torch.where(time >= end, step, inside) + 0.0 * time  # a time that is no number must show
