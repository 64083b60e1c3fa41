"""New Zealand in agents: households, doses, schools and workplaces built from the figures for any scale.

    python -m epi.population.build --scale 0.05

prints how well the result fits the figures it was built from. What is built from what: `docs/population.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from epi.data.load import AGE_BANDS, DISTRICTS, DOSES, Figures, load_figures
from epi.errors import StudyError
from epi.population.fit import PopulationFit, measure_fit
from epi.population.venues import Members, schools, workplaces
from sim._synthesis import apportion, assign_states, choose_households, rake, sample_sizes
from sim.population import Population

__all__ = ["PopulationFit", "build_population"]

# Hazard in a household of n scales as (n - 1) ** -0.8: between density (0) and frequency dependence (1); the exponent
# that the Imperial College models (Ferguson et al. 2005, CovidSim) take from Cauchemez et al. 2004 (Stat. Med. 23:3469).
HOUSEHOLD_EXPONENT = 0.8
FEWEST_AGENTS = 40
VENUE_NAMES = ("school", "workplace")


def build_population(
    figures: Figures, scale: float, seed: int, *, balance: float = 0.5
) -> tuple[Population, PopulationFit]:
    """Build the population: about `scale` x 5.2 million agents, 160 groups (district x age), 32 archetypes.

    Args:
        figures: the checked figures.
        scale: agents per person, in (0, 1].
        seed: names all randomness; the same seed gives the same population.
        balance: below scale 1, agents of a district go with `people ** (1 - balance)`, no more than its people: 0
            samples all districts alike, larger values keep small districts from being left to chance.
            `people_per_agent` says how many people an agent of a district stands for.

    Returns:
        The population and the report of its fit to the figures.

    Raises:
        StudyError: scale or balance out of range, or household types that cannot make up a district's ages.
    """
    if not (np.isfinite(scale) and 0 < scale <= 1):
        raise StudyError(f"Found scale {scale:g}, expected a number above 0 and at most 1 (1 = everyone); choose one.")
    if not (np.isfinite(balance) and 0 <= balance <= 1):
        raise StudyError(f"Found balance {balance:g}, expected a number from 0 to 1; choose one.")
    rng = np.random.default_rng(seed)
    agents = sample_sizes(figures.population.sum(1), scale, balance, FEWEST_AGENTS)
    size, district_of_household, band = _households(figures, agents, rng)
    start = np.concatenate([[0], np.cumsum(size, dtype=np.int64)])
    district = np.repeat(district_of_household, size)
    # Ages inside a band are drawn evenly; nothing but school, work and children's doses depends on them.
    year = band * np.int8(10) + rng.integers(0, 10, len(band), dtype=np.int8)
    members = Members(district, band, year)
    doses = _doses(figures, members, rng)
    pupils, teachers = schools(figures, members, rng)
    school, work = workplaces(figures, members, pupils, teachers, rng)
    people = figures.population.sum(1)
    population = Population(
        household_start=start,
        group=district.astype(np.int16) * np.int16(len(AGE_BANDS)) + band,
        archetype=(band * np.int8(len(DOSES)) + doses).astype(np.int16),
        venues=np.stack([school.of_agent, work.of_agent]),
        venue_weight=(school.weight, work.weight),
        household_weight=np.where(size > 1, np.maximum(size - 1.0, 1.0) ** -HOUSEHOLD_EXPONENT, 0.0),
        region_of_group=np.repeat(np.arange(len(DISTRICTS), dtype=np.int16), len(AGE_BANDS)),
        people_per_agent=people / np.bincount(district, minlength=len(people)),
        venue_names=VENUE_NAMES,
    )
    return population, measure_fit(population, figures, scale, balance)


def _households(
    figures: Figures, agents: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]:
    """Household sizes `[H]` and districts `[H]`, and the age bands `[N]` of their members, district by district.

    The national mixture of household types is raked to the ages of each district, then as many whole households
    are chosen as make up the district's agents of each age exactly.
    """
    # Types with nobody over nine are artefacts of rounding in the census table.
    grown = figures.household_types[:, 1:].sum(1) > 0
    types, prior = figures.household_types[grown], figures.household_counts[grown].astype(np.float64)
    chosen, districts = [], []
    for d, people in enumerate(figures.population):
        target = apportion(int(agents[d]), people.astype(np.float64), minimum=1)
        try:
            weights = rake(types, prior, target.astype(np.float64))
        except ValueError as error:
            raise StudyError(f"households.csv cannot make up the people of {DISTRICTS[d]}: {error}") from error
        counts = choose_households(types, weights, target, rng)
        chosen.append(rng.permutation(np.repeat(np.arange(len(types), dtype=np.int32), counts)))
        districts.append(np.full(len(chosen[-1]), d, np.int8))
    household = np.concatenate(chosen)
    members = types.sum(1)
    # Members of every type in one line; each household copies its stretch of it.
    line = np.repeat(np.tile(np.arange(types.shape[1], dtype=np.int8), len(types)), types.ravel())
    first = np.cumsum(members) - members
    size = members[household]
    start = np.cumsum(size) - size
    band = line[np.repeat(first[household] - start, size) + np.arange(int(size.sum()))]
    return size.astype(np.int8), np.concatenate(districts), band


def _doses(figures: Figures, members: Members, rng: np.random.Generator) -> NDArray[np.int8]:
    """`[N]` doses 0, 1, 2 or 3 (3 and more), to the fractions of each district and age.

    The youngest band is cut at 5 years: younger children were not vaccinated.
    """
    bands = len(AGE_BANDS)
    cell = members.district.astype(np.int16) * np.int16(bands + 1) + members.band
    young = members.year < 5
    cell[young] += bands - members.band[young]
    fractions = np.zeros((len(DISTRICTS), bands + 1, len(DOSES)))
    fractions[:, :bands] = figures.vaccination
    fractions[:, bands, 0] = 1.0
    # All doses of 0-9 go to those of 5-9, whose share of the band is what was drawn.
    count = np.bincount(cell, minlength=fractions.shape[0] * (bands + 1)).reshape(-1, bands + 1)
    share = count[:, 0] / np.maximum(count[:, 0] + count[:, bands], 1)
    given = figures.vaccination[:, 0, 1:] / np.maximum(share, 1e-9)[:, None]
    given *= np.minimum(1.0, 1.0 / np.maximum(given.sum(1), 1e-9))[:, None]
    fractions[:, 0, 1:], fractions[:, 0, 0] = given, 1.0 - given.sum(1)
    return assign_states(cell, fractions.reshape(-1, len(DOSES)), rng)


def main() -> int:
    """Build a population and print its fit."""
    parser = argparse.ArgumentParser(description="Build the population and print its fit to the figures.")
    parser.add_argument("--scale", type=float, default=0.05, help="agents per person, above 0 and at most 1")
    parser.add_argument("--balance", type=float, default=0.5, help="0: all districts sampled alike; 1: equal numbers")
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
