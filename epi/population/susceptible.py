"""Simulate only those who can be infected: where most people are immune, a measles outbreak say, the rest need no agent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim import Population


def susceptible_only(population: Population, immune: NDArray[np.bool_]) -> Population:
    """Leave out agents who can never be infected; everybody else meets the same people as before.

    Those left out count on in the sizes that rates refer to: contact weights of households and venues stay those of the full groups, and
    shares of infectious people in the community are of all (`Population.absent`). So the epidemic has the same distribution.

    Args:
        population: everybody.
        immune: `[N]` who can never be infected, nor is at the start.

    Returns:
        The population of the others; its agents are in the same order.

    Raises:
        ValueError: nobody is left, or `immune` has another length.

    Examples:
        >>> from epi.population.tables import PopulationTables, household_types_from_sizes
        >>> from epi.population.synthesize import synthesize
        >>> people = np.array([[300, 700]])
        >>> types, counts = household_types_from_sizes(np.array([0.3, 0.4, 0.3]), people.sum(0), adults_from_band=1)
        >>> everybody, _ = synthesize(PopulationTables(("north",), (0, 20), people, types, counts), seed=1)
        >>> few = susceptible_only(everybody, everybody.archetype == 1)
        >>> few.agents, few.group_size.tolist()
        (300, [300, 700])
    """
    if immune.shape != (population.agents,):
        raise ValueError(f"immune has shape {immune.shape}, expected one entry for each of {population.agents} agents.")
    keep = ~np.asarray(immune, bool)
    if not keep.any():
        raise ValueError("everybody is immune: there is nobody to simulate.")
    left = np.add.reduceat(keep, population.household_start[:-1]).astype(np.int64)
    absent = np.bincount(population.group[~keep], minlength=population.groups)
    if population.absent is not None:
        absent = absent + population.absent
    return Population(
        household_start=np.concatenate([[0], np.cumsum(left[left > 0])]),
        group=population.group[keep],
        archetype=population.archetype[keep],
        venues=population.venues[:, keep],
        venue_weight=population.venue_weight,
        household_weight=population.household_weight[left > 0],
        region_of_group=population.region_of_group,
        people_per_agent=population.people_per_agent,
        venue_names=population.venue_names,
        absent=absent.astype(np.int64),
    )
