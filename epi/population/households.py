"""Households of every region, and the state of each of their members."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epi.errors import StudyError
from epi.population.members import Ints
from epi.population.sampling import apportion, assign_states, choose_households, controlled_counts, rake
from epi.population.tables import PopulationTables


def choose(
    tables: PopulationTables, agents: Ints, rng: np.random.Generator
) -> tuple[Ints, NDArray[np.int16], NDArray[np.int16]]:
    """Household sizes `[H]` and regions `[H]`, and the age bands `[N]` of their members, region by region.

    The mixture of household types is raked to the ages of each region, then as many whole households are chosen as make up the region's
    agents of each age exactly.

    Raises:
        StudyError: no mixture of the types makes up the ages of a region.
    """
    # types with nobody grown are artefacts of rounding in census tables
    grown = tables.household_types[:, tables.first_year >= tables.grown].sum(1) > 0
    types, prior = tables.household_types[grown], tables.household_counts[..., grown].astype(np.float64)
    chosen, regions = [], []
    for r, people in enumerate(tables.people):
        target = apportion(int(agents[r]), people.astype(np.float64), minimum=1)
        try:
            weights = rake(types, prior if prior.ndim == 1 else prior[r], target.astype(np.float64))
        except ValueError as error:
            raise StudyError(f"The households cannot make up the people of {tables.regions[r]}: {error}") from error
        counts = choose_households(types, weights, target, rng)
        chosen.append(rng.permutation(np.repeat(np.arange(len(types), dtype=np.int32), counts)))
        regions.append(np.full(len(chosen[-1]), r, np.int16))
    household = np.concatenate(chosen)
    members = types.sum(1)
    # members of every type in one line; each household copies its stretch of it
    line = np.repeat(np.tile(np.arange(types.shape[1], dtype=np.int16), len(types)), types.ravel())
    first = np.cumsum(members) - members
    size = members[household]
    start = np.cumsum(size) - size
    band = line[np.repeat(first[household] - start, size) + np.arange(int(size.sum()))]
    return size, np.concatenate(regions), band


def years(tables: PopulationTables, band: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """`[N]` single years of age, drawn evenly inside each band."""
    width = tables.width
    same = bool((width == width[0]).all())
    within = rng.integers(0, int(width[0]), len(band), dtype=np.int8) if same else rng.integers(0, width[band])
    return (tables.first_year[band] + within).astype(np.int16)


def states(
    tables: PopulationTables,
    region: NDArray[np.int16],
    band: NDArray[np.int16],
    year: NDArray[np.int16],
    household: NDArray[np.int32],
    clustering: float,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """`[N]` state of each member, to the fractions of each region and age.

    Args:
        tables: with the fractions.
        region: `[N]`.
        band: `[N]`.
        year: `[N]` those younger than `states_from` are all in the first state.
        household: `[N]` household of each member.
        clustering: 0 gives states at random within region and age; towards 1 members of a household are alike in them.
        rng: source of randomness.
    """
    bands, regions = len(tables.breaks), len(tables.regions)
    assert tables.states is not None
    cell = region.astype(np.int64) * (bands + 1) + band
    young = year < tables.states_from
    cell[young] += bands - band[young]
    fractions = np.zeros((regions, bands + 1, tables.states.shape[-1]))
    fractions[:, :bands] = tables.states
    fractions[:, bands, 0] = 1.0
    cut = int(np.searchsorted(tables.first_year, tables.states_from, side="right")) - 1
    if tables.states_from > tables.first_year[cut]:
        # what is given to a band that is cut goes to its older years, whose share of the band is what was drawn
        count = np.bincount(cell, minlength=regions * (bands + 1)).reshape(-1, bands + 1)
        below = np.bincount(region[young & (band == cut)], minlength=regions)
        share = count[:, cut] / np.maximum(count[:, cut] + below, 1)
        given = tables.states[:, cut, 1:] / np.maximum(share, 1e-9)[:, None]
        given *= np.minimum(1.0, 1.0 / np.maximum(given.sum(1), 1e-9))[:, None]
        fractions[:, cut, 1:], fractions[:, cut, 0] = given, 1.0 - given.sum(1)
    flat = fractions.reshape(-1, fractions.shape[-1])
    if clustering == 0:
        return assign_states(cell, flat, rng)
    return _clustered(cell, flat, household, clustering, rng)


def _clustered(
    cell: Ints,
    fractions: NDArray[np.float64],
    household: NDArray[np.int32],
    clustering: float,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """As `assign_states`, members of a household near one another in the order in which a cell's states are given out.

    A Gaussian copula: the place of a member in that order is set by `sqrt(c) u_household + sqrt(1 - c) u_member`.
    """
    cells, count = fractions.shape
    counts = controlled_counts(fractions, np.bincount(cell, minlength=cells), rng)
    common = rng.standard_normal(int(household.max()) + 1)[household]
    place = np.sqrt(clustering) * common + np.sqrt(1 - clustering) * rng.standard_normal(len(cell))
    out = np.empty(len(cell), np.int8)
    out[np.lexsort((place, cell))] = np.repeat(np.tile(np.arange(count, dtype=np.int8), cells), counts.ravel())
    return out
