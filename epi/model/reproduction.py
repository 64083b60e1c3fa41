"""The reproduction number of a study at given parameters, by the next-generation matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.errors import StudyError
from epi.model.setting import HostTables
from epi.model.simulator import Simulator
from epi.model.transmission import host_tables, make_rates
from sim import COMMUNITY, HOUSEHOLD, VENUES, Population, Rates

__all__ = ["next_generation", "reproduction_number"]

Array = NDArray[np.float64]


def next_generation(population: Population, rates: Rates, days: slice) -> tuple[Array, Array]:
    """Mean number of people whom one infected person infects directly, all others susceptible, by cell (group and archetype).

    In a household or venue each other member is infected with probability `1 - exp(-hazard)` over the infectious period; others who
    infect the same people are left out. So its largest eigenvalue is a reproduction number of people, exact for the early growth where
    most transmission is in large groups, and above what growth shows where it is in households, whose members are soon used up.

    References:
        Diekmann, Heesterbeek and Roberts 2010, J R Soc Interface 7:873. Pellis, Ball and Trapman 2012, Math Biosci 235:85 (households).

    Args:
        population: the agents.
        rates: of P particles.
        days: transmission and susceptibility are the means over these days; behaviour does not respond.

    Returns:
        `[P, C, C]` infected cell (row) by infecting cell (column), and `[C, 2]` group and archetype of each cell.
    """
    beta = rates.transmission[:, :, days].mean(2).double().cpu().numpy()
    periods = [rates.period(t) for t in range(rates.days)[days]]
    kinds = rates.infectiousness.shape[1]
    code, cell = np.unique(population.group.astype(np.int64) * kinds + population.archetype, return_inverse=True)
    group, archetype = code // kinds, code % kinds
    people = np.bincount(cell).astype(float)
    out = np.empty((rates.particles, len(code), len(code)))
    units = list(_units(population, cell))
    for p in range(rates.particles):
        sigma = rates.susceptible()[p, periods].mean(0).double().cpu().numpy()[archetype]
        total = rates.infectiousness[p].sum(-1).double().cpu().numpy()[archetype]
        mixing = rates.mixing[p].double().cpu().numpy() / np.maximum(population.group_size, 1)
        found = beta[p, COMMUNITY] * mixing[group][:, group] * (sigma * people)[:, None] * total
        for layer, weight, infected, infecting, pairs in units:
            hazard = beta[p, layer] * weight * sigma[infected] * total[infecting]
            np.add.at(found, (infected, infecting), pairs * -np.expm1(-hazard) / people[infecting])
        out[p] = found
    return out, np.stack([group, archetype], 1)


def _units(population: Population, cell: NDArray[np.int64]) -> Iterator[tuple[int, Array, NDArray, NDArray, Array]]:
    """Of households and each venue layer: weight, infected and infecting cell, and number of pairs of people, by unit and pair of cells."""
    layers = [(HOUSEHOLD, population.household.astype(np.int64), population.household_weight)]
    layers += [
        (VENUES + v, ids.astype(np.int64), population.venue_weight[v]) for v, ids in enumerate(population.venues)
    ]
    cells = int(cell.max()) + 1
    for layer, unit, weight in layers:
        here = unit >= 0
        code, number = np.unique(unit[here] * cells + cell[here], return_counts=True)
        of, kind = code // cells, code % cells
        size = np.bincount(of, minlength=len(weight))[of]  # cells that occur in the same unit
        first = np.searchsorted(of, of)
        one = np.repeat(np.arange(len(of)), size)
        other = np.repeat(first, size) + np.arange(len(one)) - np.repeat(np.cumsum(size) - size, size)
        pairs = number[one] * (number[other] - (one == other))
        keep = pairs > 0
        one, other = one[keep], other[keep]
        yield layer, weight[of[one]], kind[other], kind[one], pairs[keep].astype(float)


def reproduction_number(
    simulator: Simulator, theta: Mapping[str, Tensor], day: date | None = None, *, immunity: bool = False, days: int = 7
) -> Tensor:
    """R0 of a study at parameters `[P]`: the largest eigenvalue of the next-generation matrix.

    Args:
        simulator: gives population and parts.
        theta: parameters by name, `[P, ...]`.
        day: transmission is the mean over the week from this day on; None for the first week in which people meet.
        immunity: whether doses count (the control reproduction number) or everybody is as susceptible and infectious as those of their
            age without doses (R0).
        days: of the mean.

    Returns:
        `[P]`.

    Raises:
        StudyError: the days are not simulated.
    """
    context, calendar = simulator.context, simulator.study.calendar
    first = calendar.day_of(day or calendar.opened)
    if not 0 <= first <= context.days - days:
        raise StudyError(
            f"The reproduction number was asked for the {days} days from {day}, expected days from {calendar.start} to "
            f"{calendar.date_of(context.days - 1)}; choose others."
        )
    flat = {n: x.to(context.opened) for n, x in theta.items()}
    hosts = host_tables(flat, context)
    if not immunity:
        hosts = _without_doses(hosts, simulator)
    matrix, _ = next_generation(simulator.population, make_rates(flat, hosts, context), slice(first, first + days))
    return torch.tensor([np.abs(np.linalg.eigvals(m)).max() for m in matrix], dtype=torch.float64)


def _without_doses(hosts: HostTables, simulator: Simulator) -> HostTables:
    """Every archetype as that of its age without doses."""
    kinds = simulator.context.archetypes
    age, doses = kinds.age_midpoint.reshape(-1), kinds.doses.reshape(-1)
    none = torch.stack([((age == a) & (doses == 0)).nonzero()[0, 0] for a in age])
    return replace(
        hosts,
        infectiousness=hosts.infectiousness[..., none, :],
        susceptibility=hosts.susceptibility[..., none],
        waning=hosts.waning[..., none, :],
    )
