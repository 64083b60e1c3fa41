"""Who works where: employed adults, first in the posts of other venues, then in workplaces of a size distribution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from epi.population.members import Ints, Layer, Members, cut_into_groups, split
from epi.population.sampling import assign_states, group_sizes, shuffled_order


@dataclass(frozen=True, eq=False)
class WorkplaceTable:
    """Employees of every region and the sizes of their workplaces.

    Attributes:
        employees: `[R]` employees of each region.
        shape: `[A]` relative share in work by age band (of a cut band: of its years from the first working age on); 0 for bands that do
            not work. Its level does not matter: it is scaled to the employees of each region.
        sizes: sizes of workplaces, each as often as it occurs.
        first_age: first working age, years.
        staff_from: youngest age of the employees who take posts in other venues (teachers, carers).
        most: largest share of a band in work.
        largest_group: a workplace with more people is cut into equal contact groups no larger than this.
        name: of the layer.
    """

    employees: NDArray[np.float64]
    shape: NDArray[np.float64]
    sizes: Ints
    first_age: int = 16
    staff_from: int = 20
    most: float = 0.97
    largest_group: int = 100
    name: str = "workplace"

    def attend(self, members: Members, layers: list[Layer], rng: np.random.Generator) -> list[Layer]:
        """Give employed adults a workplace in their region, posts of the layers before first; the layer joins these."""
        bands, regions = len(self.shape), members.regions
        adult = np.flatnonzero((members.year >= self.first_age) & (self.shape[members.band] > 0))
        rate = self.employment(members).reshape(-1)
        cell = members.region[adult].astype(np.int64) * bands + members.band[adult]
        employed = adult[assign_states(cell, np.stack([rate, 1.0 - rate], 1), rng) == 0]
        employed = employed[shuffled_order(members.region[employed], rng)]
        bounds = np.searchsorted(members.region[employed], np.arange(regions + 1))
        of_agent, size = [x.of_agent.copy() for x in layers], [x.size.copy() for x in layers]
        staff = np.zeros((len(layers), regions), np.int64)
        of_region = [x.region_of_group(members) if len(x.posts) else None for x in layers]
        catalogue = split(self.sizes, self.largest_group)
        order, groups = [], []
        for r in range(regions):
            here = employed[bounds[r] : bounds[r + 1]]
            for i, layer in enumerate(layers):
                where = of_region[i]
                if where is None:
                    continue
                post = np.repeat(np.flatnonzero(where == r), layer.posts[where == r])
                able = np.flatnonzero(members.first_year[members.band[here]] >= self.staff_from)
                # nobody is in two groups of one layer
                able = able[of_agent[i][here[able]] < 0][: len(post)]
                of_agent[i][here[able]] = post[: len(able)]
                size[i] += np.bincount(post[: len(able)], minlength=len(size[i]))
                staff[i, r] = len(able)
                here = np.delete(here, able)
            order.append(here)
            groups.append(group_sizes(len(here), catalogue, rng))
        staffed = [
            replace(x, of_agent=a, size=n, staff=s) for x, a, n, s in zip(layers, of_agent, size, staff, strict=True)
        ]
        return [*staffed, cut_into_groups(len(members.year), np.concatenate(order), groups)]

    def employment(self, members: Members) -> NDArray[np.float64]:
        """`[region, band]` share of adults of working age who are employees, to each region's total.

        Raises:
            ValueError: a region has employees and nobody of an age that works.
        """
        of_age = np.clip((members.first_year + members.width - self.first_age) / members.width, 0.0, 1.0)
        able = (members.people * of_age) @ self.shape
        if np.any((able <= 0) & (np.asarray(self.employees) > 0)):
            r = int(np.flatnonzero(able <= 0)[0])
            raise ValueError(
                f"workplaces: region {r} has {self.employees[r]:,.0f} employees and nobody in an age band that works; "
                "correct the employees, or the shape by age."
            )
        factor = np.asarray(self.employees, float) / np.maximum(able, 1e-300)
        return np.minimum(self.shape * factor[:, None], self.most)


def power_tail_sizes(offset: float, exponent: float, largest: int, count: int = 20_000) -> Ints:
    """`[count]` sizes at equally spaced quantiles of a truncated offset power tail.

    Args:
        offset: q in `P(size >= s) = ((1 + q) / (s + q)) ** a`.
        exponent: a.
        largest: size at which it is cut.
        count: number of sizes.

    References:
        Ferguson et al. 2005, Nature 437:209, supplement.
    """
    size = np.arange(1, largest + 1)
    tail = ((1 + offset) / (np.append(size, largest + 1) + offset)) ** exponent
    below = (1.0 - tail[1:]) / (1.0 - tail[-1])
    quantile = (np.arange(count) + 0.5) / count
    return size[np.searchsorted(below, quantile)].astype(np.int64)
