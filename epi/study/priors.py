"""Priors as plain values: family, numbers, unit, reason and source. No tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from epi.errors import StudyError

__all__ = ["Beta", "Gamma", "HalfNormal", "LogNormal", "LogitNormal", "Normal", "Prior", "Uniform"]


@dataclass(frozen=True)
class Prior:
    """What is believed of a number before the data; use one of its families.

    Attributes:
        unit: unit in words, such as "per day".
        reason: why this prior: what the number means and where the width comes from.
        source: publication or table, where there is one.
    """

    unit: str = field(default="", kw_only=True)
    reason: str = field(default="", kw_only=True)
    source: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        for name in self._numbers():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise StudyError(f"{self!r}: {name} is {value!r}, expected a finite number; correct the prior.")
        problem = self._problem()
        if problem:
            raise StudyError(f"{self._short()} has no support: {problem}; correct the prior.")

    @classmethod
    def _numbers(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls) if not f.kw_only)

    def _problem(self) -> str:
        return ""

    def _short(self) -> str:
        numbers = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._numbers())
        return f"{type(self).__name__}({numbers})"

    @property
    def family(self) -> str:
        """Name of the family in lower case, such as "lognormal"."""
        return type(self).__name__.lower()

    @property
    def description(self) -> str:
        """Reason and source as one text."""
        return " ".join(part for part in (self.reason, self.source) if part)


@dataclass(frozen=True)
class Normal(Prior):
    """Normal distribution: `mean` and `sd`.

    Examples:
        >>> Normal(0.0, 5.0, unit="days").family
        'normal'
    """

    mean: float
    sd: float

    def _problem(self) -> str:
        return "" if self.sd > 0 else f"sd is {self.sd:g}, expected more than 0"


@dataclass(frozen=True)
class LogNormal(Prior):
    """Log-normal distribution: its `median` and the `sd` of the logarithm.

    Examples:
        >>> import epi
        >>> prior = epi.LogNormal(2.0, 0.4, unit="days")
        >>> prior.median, round(prior.location, 3)
        (2.0, 0.693)
    """

    median: float
    sd: float

    def _problem(self) -> str:
        if not self.median > 0:
            return f"median is {self.median:g}, expected more than 0"
        return "" if self.sd > 0 else f"sd is {self.sd:g}, expected more than 0"

    @property
    def location(self) -> float:
        """Mean of the logarithm."""
        return math.log(self.median)


@dataclass(frozen=True)
class LogitNormal(Prior):
    """A share whose logit is normal with `location` and `sd`: a median of `1 / (1 + exp(-location))`.

    Examples:
        >>> import epi
        >>> epi.LogitNormal(-0.5, 0.5, unit="share").location
        -0.5
    """

    location: float
    sd: float

    def _problem(self) -> str:
        return "" if self.sd > 0 else f"sd is {self.sd:g}, expected more than 0"


@dataclass(frozen=True)
class Gamma(Prior):
    """Gamma distribution by `mean` and `sd`: a prior, or a delay in days.

    Examples:
        >>> import epi
        >>> epi.Gamma(10.0, 2.0, unit="days").mean
        10.0
    """

    mean: float
    sd: float

    def _problem(self) -> str:
        if not self.mean > 0:
            return f"mean is {self.mean:g}, expected more than 0"
        return "" if self.sd > 0 else f"sd is {self.sd:g}, expected more than 0"

    @property
    def shape(self) -> float:
        """Shape parameter."""
        return (self.mean / self.sd) ** 2

    @property
    def scale(self) -> float:
        """Scale parameter, in the unit of the mean."""
        return self.sd**2 / self.mean


@dataclass(frozen=True)
class Beta(Prior):
    """Beta distribution on (0, 1): `a - 1` successes and `b - 1` failures seen.

    Examples:
        >>> import epi
        >>> epi.Beta(2.0, 8.0)
        Beta(unit='', reason='', source='', a=2.0, b=8.0)
    """

    a: float
    b: float

    def _problem(self) -> str:
        return "" if min(self.a, self.b) > 0 else f"a and b are {self.a:g} and {self.b:g}, expected more than 0"


@dataclass(frozen=True)
class Uniform(Prior):
    """Uniform distribution from `low` to `high`.

    Examples:
        >>> import epi
        >>> epi.Uniform(0.1, 0.9)
        Uniform(unit='', reason='', source='', low=0.1, high=0.9)
    """

    low: float
    high: float

    def _problem(self) -> str:
        return "" if self.low < self.high else f"low is {self.low:g} and high {self.high:g}, expected low < high"


@dataclass(frozen=True)
class HalfNormal(Prior):
    """Absolute value of a normal with mean 0 and `sd`.

    Examples:
        >>> import epi
        >>> epi.HalfNormal(0.5)
        HalfNormal(unit='', reason='', source='', sd=0.5)
    """

    sd: float

    def _problem(self) -> str:
        return "" if self.sd > 0 else f"sd is {self.sd:g}, expected more than 0"
