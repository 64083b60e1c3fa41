"""How well a population fits the tables it was built from, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epi.population.members import Layer, VenueTable
from epi.population.tables import PopulationTables
from epi.population.workplaces import WorkplaceTable
from sim import Population

SIZES = ("1", "2", "3", "4", "5", "6", "7+")


@dataclass(frozen=True)
class VenueFit:
    """One venue layer: its name, people who attend by being of it, staff, groups, mean and largest size (staff counted)."""

    name: str
    attending: int
    staff: int
    groups: int
    mean_size: float
    largest: int


@dataclass(frozen=True)
class PopulationFit:
    """Fit of a population to its tables. Relative errors compare people (agents x people per agent) with the tables.

    Attributes:
        scale, balance: what was asked for.
        agents, households: how many were built.
        people_per_agent: smallest and largest over regions.
        margin_max_error: largest relative error of a region x age cell. margin_mean_error: mean over cells.
        margin_max_agents: largest error of a cell in agents. margin_worst: name of the cell with the largest relative error.
        state_max_error: largest error of a state's fraction in a region x age cell, in agents; 0 without states.
        state_overall_error: largest error of a state's fraction over all regions, by age.
        household_sizes: fraction of households with 1, 2, ..., 7+ members. household_sizes_table: the same in the household table, before
            weighting to the regions' ages.
        household_mean, household_mean_table: mean household size, likewise.
        venues: the venue layers.
        employees_error: relative error of all employees, staff of venues counted; None without a workplace layer.
    """

    scale: float
    balance: float
    agents: int
    households: int
    people_per_agent: tuple[float, float]
    margin_max_error: float
    margin_mean_error: float
    margin_max_agents: float
    margin_worst: str
    state_max_error: float
    state_overall_error: float
    household_sizes: tuple[float, ...]
    household_sizes_table: tuple[float, ...]
    household_mean: float
    household_mean_table: float
    venues: tuple[VenueFit, ...]
    employees_error: float | None

    def lines(self) -> list[str]:
        """The report as lines of text."""
        low, high = self.people_per_agent
        table = zip(SIZES, self.household_sizes, self.household_sizes_table, strict=True)
        out = [
            f"population at scale {self.scale:g}, balance {self.balance:g}: {self.agents:,} agents in "
            f"{self.households:,} households; an agent stands for {low:.2f} to {high:.2f} people",
            f"region x age: largest relative error {self.margin_max_error:.3%} ({self.margin_worst}), "
            f"mean {self.margin_mean_error:.3%}, largest {self.margin_max_agents:.2f} agents",
            f"doses: largest error of a region x age cell {self.state_max_error:.2f} agents, "
            f"of a fraction over all regions {self.state_overall_error:.3%}",
            "household size (in the table): " + ", ".join(f"{n}: {f:.1%} ({c:.1%})" for n, f, c in table),
            f"mean household size {self.household_mean:.3f} (in the table {self.household_mean_table:.3f})",
        ]
        out += [
            f"{v.name}: {v.attending:,} people" + (f" and {v.staff:,} staff" if v.staff else "")
            + f" in {v.groups:,} groups, mean size {v.mean_size:.1f}, largest {v.largest}"
            for v in self.venues
        ]  # fmt: skip
        if self.employees_error is not None:
            out.append(f"employees: {self.employees_error:+.2%} off the table")
        return out


def measure_fit(
    population: Population,
    tables: PopulationTables,
    venues: Sequence[VenueTable],
    layers: Sequence[Layer],
    scale: float,
    balance: float,
) -> PopulationFit:
    """Compare a population with the tables it was built from.

    Args:
        population: of `synthesize`.
        tables: the margins.
        venues: the tables of its venue layers.
        layers: the layers themselves, before their people became those of the population.
        scale: as asked for.
        balance: likewise.
    """
    bands, regions = len(tables.breaks), len(tables.regions)
    agents = population.group_size.reshape(regions, bands).astype(np.float64)
    weight = population.people_per_agent[:, None]
    error = np.abs(agents * weight - tables.people) / tables.people
    worst = int(np.argmax(error))
    cell_error, overall_error, states = 0.0, 0.0, 1
    if tables.states is not None:
        states = tables.states.shape[2]
        cell = population.group.astype(np.int64) * states + population.archetype % states
        count = np.bincount(cell, minlength=regions * bands * states).reshape(regions, bands, states)
        overall = (count * weight[..., None]).sum(0) / (agents * weight).sum(0)[:, None]
        expected = (tables.states * tables.people[..., None]).sum(0) / tables.people.sum(0)[:, None]
        cell_error = float(np.abs(count - tables.states * agents[..., None]).max())
        overall_error = float(np.abs(overall - expected).max())
    size = np.diff(population.household_start)
    type_size = tables.household_types.sum(1)
    counts = tables.household_counts if tables.household_counts.ndim == 1 else tables.household_counts.sum(0)
    found, employees_error = _venues(population, tables, venues, layers)
    return PopulationFit(
        scale=scale,
        balance=balance,
        agents=population.agents,
        households=population.households,
        people_per_agent=(float(population.people_per_agent.min()), float(population.people_per_agent.max())),
        margin_max_error=float(error.max()),
        margin_mean_error=float(error.mean()),
        margin_max_agents=float(np.abs(agents - tables.people / weight).max()),
        margin_worst=f"{tables.regions[worst // bands]}, {tables.bands[worst % bands]}",
        state_max_error=cell_error,
        state_overall_error=overall_error,
        household_sizes=_distribution(size, None),
        household_sizes_table=_distribution(type_size, counts),
        household_mean=float(size.mean()),
        household_mean_table=float(np.average(type_size, weights=counts)),
        venues=found,
        employees_error=employees_error,
    )


def _venues(
    population: Population, tables: PopulationTables, venues: Sequence[VenueTable], layers: Sequence[Layer]
) -> tuple[tuple[VenueFit, ...], float | None]:
    """Every layer, and the error of all employees."""
    employees, wanted = np.zeros(len(tables.regions)), None
    out = []
    for venue, layer in zip(venues, layers, strict=True):
        total, staff, groups = int(layer.size.sum()), int(layer.staff.sum()), len(layer.size)
        largest = int(layer.size.max()) if groups else 0
        out.append(VenueFit(venue.name, total - staff, staff, groups, total / max(groups, 1), largest))
        employees = employees + (layer.staff if len(layer.staff) else 0)
        if isinstance(venue, WorkplaceTable):
            region = population.group[layer.of_agent >= 0] // len(tables.breaks)
            employees = employees + np.bincount(region, minlength=len(tables.regions))
            wanted = float(np.sum(venue.employees))
    if wanted is None:
        return tuple(out), None
    return tuple(out), float(employees @ population.people_per_agent / wanted - 1.0)


def _distribution(size: NDArray[np.int64], weight: NDArray[np.int64] | None) -> tuple[float, ...]:
    """Fractions of households with 1, 2, ..., 7+ members."""
    count = np.bincount(np.minimum(size, len(SIZES)), weights=weight, minlength=len(SIZES) + 1)[1:]
    return tuple(float(x) for x in count / count.sum())
