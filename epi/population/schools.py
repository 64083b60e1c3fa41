"""Who goes to which school: pupils of a region and type of school, ordered by age, in groups of real size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.population.members import Ints, Layer, Members, cut_into_groups, split
from epi.population.sampling import assign_states, group_sizes, shuffled_order


@dataclass(frozen=True, eq=False)
class SchoolTable:
    """Schools of every region by type, ages and size.

    Types before the first school age are early childhood services: places per child. From the first school age to the last compulsory
    one everybody is at school; after it, to the last, the pupils that the table's roll leaves.

    Attributes:
        table: rows `region` (index 0..R-1), `type`, `age_min`, `age_max`, `size`, `schools`.
        pupils_per_teacher: by type, in the order in which types are numbered.
        early: types that take children before the first school age.
        first_age, compulsory_to, last_age: years.
        largest_group: a school with more pupils is cut into equal contact groups no larger than this.
        name: of the layer.
    """

    table: pd.DataFrame
    pupils_per_teacher: Mapping[str, float]
    early: tuple[str, ...] = ()
    first_age: int = 5
    compulsory_to: int = 15
    last_age: int = 17
    largest_group: int = 100
    name: str = "school"

    @classmethod
    def from_sizes(
        cls,
        regions: int,
        sizes: Mapping[str, tuple[int, int, NDArray[np.integer]]],
        pupils_per_teacher: Mapping[str, float],
        **ages: int,
    ) -> SchoolTable:
        """Schools where only a distribution of sizes is known, alike in all regions; everybody of their ages is a pupil.

        Args:
            regions: number of regions.
            sizes: `{type: (age_min, age_max, sizes)}`.
            pupils_per_teacher: by type.
            **ages: `first_age`, `last_age`; the last compulsory age is the last.
        """
        rows = [
            {"region": r, "type": kind, "age_min": low, "age_max": high, "size": int(n), "schools": 1}
            for r in range(regions)
            for kind, (low, high, catalogue) in sizes.items()
            for n in catalogue
        ]
        first = ages.get("first_age", min(low for low, _, _ in sizes.values()))
        last = ages.get("last_age", max(high for _, high, _ in sizes.values()))
        return cls(pd.DataFrame(rows), pupils_per_teacher, (), first, last, last)

    def attend(self, members: Members, layers: list[Layer], rng: np.random.Generator) -> list[Layer]:
        """Give pupils a contact group in a school of their region; the layer joins those there are.

        At each year of age a pupil's type of school follows the places of the region's schools at that age. Pupils of a region and type
        are ordered by age and cut into groups of real size, so that neighbouring ages share a group.
        """
        kinds, regions, ages = list(self.pupils_per_teacher), members.regions, self.last_age + 1
        child = np.flatnonzero(members.year <= self.last_age)
        cell = members.region[child].astype(np.int64) * ages + members.year[child]
        kind = assign_states(cell, self.enrolment(members).reshape(-1, len(kinds) + 1), rng)
        pupil, kind, cell = child[kind < len(kinds)], kind[kind < len(kinds)], cell[kind < len(kinds)]
        block = (cell // ages) * len(kinds) + kind
        order = shuffled_order(block * ages + cell % ages, rng)
        sizes, posts = [], []
        for b, count in enumerate(np.bincount(block, minlength=regions * len(kinds))):
            name = kinds[b % len(kinds)]
            if count:
                size = group_sizes(int(count), self._groups(b // len(kinds), name), rng)
                sizes.append(size)
                posts.append(np.maximum(np.rint(size / self.pupils_per_teacher[name]), 1).astype(np.int64))
        layer = cut_into_groups(len(members.year), pupil[order], sizes)
        return [*layers, Layer(layer.of_agent, layer.size, np.concatenate(posts) if posts else np.zeros(0, np.int64))]

    def enrolment(self, members: Members) -> NDArray[np.float64]:
        """`[region, year of age, type of school, none last]` fractions of children."""
        kinds, first, last = list(self.pupils_per_teacher), self.first_age, self.last_age
        places = np.zeros((members.regions, last + 1, len(kinds)))
        for row in self.table.itertuples():
            low, high = (0, first - 1) if row.type in self.early else (row.age_min, min(row.age_max, last))
            if high >= low:
                places[row.region, low : high + 1, kinds.index(row.type)] += row.size * row.schools / (high - low + 1)
        by_year = members.people_by_year(last)
        roll = places[:, first:].sum()
        stay = roll - by_year[:, first : self.compulsory_to + 1].sum()
        enrolled = np.ones_like(by_year)
        if first:
            enrolled[:, :first] = (places[:, :first].sum((1, 2)) / by_year[:, :first].sum(1))[:, None]
        if self.compulsory_to < last:
            enrolled[:, self.compulsory_to + 1 :] = stay / by_year[:, self.compulsory_to + 1 :].sum()
        enrolled = np.clip(enrolled, 0.0, 1.0)
        total = places.sum(2, keepdims=True)
        everywhere = places.sum(0) / np.maximum(places.sum((0, 2)), 1e-300)[:, None]
        of_kind = np.where(total > 0, places / np.maximum(total, 1e-300), everywhere[None])
        enrolled = np.where(of_kind.sum(2) > 0, enrolled, 0.0)
        return np.concatenate([of_kind * enrolled[..., None], 1.0 - enrolled[..., None]], axis=2)

    def _groups(self, region: int, kind: str) -> Ints:
        """Sizes of the contact groups in a region's schools of a type; of all regions if it has none."""
        table = self.table[self.table["type"] == kind]
        here = table[table["region"] == region]
        table = here if len(here) else table
        return split(
            np.repeat(table["size"].to_numpy(np.int64), table["schools"].to_numpy(np.int64)), self.largest_group
        )
