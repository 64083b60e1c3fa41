"""What changes transmission in time and between regions: behaviour, variants, random walk, dated changes, season, effects of regions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import Normal, Prior

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["Intervention", "PrevalenceResponse", "RandomWalk", "RegionEffects", "SeasonalForcing", "Variant"]

STANDARD = Normal(0.0, 1.0, unit="standardised")


@dataclass(frozen=True)
class PrevalenceResponse:
    """People meet less as more of their region are infected, and forget.

    Attributes:
        aversion: prior of the fall of log transmission outside the home for each 1 % of a region infected per day.
        forgetting: prior of the share of the remembered incidence replaced each day.

    Examples:
        >>> import epi
        >>> epi.PrevalenceResponse(epi.LogNormal(0.1, 0.5), epi.LogitNormal(-2.0, 0.5)).aversion.median
        0.1
    """

    aversion: Prior
    forgetting: Prior

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Response and memory decay."""
        return Parameter("aversion", self.aversion), Parameter("forgetting", self.forgetting)


@dataclass(frozen=True)
class Variant:
    """A variant that takes over: its share grows logistically, at the rate that its advantage over a generation gives.

    Attributes:
        advantage: prior of its transmission over that of what it replaces.
        midpoint: prior of the days after `day` on which half of the infections are its.
        day: the day from which `midpoint` counts.
        generation: days between generations.
        key: how its parameters are named: `<key>_advantage`, `<key>_midpoint`.
        name: as people call it, for sentences.
        replaces: what it replaces.
    """

    advantage: Prior
    midpoint: Prior
    day: date
    generation: float
    key: str = "variant"
    name: str = "the new variant"
    replaces: str = "the former one"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Advantage and midpoint."""
        return Parameter(f"{self.key}_advantage", self.advantage), Parameter(f"{self.key}_midpoint", self.midpoint)


@dataclass(frozen=True)
class RegionEffects:
    """Regions differ in community transmission.

    Attributes:
        sd: prior of the standard deviation of the effects on log transmission.
        effect: of a region, standardised.

    Examples:
        >>> import epi
        >>> epi.RegionEffects(epi.LogNormal(0.1, 0.4)).sd.median
        0.1
    """

    sd: Prior
    effect: Prior = field(default=STANDARD)

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Standard deviation, and standardised effects by region."""
        axis = study.region.axis
        sd = Parameter(f"{axis}_spread", self.sd)
        return sd, Parameter(f"{axis}_effect", self.effect, study.region.names, axis, sd=sd.name)


@dataclass(frozen=True)
class RandomWalk:
    """Log transmission outside the home steps to another level at even intervals.

    Attributes:
        start: first day of the first level, which is 0.
        every_days: length of a level.
        sds: standard deviation of each step.
        step: standardised step.
        name: of the parameter.
        axis: of its entries, named by the day on which a level begins.

    Examples:
        >>> from datetime import date
        >>> import epi
        >>> epi.RandomWalk(start=date(2030, 4, 1), sds=(0.1, 0.1)).labels
        ('29 April', '27 May')
    """

    start: date
    sds: tuple[float, ...]
    every_days: int = 28
    step: Prior = field(default=STANDARD)
    name: str = "drift"
    axis: str = "knot"

    def __post_init__(self) -> None:
        if not self.sds or min(self.sds) <= 0 or self.every_days < 1:
            raise StudyError(
                "RandomWalk needs one positive sd for each step and a length of a day or more; correct them."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Days on which the levels after the first begin, such as "7 March"."""
        days = (self.start + timedelta(days=self.every_days * (i + 1)) for i in range(len(self.sds)))
        several = len(self.sds) * self.every_days > 365
        return tuple(f"{d.day} {d:%B}" + (f" {d.year}" if several else "") for d in days)

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The standardised steps."""
        return (Parameter(self.name, self.step, self.labels, self.axis),)


@dataclass(frozen=True)
class Intervention:
    """Transmission in some layers is another from one day to another.

    Attributes:
        name: its factor is the parameter `effect_<name>`.
        factor: prior of the factor on transmission.
        first: first day.
        last: last day; None for ever.
        layers: names such as "community", "school", "work"; None for all outside the home.

    Examples:
        >>> from datetime import date
        >>> import epi
        >>> closing = epi.Intervention("closing", epi.LogNormal(0.5, 0.3), date(2030, 4, 1), date(2030, 5, 1))
        >>> (closing.last - closing.first).days
        30
    """

    name: str
    factor: Prior
    first: date
    last: date | None = None
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.last is not None and self.last < self.first:
            raise StudyError(
                f"Intervention {self.name!r} goes from {self.first} to {self.last}; put its first day first."
            )

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The factor."""
        unknown = [layer for layer in self.layers or () if layer not in study.layers]
        if unknown:
            raise StudyError(
                f"Intervention {self.name!r} acts on the layer {unknown[0]!r}; choose among {', '.join(study.layers)}."
            )
        return (Parameter(f"effect_{self.name}", self.factor),)


@dataclass(frozen=True)
class SeasonalForcing:
    """Transmission outside the home follows the year: `exp(amplitude * cos(2 pi (day - peak) / 365.25))`.

    Attributes:
        amplitude: prior, on the log scale.
        peak: day of the year with most transmission; any year.
    """

    amplitude: Prior
    peak: date

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The amplitude."""
        return (Parameter("seasonal_amplitude", self.amplitude),)
