"""The population of a study from its tables: households, doses, schools and workplaces at any scale.

    python -m epi.population.build --scale 0.05

prints how well the result fits the tables it was built from. What is built from what: `docs/population.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from epi.data.load import DISTRICTS, SCHOOL_TYPES, Figures, load_figures
from epi.errors import StudyError
from epi.population.fit import PopulationFit
from epi.population.members import VenueTable
from epi.population.schools import SchoolTable
from epi.population.synthesize import synthesize
from epi.population.tables import PopulationTables
from epi.population.workplaces import WorkplaceTable, power_tail_sizes
from sim import Population

__all__ = ["PopulationFit", "build_population"]

# Children to a teacher. Schools: about the national pupil-teacher ratios. Early childhood: between the regulated 1 to
# 5 (under two) and 1 to 10 (two and over), Education (Early Childhood Services) Regulations 2008, schedule 2.
PUPILS_PER_TEACHER = {"composite": 14.0, "early_childhood": 7.0, "primary": 16.0, "secondary": 14.0}
# Share in work by age band, 16-19 for the second: the shape of the Household Labour Force Survey 2021, rounded.
EMPLOYMENT_SHAPE = np.array([0.0, 0.45, 0.80, 0.85, 0.87, 0.85, 0.60, 0.0])
# Offset and exponent fitted to enterprises with employees: 65.7 % have 1-5, 24.9 % 6-19, 6.2 % 20-49, 3.2 % 50 or more (Stats NZ Business
# Demography, February 2014, in MBIE 2015, "Small Businesses in New Zealand"). The mean, 10.5, is near the 10.8 employees per business
# location with employees of the same release.
WORK_OFFSET, WORK_EXPONENT, WORK_LARGEST = 2.8, 1.28, 1000
BREAKS, DOSES_FROM = (0, 10, 20, 30, 40, 50, 60, 70), 5


def population_tables(figures: Figures) -> PopulationTables:
    """The margins of a study's tables."""
    return PopulationTables(
        DISTRICTS,
        BREAKS,
        figures.population,
        figures.household_types,
        figures.household_counts,
        figures.vaccination,
        DOSES_FROM,
    )


def venue_tables(figures: Figures) -> list[VenueTable]:
    """The venue layers of a study's tables: schools, then workplaces."""
    table = figures.schools.assign(region=figures.districts.index.get_indexer(figures.schools["district"]))
    return [
        SchoolTable(table, {kind: PUPILS_PER_TEACHER[kind] for kind in SCHOOL_TYPES}, early=("early_childhood",)),
        WorkplaceTable(
            figures.work["employees"].to_numpy(np.float64),
            EMPLOYMENT_SHAPE,
            power_tail_sizes(WORK_OFFSET, WORK_EXPONENT, WORK_LARGEST),
        ),
    ]


def build_population(
    figures: Figures, scale: float, seed: int, *, balance: float = 0.5
) -> tuple[Population, PopulationFit]:
    """Build the population of a study and measure its fit; see `synthesize`."""
    tables, venues = population_tables(figures), venue_tables(figures)
    return synthesize(tables, venues, scale=scale, seed=seed, balance=balance)


def main() -> int:
    """Build a population and print its fit."""
    parser = argparse.ArgumentParser(description="Build the population and print its fit to the tables.")
    parser.add_argument("--scale", type=float, default=0.05, help="agents per person, above 0 and at most 1")
    parser.add_argument("--balance", type=float, default=0.5, help="0: all regions sampled alike; 1: equal numbers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figures", type=Path, default=None, help="a folder with tables of your own")
    arguments = parser.parse_args()
    try:
        figures = load_figures(arguments.figures)
        begun = time.perf_counter()
        _, fit = build_population(figures, arguments.scale, arguments.seed, balance=arguments.balance)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(fit.lines()))
    print(f"built in {time.perf_counter() - begun:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
