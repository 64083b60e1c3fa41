"""The population of a study from its tables: households, doses, schools, workplaces and venues of its own, at any scale.

    python -m epi.population.build my_study/study.py --scale 0.05

prints how well the result fits the tables it was built from. What is built from what: `docs/population.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from epi.data import EpidemicData, load_data
from epi.errors import StudyError
from epi.population.fit import PopulationFit
from epi.population.groups import GroupTable
from epi.population.members import VenueTable
from epi.population.sampling import assign_states
from epi.population.schools import SchoolTable
from epi.population.synthesize import synthesize
from epi.population.tables import PopulationTables
from epi.population.workplaces import WorkplaceTable, power_tail_sizes
from epi.study import Households, NaturalHistory, Schools, Vaccination, Venue, Workplaces, load_study
from sim import Population

__all__ = ["PopulationFit", "build_population", "population_tables", "venue_table", "venue_tables"]


def population_tables(data: EpidemicData) -> PopulationTables:
    """The margins of a study's tables."""
    study = data.study
    vaccination = study.part(Vaccination)
    return PopulationTables(
        study.region.names,
        study.ages.breaks,
        data.population,
        data.household_types,
        data.household_counts,
        None if vaccination is None else data.vaccination,
        0 if vaccination is None else vaccination.first_age,
        last_width=study.ages.widths[-1],
        grown=study.need(Households, "The population").grown,
    )


def venue_tables(data: EpidemicData) -> list[VenueTable]:
    """The venue layers of a study's tables, in the order of its parts."""
    return [venue_table(part, data) for part in data.study.venues]


@singledispatch
def venue_table(part: Any, data: EpidemicData) -> VenueTable:
    """The layer of a venue; register a venue of another kind here."""
    raise StudyError(
        f"Venue {type(part).__name__} has no layer; register one with epi.population.venue_table, or use Venue."
    )


@venue_table.register
def _(part: Schools, data: EpidemicData) -> VenueTable:
    regions, table = data.study.region, data.schools
    assert table is not None
    index = table[regions.axis].map({name: i for i, name in enumerate(regions.names)}).astype(np.int64)
    return SchoolTable(
        table.assign(region=index),
        {kind: part.pupils_per_teacher[kind] for kind in part.types},
        early=(part.early,) if part.early else (),
        first_age=part.first_age,
        compulsory_to=part.compulsory_to,
        last_age=part.last_age,
        largest_group=part.largest_group,
    )


@venue_table.register
def _(part: Workplaces, data: EpidemicData) -> VenueTable:
    assert data.work is not None
    return WorkplaceTable(
        data.work["employees"].to_numpy(np.float64),
        np.array(part.employment),
        power_tail_sizes(part.offset, part.exponent, part.largest),
        first_age=part.first_age,
        staff_from=part.staff_from,
        most=part.most_employed,
        largest_group=part.largest_group,
    )


@venue_table.register
def _(part: Venue, data: EpidemicData) -> VenueTable:
    share = np.array([part.share.get(band, 0.0) for band in data.study.ages.names])
    return GroupTable(part.name, share, np.array(part.sizes, np.int64), part.members_per_post)


def build_population(
    data: EpidemicData, scale: float, seed: int, *, balance: float = 0.5
) -> tuple[Population, PopulationFit]:
    """Build the population of a study and measure its fit; see `synthesize`."""
    study = data.study
    vaccination = study.part(Vaccination)
    population, fit = synthesize(
        population_tables(data),
        venue_tables(data),
        scale=scale,
        seed=seed,
        balance=balance,
        clustering=0.0 if vaccination is None else vaccination.clustering,
        household_exponent=study.need(Households, "The population").exponent,
    )
    return with_prior_infection(with_protection_classes(population, study.disease, seed), data, seed), fit


def with_protection_classes(population: Population, disease: Any, seed: int) -> Population:
    """Split archetypes into equal classes, of which all-or-nothing immunity protects as many as its efficacy says.

    Archetype `k` becomes `k * classes + c` with `c` drawn evenly; a disease without such immunity changes nothing.
    """
    immunity = disease.immunity if isinstance(disease, NaturalHistory) else None
    if immunity is None or immunity.kind != "all-or-nothing":
        return population
    rng = np.random.default_rng([seed, 61])
    drawn = rng.integers(0, immunity.classes, population.agents)
    archetype = population.archetype.astype(np.int64) * immunity.classes + drawn
    return replace(population, archetype=archetype.astype(np.int16))


def with_prior_infection(population: Population, data: EpidemicData, seed: int) -> Population:
    """Split archetypes by how many infections before the study reach somebody: `k * classes + c`, as each region and age has them."""
    if data.prior_cases is None:
        return population
    classes = data.prior_cases.classes
    number = classes.shape[-1]
    drawn = assign_states(population.group, classes.reshape(-1, number), np.random.default_rng([seed, 67]))
    archetype = population.archetype.astype(np.int64) * number + drawn
    return replace(population, archetype=archetype.astype(np.int16))


def main() -> int:
    """Build a population and print its fit."""
    parser = argparse.ArgumentParser(description="Build the population of a study and print its fit to the tables.")
    parser.add_argument("study", help="module or file of the study")
    parser.add_argument("--scale", type=float, default=0.05, help="agents per person, above 0 and at most 1")
    parser.add_argument("--balance", type=float, default=0.5, help="0: all regions sampled alike; 1: equal numbers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None, help="a folder with tables of your own")
    arguments = parser.parse_args()
    try:
        data = load_data(load_study(arguments.study), arguments.data)
        begun = time.perf_counter()
        _, fit = build_population(data, arguments.scale, arguments.seed, balance=arguments.balance)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(fit.lines()))
    print(f"built in {time.perf_counter() - begun:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
