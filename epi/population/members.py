"""People before and after they are given venues."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Members:
    """People before they are given venues.

    Attributes:
        region, band, year: `[N]` region, age band and single year of age of each.
        first_year: `[A]` the youngest year of each band. width: `[A]` how many years it has.
        people: `[R, A]` people of the region, sampled or not.
    """

    region: NDArray[np.int16]
    band: NDArray[np.int16]
    year: NDArray[np.int16]
    first_year: Ints
    width: Ints
    people: NDArray[np.float64]

    @property
    def regions(self) -> int:
        """Number of regions R."""
        return len(self.people)

    def people_by_year(self, last: int) -> NDArray[np.float64]:
        """`[R, last + 1]` people by single year of age: a band's people spread evenly over its years.

        Raises:
            ValueError: the bands end before that year.
        """
        if last >= int(self.first_year[-1] + self.width[-1]):
            raise ValueError(
                f"people of {last} years were asked for, and the age bands end at {int(self.first_year[-1] + self.width[-1]) - 1}; "
                "give wider bands or an earlier last year."
            )
        return np.repeat(self.people / self.width, self.width, axis=1)[:, : last + 1]


@dataclass(frozen=True, eq=False)
class Layer:
    """One venue layer.

    Attributes:
        of_agent: `[N]` group of each agent, -1 for none.
        size: `[M]` people of each group.
        posts: `[M]` employees that each group needs; empty if it needs none.
        staff: `[R]` employees that it was given, by region; empty before it was given any.
    """

    of_agent: NDArray[np.int32]
    size: Ints
    posts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    staff: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def weight(self) -> NDArray[np.float64]:
        """`[M]` contact weight 1/(n-1): contacts are shared among the others of the group; 0 for a group of one."""
        return np.where(self.size > 1, 1.0 / np.maximum(self.size - 1, 1), 0.0)

    def region_of_group(self, members: Members) -> NDArray[np.int16]:
        """`[M]` region of each group, from its members."""
        out = np.zeros(len(self.size), np.int16)
        inside = np.flatnonzero(self.of_agent >= 0)
        out[self.of_agent[inside]] = members.region[inside]
        return out


class VenueTable(Protocol):
    """Who attends a venue layer; `name` is the layer's."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def attend(self, members: Members, layers: list[Layer], rng: np.random.Generator) -> list[Layer]:
        """Return the layers there are, with staff where this one gives it, and this one last."""
        ...


def cut_into_groups(agents: int, order: Ints, sizes: list[Ints]) -> Layer:
    """Cut people, in order, into groups of the given sizes."""
    size = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    of_agent = np.full(agents, -1, np.int32)
    of_agent[order] = np.repeat(np.arange(len(size), dtype=np.int32), size)
    return Layer(of_agent, size)


def split(sizes: Ints, largest: int) -> Ints:
    """Cut every size above `largest` into the fewest near-equal parts."""
    parts = -(-sizes // largest)
    whole, extra = np.divmod(np.repeat(sizes, parts), np.repeat(parts, parts))
    rank = np.arange(len(whole)) - np.repeat(np.cumsum(parts) - parts, parts)
    out: Ints = whole + (rank < extra)
    return out
