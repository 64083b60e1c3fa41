"""A venue of the user's own: a share of each age in groups of given sizes, with posts for employees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epi.population.members import Ints, Layer, Members, cut_into_groups
from epi.population.sampling import assign_states, group_sizes, shuffled_order


@dataclass(frozen=True, eq=False)
class GroupTable:
    """People who meet in groups: residents of care homes, a congregation, a university.

    Attributes:
        name: of the layer.
        share: `[A]` or `[R, A]` share of each age band that attends.
        sizes: sizes of the groups (without staff), each as often as it occurs.
        members_per_post: members for each employee that a group needs; None for no staff. The posts are filled by the workplace layer,
            which must come after this one.

    Examples:
        Care homes for a tenth of the oldest of two age bands, one carer for three residents:

        >>> homes = GroupTable("care_home", np.array([0.0, 0.1]), np.array([20, 40, 60]), members_per_post=3)
        >>> homes.name
        'care_home'
    """

    name: str
    share: NDArray[np.float64]
    sizes: Ints
    members_per_post: float | None = None

    def __post_init__(self) -> None:
        share, sizes = np.asarray(self.share, float), np.asarray(self.sizes)
        if not np.all((share >= 0) & (share <= 1)) or not share.any():
            raise ValueError(
                f"venue {self.name!r}: found shares from {share.min():g} to {share.max():g}, expected shares from 0 to 1 and somebody "
                "who attends; correct the shares by age."
            )
        if not len(sizes) or sizes.min() < 1:
            raise ValueError(f"venue {self.name!r}: found no group sizes of 1 or more; give sizes of its groups.")

    def attend(self, members: Members, layers: list[Layer], rng: np.random.Generator) -> list[Layer]:
        """Choose who attends at random within region and age, mix them within the region, and cut them into groups."""
        bands, regions = len(members.first_year), members.regions
        share = np.broadcast_to(np.asarray(self.share, float), (regions, bands))
        cell = members.region.astype(np.int64) * bands + members.band
        fractions = np.stack([share, 1.0 - share], -1).reshape(-1, 2)
        inside = np.flatnonzero(assign_states(cell, fractions, rng) == 0)
        inside = inside[shuffled_order(members.region[inside], rng)]
        counts = np.bincount(members.region[inside], minlength=regions)
        sizes = [group_sizes(int(n), np.asarray(self.sizes, np.int64), rng) for n in counts]
        layer = cut_into_groups(len(members.year), inside, sizes)
        if self.members_per_post is None:
            return [*layers, layer]
        posts = np.maximum(np.rint(layer.size / self.members_per_post), 1).astype(np.int64)
        return [*layers, Layer(layer.of_agent, layer.size, posts)]
