"""A second variant with immunity of its own, the odds of its sequences, and reports that are still to come."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, ClassVar

from epi.errors import StudyError
from epi.study.data_streams import Stream
from epi.study.disease import NaturalHistory
from epi.study.families import Family, LogNormalError
from epi.study.parameter import Parameter
from epi.study.prior_infection import PriorInfection
from epi.study.priors import Prior
from epi.study.transmission import Variant

if TYPE_CHECKING:
    from epi.study.study import Study

__all__ = ["EscapingVariant", "RightTruncation", "VariantOdds"]


@dataclass(frozen=True, kw_only=True)
class EscapingVariant(Variant):
    """A variant that takes over, escapes from immunity by doses and infections before the study, and is more or less severe.

    Immunity against the former variant is what the disease and `PriorInfection` say. Against this one its log odds are lower by `escape`:
    who is protected to 0.9 from the former is protected to 0.6 from this one at an escape of 1.8, and who is not protected stays so.
    `advantage` is the whole one, with escape. Infection during the study protects from both.

    Attributes:
        escape: prior of the fall of the log odds of protection, the parameter `<key>_escape`.
        severity: prior of the severity of an infection over that by the former variant in the same host, the parameter `<key>_severity`.

    Raises:
        StudyError: the disease has no leaky immunity to escape from, or `PriorInfection` comes after this part.

    Examples:
        >>> import epi
        >>> new = EscapingVariant(
        ...     advantage=epi.LogNormal(3.0, 0.25), midpoint=epi.Normal(0.0, 5.0), day=date(2021, 12, 12), generation=4.0,
        ...     escape=epi.LogNormal(1.8, 0.3), severity=epi.LogNormal(0.4, 0.4), key="omicron",
        ... )
        >>> new.escape.median
        1.8
    """

    escape: Prior
    severity: Prior
    changes_hosts: ClassVar[bool] = True

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """Advantage, midpoint, escape and severity."""
        disease = study.disease
        if not isinstance(disease, NaturalHistory) or disease.immunity is None or disease.immunity.kind != "leaky":
            raise StudyError(
                f"EscapingVariant {self.name!r} needs a NaturalHistory with leaky immunity to escape from; declare one, or use Variant."
            )
        kinds = [type(part) for part in study.parts]
        if PriorInfection in kinds and kinds.index(PriorInfection) > kinds.index(type(self)):
            raise StudyError(
                f"EscapingVariant {self.name!r} stands before PriorInfection, from which it escapes too; put it after that part."
            )
        return (
            *super().parameters(study),
            Parameter(f"{self.key}_escape", self.escape),
            Parameter(f"{self.key}_severity", self.severity, observation=True),
        )


@dataclass(frozen=True, kw_only=True)
class VariantOdds(Stream):
    """Sequences of the new variant over those of the former one, by week; expectations are odds of infections found in the week.

    Odds hold all that counts of two kinds say of their shares. Sequenced samples are no random sample of infections, so they scatter by a
    log-normal and not by a binomial.

    Attributes:
        delay_days: days from infection to the sample that is sequenced.

    Examples:
        >>> VariantOdds(delay_days=4).unit
        'odds'
    """

    kind: ClassVar[str] = "odds"
    verb: ClassVar[str] = "variant"
    family: Family = field(default_factory=LogNormalError)
    name: str = "variant_odds"
    option: str = "variant"
    title: str = "Sequences, new over former variant"
    description: str = "odds of the new variant among sequences"
    gaps: bool = True
    delay_days: int = 5
    unit: str = "odds"


@dataclass(frozen=True)
class RightTruncation:
    """The last weeks of a count are not all reported yet: what is known is a share of what will be.

    The likelihood compares known counts with expected ones times that share. Weeks that are not named, forecast ones among them, are
    expected in full.

    Attributes:
        of: name of the stream.
        weeks: the weeks concerned.
        known: prior of the share of each that is known, the parameters `known_<of>_<week>`, from `epi.data.share_known`.

    Examples:
        >>> import epi
        >>> RightTruncation("admissions", (date(2021, 12, 25),), (epi.Beta(0.7, 0.02),)).name_of(date(2021, 12, 25))
        'known_admissions_1225'
    """

    of: str
    weeks: tuple[date, ...]
    known: tuple[Prior, ...]

    def __post_init__(self) -> None:
        if len(self.weeks) != len(self.known) or not self.weeks:
            raise StudyError(
                f"RightTruncation of {self.of!r} has {len(self.weeks)} weeks and {len(self.known)} shares, expected one share a week; "
                "correct them."
            )

    def name_of(self, week: date) -> str:
        """Name of the parameter of a week."""
        return f"known_{self.of}_{week:%m%d}"

    def parameters(self, study: Study) -> tuple[Parameter, ...]:
        """The share known of each week."""
        study.stream(self.of)
        return tuple(
            Parameter(self.name_of(w), p, observation=True) for w, p in zip(self.weeks, self.known, strict=True)
        )
