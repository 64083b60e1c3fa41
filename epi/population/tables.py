"""What a synthetic population is made of: margins by region and age, household types, states such as doses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epi.errors import StudyError
from epi.population.members import Ints


@dataclass(frozen=True, eq=False)
class PopulationTables:
    """Margins of a population.

    Attributes:
        regions: R names. breaks: the youngest year of each of A age bands, rising from 0.
        people: `[R, A]` people (int64), each at least 1.
        household_types: `[K, A]` members of each household type by age band. household_counts: `[K]` households of each,
            or `[R, K]` by region.
        states: `[R, A, S]` fractions of people in each of S states (doses, say), sum 1 over S; None for one state.
        states_from: youngest year of age at which another state than the first is possible.
        last_width: years in the last, open band.
        grown: youngest age of somebody who can keep a household.
    """

    regions: tuple[str, ...]
    breaks: tuple[int, ...]
    people: Ints
    household_types: Ints
    household_counts: Ints
    states: NDArray[np.float64] | None = None
    states_from: int = 0
    last_width: int = 10
    grown: int = 10

    def __post_init__(self) -> None:
        rows, bands = len(self.regions), len(self.breaks)
        if self.people.shape != (rows, bands):
            raise StudyError(
                f"The table of people has shape {self.people.shape}, expected {rows} regions by {bands} age bands; correct it."
            )
        if self.breaks[0] != 0 or any(b <= a for a, b in zip(self.breaks, self.breaks[1:], strict=False)):
            raise StudyError(f"The age breaks are {self.breaks}, expected years that rise from 0; correct them.")
        if (self.people < 1).any():
            r, a = (int(i[0]) for i in np.nonzero(self.people < 1))
            raise StudyError(
                f"Region {self.regions[r]!r} has {self.people[r, a]} people in the age band from {self.breaks[a]}, expected at least "
                "one; correct the table or use wider bands."
            )
        if self.household_types.ndim != 2 or self.household_types.shape[1] != bands:
            raise StudyError(
                f"The household types have {self.household_types.shape[-1]} age bands and the people {bands}; give both by the same bands."
            )
        if self.states is not None and (
            self.states.shape[:2] != (rows, bands) or not np.allclose(self.states.sum(-1), 1.0, atol=1e-6)
        ):
            raise StudyError(
                f"The fractions of states have shape {self.states.shape}, expected {rows} regions by {bands} age bands by states, each "
                "cell of sum 1; correct the table."
            )

    @property
    def first_year(self) -> Ints:
        """`[A]` the youngest year of each band."""
        return np.array(self.breaks, np.int64)

    @property
    def width(self) -> Ints:
        """`[A]` years in each band."""
        return np.append(np.diff(self.first_year), self.last_width)

    @property
    def bands(self) -> tuple[str, ...]:
        """Labels of the bands, such as "0-9" and "70+"."""
        last = [b - 1 for b in self.breaks[1:]]
        closed = [f"{a}-{b}" if b > a else str(a) for a, b in zip(self.breaks, last, strict=False)]
        return (*closed, f"{self.breaks[-1]}+")


def household_types_from_sizes(
    share_of_size: NDArray[np.float64],
    people_by_band: NDArray[np.floating],
    adults_from_band: int,
    *,
    seed: int = 0,
    count: int = 20_000,
) -> tuple[Ints, Ints]:
    """Household types for a region of which only the sizes of households are known.

    The first member of each household is an adult; the others are drawn by the ages of all people, and a household of two is of two
    adults more often than chance has it only through the ages. Raking to each region's ages follows in `synthesize`.

    Args:
        share_of_size: `[n]` share of households with 1, 2, ..., n members.
        people_by_band: `[A]` people by age band.
        adults_from_band: first band of adults.
        seed: of the draws.
        count: number of households drawn.

    Returns:
        `[K, A]` distinct types and `[K]` how often each was drawn.
    """
    rng = np.random.default_rng(seed)
    share = np.asarray(share_of_size, float) / np.sum(share_of_size)
    size = rng.choice(np.arange(1, len(share) + 1), count, p=share)
    ages = np.asarray(people_by_band, float)
    adults = np.where(np.arange(len(ages)) >= adults_from_band, ages, 0.0)
    first = rng.choice(len(ages), count, p=adults / adults.sum())
    others = rng.choice(len(ages), int(size.sum() - count), p=ages / ages.sum())
    table = np.zeros((count, len(ages)), np.int64)
    np.add.at(table, (np.arange(count), first), 1)
    np.add.at(table, (np.repeat(np.arange(count), size - 1), others), 1)
    types, counts = np.unique(table, axis=0, return_counts=True)
    return types, counts.astype(np.int64)
