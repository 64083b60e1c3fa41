"""A run with the days before day 0 put in front of it, as all removals need it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sim._columns import Columns
from sim._reference import NEVER, Epidemic, remembered
from sim.rates import PERIOD, Rates


def periods_before(epidemic: Epidemic) -> int:
    """Days of the whole periods of susceptibility that hold the days before."""
    return -(-epidemic.before.shape[1] // PERIOD) * PERIOD


def with_days(x: Rates, days: int) -> Rates:
    """Rates, or tangents of rates, with so many days in front on which nobody meets anybody."""
    if not days:
        return x
    periods = days // PERIOD if x.waning.shape[2] else 0
    return replace(
        x,
        transmission=in_front(x.transmission, days, 2),
        importation=in_front(x.importation, days, 1),
        waning=in_front(x.waning, periods, 2),
    )


def without_days(bar: Rates, days: int) -> Rates:
    """Adjoints of rates from those of `with_days`."""
    if not days:
        return bar
    periods = days // PERIOD if bar.waning.shape[2] else 0
    return replace(
        bar,
        transmission=bar.transmission[:, :, days:].contiguous(),
        importation=bar.importation[:, days:].contiguous(),
        waning=bar.waning[:, :, periods:].contiguous(),
    )


def with_days_before(c: Columns, rates: Rates, epidemic: Epidemic) -> Epidemic:
    """The run with `periods_before` days in front and its days counted from the first of them; `before` holds as many."""
    more, before = periods_before(epidemic), epidemic.before
    if not more:
        return epidemic
    first = in_front(before, more - before.shape[1], 1)
    memory, _ = remembered(c, rates, first)
    on, rows = epidemic.infected_on.clone(), epidemic.reinfections.clone()
    on[on != NEVER] += more
    rows[:, 2:] += more
    return Epidemic(
        torch.cat([first, epidemic.incidence], 1),
        on,
        torch.cat([memory[:, :-1], epidemic.memory], 1),
        rows,
        epidemic.key,
        first,
    )


def in_front(x: Tensor, number: int, axis: int) -> Tensor:
    """Put so many zeros in front along an axis."""
    shape = list(x.shape)
    shape[axis] = number
    return torch.cat([x.new_zeros(shape), x], axis)
