"""The rates that drive an epidemic: everything about it that can be calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sim.population import Population

__all__ = ["COMMUNITY", "HOUSEHOLD", "PERIOD", "VENUES", "Rates"]

LONGEST = 32_000
LARGEST = 1e8
"""Largest rate, and largest product of rates that make a hazard, per day: gradients of larger ones drown in the rounding of sums."""
HOUSEHOLD = 0
"""Row of `Rates.transmission` for households."""
COMMUNITY = 1
"""Row of `Rates.transmission` for the community."""
VENUES = 2
"""First row of `Rates.transmission` for the venue layers, in the population's order."""
PERIOD = 14
"""Days in each of which `Rates.waning` is constant, from day 0 on."""


@dataclass(frozen=True)
class Rates:
    """Rates of an epidemic, each with a leading particle axis.

    Axes: `P` particles, `K` archetypes, `D` days since infection, `V` venue layers, `T` days, `G` community groups, `S` periods.

    Attributes:
        infectiousness: `[P, K, D]` infectiousness of an agent 1..D days after its infection (dimensionless).
        susceptibility: `[P, K]` relative hazard of an archetype (dimensionless).
        transmission: `[P, 2 + V, T]` per day: household, community, venue layers.
        mixing: `[P, G, G]` weight of the mean infectiousness of group (column) for an agent of group (row).
        importation: `[P, T, G]` hazard from outside, per person and day.
        aversion: `[P]` prevalence response: fall of the log transmission outside households
            for each 1 % of people infected per day, as remembered.
        forgetting: `[P]` waning of the response: share of the remembered incidence replaced each day, 0..1.
        reinfection: `[P, K, E]` susceptibility of an agent 1..E days after its last infection, relative to one never infected; the
            last value holds from then on. Zero on the first D days, while it is infectious. Empty (E = 0, the default): infected once.
        waning: `[P, K, S]` factor on the susceptibility of an archetype in each period of `PERIOD` days from day 0 on, as immunity given
            before wanes; S = ceil(T / PERIOD). Empty (S = 0, the default): susceptibility does not change. It holds for first infections
            and for those after; `reinfection` is relative to it.

    Examples:
        >>> import torch
        >>> import sim
        >>> rates = sim.Rates(
        ...     infectiousness=torch.full((2, 1, 5), 0.2), susceptibility=torch.ones(2, 1), transmission=torch.ones(2, 3, 10),
        ...     mixing=torch.ones(2, 1, 1), importation=torch.full((2, 10, 1), 0.01), aversion=torch.zeros(2), forgetting=torch.zeros(2))
        >>> rates.particles, rates.days
        (2, 10)
    """

    infectiousness: Tensor
    susceptibility: Tensor
    transmission: Tensor
    mixing: Tensor
    importation: Tensor
    aversion: Tensor
    forgetting: Tensor
    reinfection: Tensor = None  # type: ignore[assignment]  # stands for E = 0, which __post_init__ puts in its place
    waning: Tensor = None  # type: ignore[assignment]  # S = 0, likewise

    def __post_init__(self) -> None:
        for name in ("reinfection", "waning"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.infectiousness[:, :, :0])

    @property
    def particles(self) -> int:
        """Number of particles P."""
        return self.infectiousness.shape[0]

    @property
    def days(self) -> int:
        """Number of days T."""
        return self.transmission.shape[-1]

    @property
    def infectious_days(self) -> int:
        """Number of days since infection D after which nobody is infectious."""
        return self.infectiousness.shape[-1]

    @property
    def periods(self) -> int:
        """Number of periods of constant susceptibility: S, or 1 without waning."""
        return max(self.waning.shape[2], 1)

    def susceptible(self) -> Tensor:
        """`[P, periods, K]` susceptibility by period: `susceptibility * waning`."""
        once = self.susceptibility[:, None]
        return once * self.waning.transpose(1, 2) if self.waning.shape[2] else once

    def susceptible_tangent(self, tangents: Rates) -> Tensor:
        """`[P, periods, K, Q]` tangent of `susceptible`, for tangents with a trailing axis of Q directions."""
        direct = tangents.susceptibility[:, None]
        if not self.waning.shape[2]:
            return direct
        waning = self.waning.transpose(1, 2)[..., None]
        return direct * waning + self.susceptibility[:, None, :, None] * tangents.waning.transpose(1, 2)

    def susceptible_adjoint(self, bar: Tensor) -> tuple[Tensor, Tensor]:
        """Adjoints `[P, K]` of `susceptibility` and `[P, K, S]` of `waning`, from that of `susceptible` `[P, periods, K]`."""
        if not self.waning.shape[2]:
            return bar[:, 0], torch.zeros_like(self.waning)
        bar = bar.transpose(1, 2)
        return (bar * self.waning).sum(2), bar * self.susceptibility[..., None]

    def period(self, day: int) -> int:
        """The period in which a day lies."""
        return min(day // PERIOD, self.periods - 1)

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in the order of the fields."""
        return tuple(getattr(self, f.name) for f in fields(self))

    def between(self, first: int, last: int) -> Rates:
        """The rates (or tangents of rates) of the days `first..last - 1`, which become days 0 and later.

        A new period of waning takes the value of the old one in which its middle lies; they are the same where `first` is a whole number
        of periods.

        Raises:
            ValueError: there are no such days.
        """
        days = self.transmission.shape[2]  # tangents have one more axis
        if not 0 <= first < last <= days:
            raise ValueError(
                f"days {first}..{last - 1} were asked for, and the rates cover 0..{days - 1}; name some of them."
            )
        waning = self.waning
        if waning.shape[2]:
            middles = torch.arange(first, last, PERIOD, device=waning.device) + min(PERIOD // 2, last - 1 - first)
            waning = waning[:, :, (middles // PERIOD).clamp_max(waning.shape[2] - 1)]
        return replace(
            self,
            transmission=self.transmission[:, :, first:last],
            importation=self.importation[:, first:last],
            waning=waning,
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Rates:
        """Apply a function to each tensor."""
        return Rates(*(function(x) for x in self.tensors()))

    def hazards(self) -> dict[str, Tensor]:
        """`{names: [P]}` largest products of rates that make a hazard of one infectious agent, or from outside (per day)."""

        def top(x: Tensor) -> Tensor:
            return x.detach().flatten(1).amax(1) if x.numel() else x.new_ones(len(x))

        reinfected = top(self.reinfection).clamp_min(1.0)
        sigma = top(self.susceptibility) * (top(self.waning) if self.waning.numel() else 1.0) * reinfected
        from_agents = top(self.infectiousness) * sigma * top(self.transmission) * top(self.mixing).clamp_min(1.0)
        return {
            "infectiousness, susceptibility, transmission and mixing": from_agents,
            "susceptibility and importation": sigma * top(self.importation),
        }

    def in_range(self) -> Tensor:
        """`[P]` bool: particles whose rates and hazards are finite, not negative and at most `LARGEST`.

        Examples:
            >>> one = torch.ones(2, 1, 1)
            >>> rates = Rates(one, one[:, 0], one.expand(2, 2, 1), one, one, one[:, 0, 0], one[:, 0, 0])
            >>> replace(rates, importation=torch.tensor([1.0, 1e10])[:, None, None]).in_range().tolist()
            [True, False]
        """
        good = torch.ones(self.particles, dtype=torch.bool, device=self.mixing.device)
        for x in self.tensors():
            good &= (torch.isfinite(x) & (x >= 0) & (x <= LARGEST)).reshape(len(good), -1).all(1)
        for hazard in self.hazards().values():
            good &= hazard <= LARGEST
        return good

    def check(self, population: Population) -> None:
        """Compare shapes with a population and refuse rates that are negative, not finite or absurdly large.

        Raises:
            ValueError: a shape does not fit, a rate is negative, not finite, above `LARGEST` or a share outside 0..1, or rates multiply to a
                hazard above `LARGEST`.
        """
        p, days, groups = self.particles, self.days, population.groups
        wanted = {
            "infectiousness": (p, self.infectiousness.shape[1], self.infectious_days),
            "susceptibility": (p, self.infectiousness.shape[1]),
            "transmission": (p, VENUES + len(population.venues), days),
            "mixing": (p, groups, groups),
            "importation": (p, days, groups),
            "aversion": (p,),
            "forgetting": (p,),
            "reinfection": (p, self.infectiousness.shape[1], self.reinfection.shape[-1]),
            "waning": (p, self.infectiousness.shape[1], -(-days // PERIOD) if self.waning.shape[-1] else 0),
        }
        if self.infectiousness.shape[1] < population.archetypes:
            raise ValueError(
                f"infectiousness covers {self.infectiousness.shape[1]} archetypes but the population has "
                f"{population.archetypes}; give one row for each."
            )
        if max(days, self.infectious_days) > LONGEST:
            raise ValueError(
                f"{days} days, {self.infectious_days} of them infectious, do not fit the 16-bit day of infection; "
                f"simulate at most {LONGEST:,} days."
            )
        device = self.mixing.device
        for name, shape in wanted.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape:
                hint = f", one value for each {PERIOD} of {days} days, or none" if name == "waning" else ""
                raise ValueError(f"rates.{name} has shape {tuple(tensor.shape)}; this population needs {shape}{hint}.")
            if not tensor.is_floating_point() or tensor.device != device:
                raise ValueError(
                    f"rates.{name} is {tensor.dtype} on {tensor.device}; every rate must be floating point and on one device, "
                    f"here {device}."
                )
            bad = ~(torch.isfinite(tensor) & (tensor >= 0) & (tensor <= LARGEST))
            if bad.any():
                where = tuple(int(i) for i in bad.nonzero()[0])
                raise ValueError(
                    f"rates.{name}{list(where)} is {float(tensor.detach()[where]):g}; rates must be finite, not negative and at most "
                    f"{LARGEST:g} per day: check its unit."
                )
        if min(p, days, self.infectious_days) < 1:
            raise ValueError(
                f"rates cover {p} particles, {days} days and {self.infectious_days} infectious days; give at least one of each."
            )
        for names, hazard in self.hazards().items():
            if bool((hazard > LARGEST).any()):
                raise ValueError(
                    f"rates.{names} multiply to a hazard of {float(hazard.max()):g} per day, expected at most {LARGEST:g}: check their units."
                )
        if bool((self.forgetting > 1).any()):
            raise ValueError(
                f"rates.forgetting, the waning of the response, reaches {float(self.forgetting.max()):g}; it is a share and lies in 0..1."
            )
        early = self.reinfection[..., : self.infectious_days]
        if self.reinfection.shape[-1] and (early.shape[-1] == self.reinfection.shape[-1] or bool((early != 0).any())):
            raise ValueError(
                f"rates.reinfection must be 0 on the first {self.infectious_days} days, while an agent is infectious, and go on "
                f"after them; found {self.reinfection.shape[-1]} days, highest early value {float(early.max()):g}."
            )
