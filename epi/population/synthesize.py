"""A synthetic population at any scale, from the tables of any region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from epi.errors import StudyError
from epi.population import households
from epi.population.fit import PopulationFit, measure_fit
from epi.population.members import Layer, Members, VenueTable
from epi.population.sampling import sample_sizes
from epi.population.tables import PopulationTables
from sim import Population

HOUSEHOLD_EXPONENT = 0.8
"""Hazard in a household of n scales as (n - 1) ** -0.8: between density (0) and frequency dependence (1); the exponent that the Imperial
College models (Ferguson et al. 2005, CovidSim) take from Cauchemez et al. 2004 (Stat. Med. 23:3469)."""
FEWEST_AGENTS = 40


def synthesize(
    tables: PopulationTables,
    venues: Sequence[VenueTable] = (),
    *,
    scale: float = 1.0,
    seed: int = 0,
    balance: float = 0.0,
    clustering: float = 0.0,
    household_exponent: float = HOUSEHOLD_EXPONENT,
) -> tuple[Population, PopulationFit]:
    """Build a population that holds the margins of its tables at any scale.

    Groups are region x age band (`r * A + a`), archetypes age band x state (`a * S + s`).

    Args:
        tables: the margins.
        venues: the venue layers in order; a layer with employees follows those whose posts they fill.
        scale: agents per person, in (0, 1].
        seed: names all randomness; the same seed gives the same population.
        balance: below scale 1, agents of a region go with `people ** (1 - balance)`, no more than its people: 0 samples all regions alike,
            larger values keep small regions from being left to chance. `Population.people_per_agent` says how many people an agent stands for.
        clustering: how alike members of a household are in their state, 0 (at random) to below 1.
        household_exponent: hazard in a household of n goes with (n - 1) to minus this.

    Returns:
        The population, and the report of its fit to the tables.

    Raises:
        StudyError: an argument is out of range, or household types cannot make up a region's ages.

    Examples:
        Two regions and two age bands, households of one to three:

        >>> from epi.population.tables import PopulationTables, household_types_from_sizes
        >>> people = np.array([[300, 700], [100, 400]])
        >>> types, counts = household_types_from_sizes(np.array([0.3, 0.4, 0.3]), people.sum(0), adults_from_band=1)
        >>> made, fit = synthesize(PopulationTables(("north", "south"), (0, 20), people, types, counts), seed=1)
        >>> made.agents, made.group_size.tolist(), fit.margin_max_error
        (1500, [300, 700, 100, 400], 0.0)
    """
    if not (np.isfinite(scale) and 0 < scale <= 1):
        raise StudyError(f"Found scale {scale:g}, expected a number above 0 and at most 1 (1 = everyone); choose one.")
    if not (np.isfinite(balance) and 0 <= balance <= 1):
        raise StudyError(f"Found balance {balance:g}, expected a number from 0 to 1; choose one.")
    if not (np.isfinite(clustering) and 0 <= clustering < 1):
        raise StudyError(f"Found clustering {clustering:g}, expected a number from 0 to below 1; choose one.")
    if tables.people.size > np.iinfo(np.int16).max:
        raise StudyError(
            f"{len(tables.regions)} regions by {len(tables.breaks)} age bands are {tables.people.size:,} groups, expected at most "
            f"{np.iinfo(np.int16).max:,}; use wider age bands or fewer regions."
        )
    rng = np.random.default_rng(seed)
    people, bands = tables.people.sum(1), len(tables.breaks)
    agents = sample_sizes(people, scale, balance, FEWEST_AGENTS)
    size, region_of_household, band = households.choose(tables, agents, rng)
    region = np.repeat(region_of_household, size)
    year = households.years(tables, band, rng)
    members = Members(region, band, year, tables.first_year, tables.width, tables.people.astype(np.float64))
    archetype = band.astype(np.int64)
    if tables.states is not None:
        of_agent = np.repeat(np.arange(len(size), dtype=np.int32), size)
        state = households.states(tables, region, band, year, of_agent, clustering, rng)
        archetype = archetype * tables.states.shape[-1] + state
    layers: list[Layer] = []
    for venue in venues:
        layers = venue.attend(members, layers, rng)
    population = Population(
        household_start=np.concatenate([[0], np.cumsum(size, dtype=np.int64)]),
        group=(region.astype(np.int64) * bands + band).astype(np.int16),
        archetype=archetype.astype(np.int16),
        venues=np.stack([x.of_agent for x in layers]) if layers else np.zeros((0, len(band)), np.int32),
        venue_weight=tuple(x.weight for x in layers),
        household_weight=np.where(size > 1, np.maximum(size - 1.0, 1.0) ** -household_exponent, 0.0),
        region_of_group=np.repeat(np.arange(len(people), dtype=np.int16), bands),
        people_per_agent=people / np.bincount(region, minlength=len(people)),
        venue_names=tuple(v.name for v in venues),
    )
    return population, measure_fit(population, tables, venues, layers, scale, balance)
