"""Within-host types: the features of a host that the model knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AGE_MIDPOINTS: tuple[float, ...] = (5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 78.0)
"""Midpoints in years of the bands 0-9, 10-19, ..., 60-69, 70+ (78 chosen for the open band)."""

DAYS_SINCE_LAST_DOSE: tuple[float, ...] = (0.0, 60.0, 120.0, 30.0)
"""Days since the last dose of people with 0, 1, 2, 3 doses; chosen for February 2022 in New Zealand."""


INFECTION_EQUALS_DOSES = 3.5
"""Doses that raise the titre as much as one past infection does (chosen: with the median parameters protection three months after an
infection is 65 % without a dose and 68 % with two, the 65.2 % and 69.0 % of Bobrovitz et al. 2023, Lancet Infect Dis 23:556)."""


@dataclass(frozen=True, eq=False)
class Archetypes:
    """K kinds of host. Axes before K are allowed and are broadcast against the batch of the parameters: hosts may differ by particle.

    Attributes:
        age_midpoint: `[*batch, K]`, years.
        doses: `[*batch, K]`, vaccine doses received; fractions are allowed.
        days_since_last_dose: `[*batch, K]`, days between the last dose and exposure; without effect where `doses` is 0.
        infections: `[*batch, K]`, past infections, or None for none.
        days_since_infection: `[*batch, K]`, days since the last of them; without effect where `infections` is 0.

    Raises:
        ValueError: if shapes differ, have no axis K, or a value is negative or not finite; or only one of the last two is given.
    """

    age_midpoint: Tensor
    doses: Tensor
    days_since_last_dose: Tensor
    infections: Tensor | None = None
    days_since_infection: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.infections is None) != (self.days_since_infection is None):
            raise ValueError(
                "Archetypes was given one of infections and days_since_infection, but a past infection has a number and a time; "
                "give both or neither."
            )
        for name in self.__dataclass_fields__:
            value: Tensor | None = getattr(self, name)
            if value is None:
                continue
            if value.dim() < 1 or value.shape != self.age_midpoint.shape:
                raise ValueError(
                    f"Archetypes.{name} has shape {tuple(value.shape)}, but one number per archetype [K] was expected, "
                    f"as in age_midpoint {tuple(self.age_midpoint.shape)}; give the tensors one shape."
                )
            if not bool((torch.isfinite(value) & (value >= 0)).all()):
                raise ValueError(
                    f"Archetypes.{name} holds a negative or non-finite number, but numbers of 0 or more were expected; "
                    "check the table that it was made from."
                )

    @property
    def count(self) -> int:
        """K."""
        return self.age_midpoint.shape[-1]

    def features(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Age midpoint, doses and days since the last dose, `[*batch, K]` each, in the type and on the device of `like`."""
        return self.age_midpoint.to(like), self.doses.to(like), self.days_since_last_dose.to(like)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Archetypes:
        """The same kinds on a device, in a floating type."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Archetypes(**{name: value.to(device, dtype) for name, value in given.items() if value is not None})

    def past_infections(self, like: Tensor) -> tuple[Tensor, Tensor] | None:
        """Past infections and days since the last, `[*batch, K]` each, or None."""
        if self.infections is None or self.days_since_infection is None:
            return None
        return self.infections.to(like), self.days_since_infection.to(like)


def archetypes_by_age_and_dose(
    age_midpoints: Sequence[float] = AGE_MIDPOINTS,
    days_since_last_dose: Sequence[float] | Tensor = DAYS_SINCE_LAST_DOSE,
) -> Archetypes:
    """All pairs of age band and dose count, `k = age * doses + dose` with the dose fastest.

    Args:
        age_midpoints: one age in years per band (8 by default).
        days_since_last_dose: per dose count 0, 1, ..., either `[doses]`, or `[ages, doses]` where it differs by age.

    Returns:
        `len(age_midpoints) * doses` archetypes (32 by default), float64.

    Raises:
        ValueError: if `days_since_last_dose` is neither of those shapes, or a number is negative.

    Examples:
        >>> import ode
        >>> people = ode.archetypes_by_age_and_dose((5.0, 35.0), (0.0, 60.0))
        >>> people.age_midpoint
        tensor([ 5.,  5., 35., 35.], dtype=torch.float64)
        >>> people.doses
        tensor([0., 1., 0., 1.], dtype=torch.float64)
    """
    ages = torch.as_tensor(age_midpoints, dtype=torch.float64)
    days = torch.as_tensor(days_since_last_dose, dtype=torch.float64)
    if days.dim() not in (1, 2) or (days.dim() == 2 and days.shape[0] != ages.shape[0]):
        raise ValueError(
            f"days_since_last_dose has shape {tuple(days.shape)}, but [doses] or [{ages.shape[0]} ages, doses] was expected; "
            "give one number per dose count, or one row per age band."
        )
    days = days.expand(ages.shape[0], days.shape[-1])
    doses = torch.arange(days.shape[-1], dtype=torch.float64).expand_as(days)
    return Archetypes(ages.unsqueeze(-1).expand_as(days).reshape(-1), doses.reshape(-1), days.reshape(-1))
