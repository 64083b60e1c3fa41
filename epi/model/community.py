"""Who meets whom in the community: by age, and between regions by gravity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epi.data import EpidemicData
from epi.errors import StudyError
from epi.model.setting import Setting, Theta, prepare
from epi.study import Community

__all__ = ["CommunityMixing", "gravity", "reciprocal"]

EARTH_RADIUS = 6371.0  # km


def gravity(data: EpidemicData, length: float) -> NDArray[np.float64]:
    """`[R, R]` destination of contacts outside the own region: people there times exp(-distance / length), rows sum to 1."""
    if data.places is None:
        raise StudyError("Mixing between regions needs their coordinates; give Region coordinates or its table.")
    place = np.radians(data.places[["latitude", "longitude"]].to_numpy(float))
    lat, lon = place[:, 0], place[:, 1]
    half = (
        np.sin((lat[:, None] - lat) / 2) ** 2
        + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    )
    distance = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(half))
    weight: NDArray[np.float64] = data.population.sum(1) * np.exp(-distance / length)
    np.fill_diagonal(weight, 0.0)
    return weight / weight.sum(1, keepdims=True)


def reciprocal(contacts: NDArray[np.float64], people: NDArray[np.float64]) -> NDArray[np.float64]:
    """A contact matrix `[A, A]` in which all people of one age have as many contacts with another age as those with them.

    The mean of both reports: `(c_ab N_a + c_ba N_b) / (2 N_a)`.
    """
    total = contacts * people[:, None]
    both: NDArray[np.float64] = (total + total.T) / 2 / people[:, None]
    return both


@dataclass(frozen=True, eq=False)
class CommunityMixing:
    """Contacts in the community.

    Attributes:
        share: `[R, A]` share of an age in the people of its region.
        between: `[R, R]` where contacts outside the own region fall, rows sum to 1, zero diagonal; None without such contacts.
        contacts: `[A, A]` contacts over the mean of all people; None where assortativity gives them.
    """

    share: Tensor
    between: Tensor | None
    contacts: Tensor | None

    def mixing(self, theta: Theta, region_factor: Tensor | None) -> Tensor:
        """`[*batch, G, G]` weight of a group's mean infectiousness for an agent of another group.

        The contacts of an age band are shared between its own band (assortativity) and all bands by size, or as a contact matrix says, and
        between the own region and others (coupling, by gravity). Contact rates by age enter on both sides, normalised to mean 1 over people.
        """
        regions, ages = self.share.shape
        eye = torch.eye(ages, dtype=self.share.dtype, device=self.share.device)
        contact = theta["age_contact"] if "age_contact" in theta else torch.ones_like(self.share[0])
        contact = contact / (contact * self.share.mean(0)).sum(-1, keepdim=True)
        if self.contacts is None:
            assort = theta["assortativity"][..., None, None, None]
            weighted = self.share * contact[..., None, :]
            proportionate = weighted / weighted.sum(-1, keepdim=True)  # [*batch, R, A] of the region met
            by_age = assort * eye[:, None, :] + (1 - assort) * proportionate[..., None, :, :]  # [*batch, A, R', A']
        else:
            by_age = self.contacts[:, None, :].expand(ages, regions, ages) * contact[..., None, None, :]
        if self.between is None:
            place = torch.eye(regions, dtype=self.share.dtype, device=self.share.device)
        else:
            couple = theta["coupling"][..., None, None]
            own = torch.eye(regions, dtype=self.share.dtype, device=self.share.device)
            place = (1 - couple) * own + couple * self.between
        if region_factor is not None:
            place = region_factor[..., None] * place
        full = place[..., :, None, :, None] * contact[..., None, :, None, None] * by_age[..., None, :, :, :]
        return full.reshape(*full.shape[:-4], regions * ages, regions * ages)


@prepare.register
def _(part: Community, setting: Setting) -> CommunityMixing:
    data = setting.data
    people = data.population.astype(float)
    contacts = None
    if data.contacts is not None:
        by_age = people.sum(0)
        both = reciprocal(data.contacts, by_age)
        contacts = setting.real(both / ((both.sum(1) * by_age).sum() / by_age.sum()))
    return CommunityMixing(
        share=setting.real(people / people.sum(1, keepdims=True)),
        between=None if part.coupling is None else setting.real(gravity(data, part.gravity_length)),
        contacts=contacts,
    )
