"""How well a population fits the figures it was built from, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epi.data.load import AGE_BANDS, DISTRICTS, Figures
from sim.population import Population

__all__ = ["PopulationFit", "measure_fit"]

SIZES = ("1", "2", "3", "4", "5", "6", "7+")


@dataclass(frozen=True)
class PopulationFit:
    """Fit of a population to its figures. Relative errors compare people (agents x people per agent) with the figures.

    Attributes:
        scale: agents per person that was asked for.
        balance: the balance that was asked for.
        agents: agents built.
        households: households built.
        people_per_agent: smallest and largest over districts.
        margin_max_error: largest relative error of a district x age cell.
        margin_mean_error: mean relative error of the cells.
        margin_max_agents: largest error of a cell in agents.
        margin_worst: name of the cell with the largest relative error.
        dose_max_error: largest error of a dose fraction of a district x age cell, in agents.
        dose_national_error: largest error of a national dose fraction of an age band.
        household_sizes: fraction of households with 1, 2, ..., 7+ members.
        household_sizes_census: the same in the household table, before weighting to today's ages.
        household_mean: mean household size.
        household_mean_census: the same in the household table.
        pupils: people in school and early-childhood groups, teachers left out (agents).
        teachers: teachers (agents).
        school_groups: number, mean and largest size of the school groups, teachers counted.
        workers: people with a workplace group (agents).
        work_groups: number, mean and largest size of the workplace groups.
        employees_error: relative error of national employees, teachers counted.
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
    dose_max_error: float
    dose_national_error: float
    household_sizes: tuple[float, ...]
    household_sizes_census: tuple[float, ...]
    household_mean: float
    household_mean_census: float
    pupils: int
    teachers: int
    school_groups: tuple[int, float, int]
    workers: int
    work_groups: tuple[int, float, int]
    employees_error: float

    def lines(self) -> list[str]:
        """The report as lines of text."""
        low, high = self.people_per_agent
        table = zip(SIZES, self.household_sizes, self.household_sizes_census, strict=True)
        return [
            f"population at scale {self.scale:g}, balance {self.balance:g}: {self.agents:,} agents in "
            f"{self.households:,} households; an agent stands for {low:.2f} to {high:.2f} people",
            f"district x age: largest relative error {self.margin_max_error:.3%} ({self.margin_worst}), "
            f"mean {self.margin_mean_error:.3%}, largest {self.margin_max_agents:.2f} agents",
            f"doses: largest error of a district x age cell {self.dose_max_error:.2f} agents, "
            f"of a national fraction {self.dose_national_error:.3%}",
            "household size (census table): " + ", ".join(f"{n}: {f:.1%} ({c:.1%})" for n, f, c in table),
            f"mean household size {self.household_mean:.3f} (census table {self.household_mean_census:.3f})",
            f"school: {self.pupils:,} pupils and {self.teachers:,} teachers in {_groups(self.school_groups)}",
            f"work: {self.workers:,} in {_groups(self.work_groups)}; employees {self.employees_error:+.2%} off "
            "the figures",
        ]


def _groups(groups: tuple[int, float, int]) -> str:
    return f"{groups[0]:,} groups, mean size {groups[1]:.1f}, largest {groups[2]}"


def measure_fit(population: Population, figures: Figures, scale: float, balance: float) -> PopulationFit:
    """Compare a population with its figures.

    Args:
        population: the population; groups are district x age, archetypes age x doses.
        figures: the figures it was built from.
        scale: the scale asked for.
        balance: the balance asked for.

    Returns:
        The report.
    """
    bands, districts, states = len(AGE_BANDS), len(DISTRICTS), figures.vaccination.shape[2]
    agents = population.group_size.reshape(districts, bands).astype(np.float64)
    weight = population.people_per_agent[:, None]
    error = np.abs(agents * weight - figures.population) / figures.population
    worst = int(np.argmax(error))
    cell = population.group.astype(np.int64) * states + population.archetype % states
    doses = np.bincount(cell, minlength=districts * bands * states).reshape(districts, bands, states)
    national = (doses * weight[..., None]).sum(0) / (agents * weight).sum(0)[:, None]
    expected = (figures.vaccination * figures.population[..., None]).sum(0) / figures.population.sum(0)[:, None]
    size = np.diff(population.household_start)
    type_size = figures.household_types.sum(1)
    school, work = population.venues
    band = population.archetype // states
    young = (school >= 0) & (band < 2)
    teachers = (school >= 0) & (band >= 2)
    district = population.group // bands
    employees = np.bincount(district[(work >= 0) | teachers], minlength=districts) @ population.people_per_agent
    return PopulationFit(
        scale=scale,
        balance=balance,
        agents=population.agents,
        households=population.households,
        people_per_agent=(float(population.people_per_agent.min()), float(population.people_per_agent.max())),
        margin_max_error=float(error.max()),
        margin_mean_error=float(error.mean()),
        margin_max_agents=float(np.abs(agents - figures.population / weight).max()),
        margin_worst=f"{DISTRICTS[worst // bands]}, {AGE_BANDS[worst % bands]}",
        dose_max_error=float(np.abs(doses - figures.vaccination * agents[..., None]).max()),
        dose_national_error=float(np.abs(national - expected).max()),
        household_sizes=_distribution(size, None),
        household_sizes_census=_distribution(type_size, figures.household_counts),
        household_mean=float(size.mean()),
        household_mean_census=float(np.average(type_size, weights=figures.household_counts)),
        pupils=int(young.sum()),
        teachers=int(teachers.sum()),
        school_groups=_summary(school),
        workers=int((work >= 0).sum()),
        work_groups=_summary(work),
        employees_error=float(employees / figures.work["employees"].sum() - 1.0),
    )


def _distribution(size: NDArray[np.int64], weight: NDArray[np.int64] | None) -> tuple[float, ...]:
    """Fractions of households with 1, 2, ..., 7+ members."""
    count = np.bincount(np.minimum(size, len(SIZES)), weights=weight, minlength=len(SIZES) + 1)[1:]
    return tuple(float(x) for x in count / count.sum())


def _summary(group: NDArray[np.int32]) -> tuple[int, float, int]:
    """Number, mean and largest size of the groups of a layer."""
    size = np.bincount(group[group >= 0])
    return (len(size), float(size.mean()), int(size.max())) if len(size) else (0, 0.0, 0)
